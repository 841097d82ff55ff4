"""What the launcher puts first on the trainer's PYTHONPATH: `sitecustomize`, and the hooks behind it."""
