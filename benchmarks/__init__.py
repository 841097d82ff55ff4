"""What lastgood costs and how fast it recovers, each number against a baseline measured in the same run."""
