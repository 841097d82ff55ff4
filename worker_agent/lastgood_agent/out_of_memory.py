"""Whether the kernel killed a process for want of memory: by the counters of our cgroup, and by the kernel's own log.

Reads, and decides nothing. The counter of a cgroup says that some process in it was killed so, whoever it was: it is
for the reader to see that the trainer was. The kernel's log names the process, by its number as the first pid namespace
counts, so it is asked only where that is ours. What can't be read says nothing.
"""

import os
import re
from typing import Dict, List, Optional

#: The inode of the first pid namespace, the same on every Linux.
FIRST_PID_NAMESPACE = "pid:[4026531836]"
#: The most records of the kernel's log that are read.
MOST_RECORDS = 100_000

_KILLED = re.compile(r"(?:Memory cgroup out of memory|Out of memory[^:]*): Killed process (\d+) ")


def count_oom_kills(proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> Optional[int]:
    """How many processes of our cgroup the kernel has killed for want of memory so far; None: nobody counts.

    proc, cgroups: where the two file systems are.
    """
    for path in _counters(proc, cgroups):
        count = _read_count(path)
        if count is not None:
            return count
    return None


def _counters(proc: str, cgroups: str) -> List[str]:
    """The files that may hold the count: of the unified hierarchy, then of the memory controller of the old one.

    In a container its own cgroup is where the hierarchy begins, whatever the path says.
    """
    found = []
    for controllers, path in sorted(_own_cgroups(proc).items()):
        inner = path.lstrip("/")
        if controllers == "":
            found += [os.path.join(root, part, "memory.events") for root in (cgroups, os.path.join(cgroups, "unified"))
                      for part in (inner, "")]  # fmt: skip
        elif "memory" in controllers.split(","):
            found += [os.path.join(cgroups, "memory", part, "memory.oom_control") for part in (inner, "")]
    return found


def _own_cgroups(proc: str) -> Dict[str, str]:
    """Our path in each hierarchy, by its controllers; "" for the unified one."""
    try:
        with open(os.path.join(proc, "self", "cgroup"), encoding="utf-8") as file:
            fields = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return {}
    return {each[1]: each[2] for each in fields if len(each) == 3}


def _read_count(path: str) -> Optional[int]:
    try:
        with open(path, encoding="ascii") as file:
            words = [line.split() for line in file]
    except (OSError, ValueError):
        return None
    counts = [pair[1] for pair in words if len(pair) == 2 and pair[0] == "oom_kill" and pair[1].isdigit()]
    return int(counts[0]) if counts else None


def kernel_word_on(pid: int, since_s: float, log: str = "/dev/kmsg", proc: str = "/proc") -> str:
    """What the kernel's log says of the killing of this process for want of memory; "" when it says nothing.

    since_s: seconds since the machine was started; older records are of another process of that number.
    """
    if not _is_first_namespace(proc):
        return ""
    for record in _records(log):
        head, _, text = record.partition(";")
        found = _KILLED.search(text)
        if found is not None and int(found[1]) == pid and _time_s(head) >= since_s:
            return text.split("\n", 1)[0][:500]
    return ""


def _is_first_namespace(proc: str) -> bool:
    try:
        return os.readlink(os.path.join(proc, "self", "ns", "pid")) == FIRST_PID_NAMESPACE
    except OSError:
        return False


def _records(log: str) -> List[str]:
    """Every record of the kernel's log, oldest first; one is what one read gives."""
    records: List[str] = []
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return records
    try:
        while len(records) < MOST_RECORDS:
            try:
                received = os.read(descriptor, 8192)
            except BrokenPipeError:
                continue  # the oldest ones were overwritten meanwhile
            if not received:
                return records
            records.append(received.decode("utf-8", "replace"))
    except OSError:
        return records  # the end, or nothing that we may read
    finally:
        os.close(descriptor)
    return records


def _time_s(head: str) -> float:
    """When a record was written, in seconds since the machine was started: its third field, in microseconds."""
    fields = head.split(",")
    return int(fields[2]) / 1e6 if len(fields) > 2 and fields[2].isdigit() else 0.0
