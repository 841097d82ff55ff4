"""Whether the script handles SIGTERM itself, as PreemptionCheckpointHandler does.

Decides nothing and installs nothing: from TensorFlow 2.15 on SIGTERM is swallowed once there is a strategy, and who
comes after TensorFlow with a handler is heard. Such a script may save and end by itself when it is told to.
"""

import signal


def handler_name() -> str:
    """What handles SIGTERM here, by its name; "" when no Python function does."""
    handler = signal.getsignal(signal.SIGTERM)
    if not callable(handler) or isinstance(handler, signal.Handlers):
        return ""
    return str(getattr(handler, "__qualname__", "") or type(handler).__name__)[:200]
