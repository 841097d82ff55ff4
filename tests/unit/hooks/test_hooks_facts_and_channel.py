"""The outbox, and the line to the agent."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest

from _lastgood_hooks.channel import Channel
from _lastgood_hooks.facts import Outbox
from _lastgood_hooks.orders import State
from _lastgood_hooks.session import Session
from _lastgood_hooks.settings import Settings, read_settings

DEADLINE_S = 10.0


def test_facts_appear_whole_and_in_the_order_of_their_names(tmp_path: Path) -> None:
    rung: list[int] = []
    outbox = Outbox(str(tmp_path), 3, lambda: rung.append(1))

    for step in range(12):
        outbox.write("first_step", step=step)

    facts = [json.loads(path.read_text()) for path in sorted(tmp_path.iterdir())]
    assert [fact["step"] for fact in facts] == list(range(12))
    assert {(fact["type"], fact["attempt"], fact["pid"]) for fact in facts} == {("first_step", 3, os.getpid())}
    assert all(path.name.startswith("000003-") for path in tmp_path.iterdir())
    assert len(rung) == 12


def listening(tmp_path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    listener.settimeout(DEADLINE_S)
    return listener


def line(**changes: object) -> bytes:
    return json.dumps({"type": "state", "attempt": 1, "plan": None, **changes}).encode() + b"\n"


def test_a_channel_survives_garbage_and_a_new_agent(tmp_path: Path) -> None:
    garbage: list[Exception] = []
    channel = Channel(str(tmp_path / "s"), 1, garbage.append)
    channel.start()  # before anybody listens
    with listening(tmp_path) as listener:
        first, _ = listener.accept()
        first.sendall(b'not json\n[1]\n{"type": "state", "attempt": 1, "plan": 3}\n\xff\n' + line(attempt=2)[:9])
        first.sendall(line(attempt=2)[9:] + line(gate_open=True))
        state = channel.wait_for(lambda state: state is not None and state.gate_open, DEADLINE_S)
        first.close()
        second, _ = listener.accept()
        second.sendall(line(steering=False))
        later = channel.wait_for(lambda state: state is not None and not state.steering, DEADLINE_S)
        second.close()

    assert state == State(steering=True, gate_open=True)
    assert later == State(steering=False, gate_open=False)
    assert len(garbage) == 4


def test_the_bell_never_waits_for_an_agent_that_does_not_read(tmp_path: Path) -> None:
    channel = Channel(str(tmp_path / "s"), 1, lambda error: None)
    with listening(tmp_path) as listener:
        channel.start()
        connection, _ = listener.accept()
        connection.sendall(line())
        channel.wait_for(lambda state: state is not None, DEADLINE_S)
        started_s = time.monotonic()

        for _ in range(50_000):
            channel.ring()

        assert time.monotonic() - started_s < DEADLINE_S
        assert channel.wait_for(lambda state: False, 0.01) == State()
        connection.close()


def settings(tmp_path: Path, **changes: object) -> Settings:
    (tmp_path / "outbox").mkdir(exist_ok=True)
    known = {
        "version": 1, "run_id": "r", "worker": "worker/0", "attempt": 2, "socket": str(tmp_path / "s"),
        "outbox": str(tmp_path / "outbox"), "progress": str(tmp_path / "progress-2"),
    }  # fmt: skip
    return read_settings(json.dumps({**known, **changes}))


def test_one_process_claims_an_attempt_and_its_children_do_nothing(tmp_path: Path) -> None:
    session = Session(settings(tmp_path))

    assert session.claim()
    assert (tmp_path / "claim-2").read_text() == str(os.getpid())
    child = os.fork()
    if child == 0:
        os._exit(0 if not session.claim() and not Session(session.settings).claim() else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert session.claim()


def test_another_process_that_was_first_keeps_the_claim(tmp_path: Path) -> None:
    (tmp_path / "claim-2").write_text("1")

    session = Session(settings(tmp_path))

    assert not session.claim()
    assert not session.is_steering
    assert not (tmp_path / "progress-2").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version": 2}', '{"version": 1, "worker": "worker/0"}'])
def test_settings_that_make_no_sense_are_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="LASTGOOD_HOOKS"):
        read_settings(text)
