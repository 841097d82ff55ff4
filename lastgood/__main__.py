"""The door of the command line: `python -m lastgood`, and the installed script.

Decides only that Ctrl-C ends a command quietly from the first moment on, also while it is still being imported. So
nothing is imported here before that is seen to.
"""

import sys


def main() -> int:
    """Runs the command of `sys.argv`; the exit status."""
    try:
        from lastgood.cli import main as run

        status = run()
        from signal import SIG_DFL, SIGINT, signal

        signal(SIGINT, SIG_DFL)  # what is left is the interpreter's end, which would print a traceback, too
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
