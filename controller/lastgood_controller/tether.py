"""Ties a process to its parent: `tether.py PARENT_PID PROGRAM ARGS...` becomes PROGRAM, and dies with PARENT_PID.

The kernel sends SIGKILL when the parent is gone, however it went; that survives the exec. A parent that died before it
was asked for is noticed by the second look. Refuses to stay when the parent is another one. Linux only; standard
library only, since it runs with -I -S, before anything else of the child.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
#: What a shell answers for a program that could not be started.
CANNOT_START = 127


def main(argv: list[str]) -> int:
    parent, program = int(argv[0]), argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        print(f"cannot tie {program[0]} to its parent: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        return CANNOT_START
    if os.getppid() != parent:
        return CANNOT_START
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execv(program[0], program)
    except OSError as error:
        print(f"cannot start {program[0]}: {error.strerror}", file=sys.stderr)
    return CANNOT_START


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
