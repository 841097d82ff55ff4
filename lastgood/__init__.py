"""lastgood: reading and judging TensorFlow checkpoints. Needs neither TensorFlow nor a service."""

__version__ = "0.1.0"
