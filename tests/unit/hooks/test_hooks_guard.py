"""What a failing body costs."""

from __future__ import annotations

import threading
import time

import pytest

from _lastgood_hooks.guard import Guard, is_inside_hook

Failures = list[tuple[str, str, int]]


def guard(failures: Failures, deadline_s: float = 5.0) -> Guard:
    return Guard(lambda hook, error, count: failures.append((hook, error, count)), deadline_s)


def test_a_body_gives_its_value_on_a_thread_that_knows_what_it_is() -> None:
    failures: Failures = []
    guarded = guard(failures)

    outcomes = [guarded.run("save", is_inside_hook), guarded.run("save", lambda: guarded.run("inner", lambda: 7).value)]

    assert [(outcome.value, outcome.error) for outcome in outcomes] == [(True, ""), (7, "")]
    assert not is_inside_hook()
    assert failures == []


def test_a_body_that_raises_is_counted_and_told_at_powers_of_two() -> None:
    failures: Failures = []
    guarded = guard(failures)

    outcomes = [guarded.run("save", lambda: 1 // 0) for _ in range(9)]

    told = "ZeroDivisionError: integer division or modulo by zero"
    assert {outcome.error for outcome in outcomes} == {told}
    assert failures == [("save", told, count) for count in (1, 2, 4, 8)]
    assert guarded.counts == {"save": 9}


def test_a_body_that_blocks_for_ever_costs_its_deadline_once() -> None:
    failures: Failures = []
    guarded = guard(failures, deadline_s=0.05)
    started_s = time.monotonic()

    outcomes = [guarded.run("save", threading.Event().wait) for _ in range(50)]

    assert time.monotonic() - started_s < 1.0
    assert all(outcome.value is None and outcome.error for outcome in outcomes)
    assert failures == [("save", "did not end within 0.05 s; this hook is switched off", 1)]
    assert guarded.run("receipt", lambda: 1).value == 1


def test_a_body_that_asks_to_exit_ends_nothing() -> None:
    failures: Failures = []

    outcome = guard(failures).run("save", lambda: exit(3))

    assert (outcome.value, failures) == (None, [("save", "SystemExit: 3", 1)])


def test_a_failure_that_cannot_be_told_is_still_only_a_failure() -> None:
    def tell(hook: str, error: str, count: int) -> None:
        raise OSError("no space left on device")

    guarded = Guard(tell, 5.0)

    assert guarded.run("save", lambda: 1 // 0).value is None
    assert guarded.counts == {"save": 1}


def test_a_keyboard_interrupt_reaches_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = guard([])
    release = threading.Event()

    def interrupted(self: threading.Event, timeout: float | None = None) -> bool:
        raise KeyboardInterrupt

    original_wait = threading.Event.wait
    monkeypatch.setattr(threading.Event, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        guarded.run("save", lambda: original_wait(release, 5.0))
    release.set()
