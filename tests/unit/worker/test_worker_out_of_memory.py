"""Who counts what the kernel kills for want of memory, and where that is written: in the forms that kernels have."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood_agent.out_of_memory import FIRST_PID_NAMESPACE, count_oom_kills, kernel_word_on

EVENTS = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"


def machine(tmp_path: Path, cgroup: str, files: dict[str, str]) -> tuple[str, str]:
    """A proc and a cgroup file system with these files."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self" / "ns").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroups / name).write_text(text)
    return str(proc), str(cgroups)


@pytest.mark.parametrize(
    ("cgroup", "files", "count"),
    [
        pytest.param("0::/pods/a\n", {"pods/a/memory.events": EVENTS}, 2, id="unified"),
        pytest.param("0::/\n", {"memory.events": EVENTS}, 2, id="unified, a container's own view"),
        pytest.param("0::/pods/a\n", {"memory.events": EVENTS}, 2, id="unified, its path as the host sees it"),
        pytest.param("4:cpu,memory:/a\n0::/\n", {"memory/a/memory.oom_control": CONTROL}, 5, id="the old hierarchy"),
        pytest.param("4:memory:/docker/a\n", {"memory/memory.oom_control": CONTROL}, 5, id="old, in a container"),
        pytest.param("0::/\n", {}, None, id="the root, which nobody counts"),
        pytest.param("0::/\n", {"memory.events": "low 0\n"}, None, id="an old kernel"),
        pytest.param("nonsense", {}, None, id="nonsense"),
    ],
)
def test_the_count_is_found_wherever_this_kernel_keeps_it(
    tmp_path: Path, cgroup: str, files: dict[str, str], count: int | None
) -> None:
    assert count_oom_kills(*machine(tmp_path, cgroup, files)) == count


RECORD = (
    "3,700,123456789,-;Memory cgroup out of memory: Killed process 77 (python) total-vm:9kB, UID:0 oom_score_adj:0\n"
    " SUBSYSTEM=x\n"
)


def word(tmp_path: Path, pid: int, since_s: float, namespace: str = FIRST_PID_NAMESPACE) -> str:
    """A log of one record, since a file has no records: one read gives all of it."""
    proc, _ = machine(tmp_path, "0::/\n", {})
    (Path(proc) / "self" / "ns" / "pid").symlink_to(namespace)
    log = tmp_path / "kmsg"
    log.write_text(RECORD)
    return kernel_word_on(pid, since_s, str(log), proc)


def test_the_kernels_word_is_taken_for_the_process_that_it_names(tmp_path: Path) -> None:
    assert word(tmp_path, 77, 100.0).startswith("Memory cgroup out of memory: Killed process 77 (python)")


@pytest.mark.parametrize(
    ("pid", "since_s", "namespace"),
    [
        pytest.param(78, 100.0, FIRST_PID_NAMESPACE, id="another process"),
        pytest.param(77, 200.0, FIRST_PID_NAMESPACE, id="an earlier process of that number"),
        pytest.param(77, 100.0, "pid:[4026532000]", id="in a container other numbers count"),
    ],
)
def test_the_kernels_word_on_anybody_else_is_not_taken(
    tmp_path: Path, pid: int, since_s: float, namespace: str
) -> None:
    assert word(tmp_path, pid, since_s, namespace) == ""


def test_a_log_that_may_not_be_read_says_nothing(tmp_path: Path) -> None:
    assert kernel_word_on(77, 0.0, str(tmp_path / "missing")) == ""
