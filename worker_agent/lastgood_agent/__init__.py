"""The worker side: launcher, agent, and the hooks that it injects into the training process."""
