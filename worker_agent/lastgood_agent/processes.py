"""Which processes belong to a trainer, and how to be sure that none of them is left.

Decides from /proc alone. A process belongs to a trainer when it is in the trainer's process group, descends from the
launcher (which adopts orphans), or carries the trainer's LASTGOOD_HOOKS in its environment: that last mark also finds
those that made a session of their own and whose launcher is dead. Refuses to touch a pid whose start time is not the
one that was written down: pids are used again.
"""

import ctypes
import errno
import json
import os
import signal
import time
from typing import Callable, Iterable, List, Optional, Set

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

#: The variable that marks a trainer and all that it starts.
MARK = "LASTGOOD_HOOKS"


def _load_prctl() -> Callable[[int, int], None]:
    """prctl with one argument, ready to be called between fork and exec."""
    function = ctypes.CDLL(None, use_errno=True).prctl
    function.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
    function.restype = ctypes.c_int

    def call(option: int, argument: int) -> None:
        if function(option, argument, 0, 0, 0) != 0:
            code = ctypes.get_errno()
            raise OSError(code, "prctl({}, {}): {}".format(option, argument, os.strerror(code)))

    return call


prctl = _load_prctl()


def adopt_orphans() -> None:
    """Makes this process the parent of every descendant whose own parent ends."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def _stat_fields(pid: int) -> Optional[List[str]]:
    """The fields of /proc/PID/stat from the third (state) on, or None when there is no such process."""
    try:
        with open("/proc/{}/stat".format(pid), "rb") as file:
            text = file.read().decode("ascii", "replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def start_ticks(pid: int) -> Optional[int]:
    """When the process started, in clock ticks since boot: with the pid, its identity. None: there is none."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else None


def is_running(pid: int, ticks: Optional[int] = None) -> bool:
    """The process lives and is no zombie; with `ticks`, it is the one that started then."""
    fields = _stat_fields(pid)
    return fields is not None and fields[0] not in "ZX" and (ticks is None or int(fields[19]) == ticks)


def children(pid: int) -> List[int]:
    """The direct children of a process, zombies included."""
    found: List[int] = []
    try:
        for task in os.listdir("/proc/{}/task".format(pid)):
            with open("/proc/{}/task/{}/children".format(pid, task), "rb") as file:
                found.extend(int(child) for child in file.read().split())
    except OSError as error:
        if error.errno == errno.ENOENT and os.path.exists("/proc/{}/stat".format(pid)):
            return _children_by_scan(pid)
    return found


def _children_by_scan(parent: int) -> List[int]:
    """The same, on a kernel without /proc/PID/task/TID/children."""
    found = []
    for pid in all_pids():
        fields = _stat_fields(pid)
        if fields is not None and int(fields[1]) == parent:
            found.append(pid)
    return found


def descendants(pid: int, without: Iterable[int] = ()) -> List[int]:
    """Every process below `pid`, except those in `without` and what is below them."""
    seen: Set[int] = {pid, *without}
    found: List[int] = []
    waiting = [pid]
    while waiting:
        for child in children(waiting.pop()):
            if child not in seen:
                seen.add(child)
                found.append(child)
                waiting.append(child)
    return found


def all_pids() -> List[int]:
    """Every process of this machine that we can see."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def marked(token: str) -> List[int]:
    """Living processes whose LASTGOOD_HOOKS contains `token`, such as the path of a worker's outbox."""
    prefix, wanted = MARK.encode("ascii") + b"=", os.fsencode(token)
    found = []
    for pid in all_pids():
        if pid == os.getpid():
            continue
        try:
            with open("/proc/{}/environ".format(pid), "rb") as file:
                environment = file.read()
        except OSError:
            continue
        if any(entry.startswith(prefix) and wanted in entry for entry in environment.split(b"\0")) and is_running(pid):
            found.append(pid)
    return found


def mark_of(outbox: str) -> str:
    """What the LASTGOOD_HOOKS of a worker's trainers contain, whatever the attempt and whoever launched it."""
    return json.dumps(outbox)


def send_signal(pid: int, number: int) -> bool:
    """Sends the signal; False when there is no such process."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it changed its user; whoever waits for its end goes on waiting
    return True


def signal_group(pgid: int, number: int) -> bool:
    """Sends the signal to a process group; False when it is empty. Never to our own, never to group 0 or 1."""
    if pgid <= 1 or pgid == os.getpgrp():
        return False
    try:
        os.killpg(pgid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # a member changed its user; those that we may signal have had it
    return True


def kill_left_over(token: str, pid: int, pgid: int, ticks: Optional[int], timeout_s: float) -> List[int]:
    """Kills what a dead launcher's trainer left behind; what still lives at the deadline.

    token: what their LASTGOOD_HOOKS contains. pid, pgid, ticks: the trainer, as it was written down; 0 and None when
    nothing was. The group is killed by its number only while its leader is provably the one that was written down.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        left = set(marked(token))
        if pid > 0 and ticks is not None and is_running(pid, ticks):
            left.add(pid)
            signal_group(pgid, signal.SIGKILL)
        for each in left:
            send_signal(each, signal.SIGKILL)
        if not left or time.monotonic() >= deadline_s:
            return sorted(left)
        time.sleep(0.01)
