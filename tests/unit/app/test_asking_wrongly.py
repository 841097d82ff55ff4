"""`lastgood jobs`, `job` and `watch` where something cannot be read or was asked wrongly."""

from argparse import Namespace
from pathlib import Path

import pytest

from lastgood_controller.events import (
    RunOpened,
)
from lastgood_controller.jobs import run_job, run_jobs
from lastgood_controller.model import (
    Policy,
)
from lastgood_controller.store import Store


def a_run_in(directory: Path, name: str) -> None:
    """A state directory that a controller has left, with one run."""
    store = Store.open(directory)
    store.append(f"id-{name}", [(RunOpened(f"id-{name}", name, Policy()), None)], 1.0)
    store.close()
    (directory / "controller.json").write_text("{}")


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    """A working directory with two runs; the journal of a third one is no database."""
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second", "third"):
        directory = tmp_path / ".lastgood" / name
        directory.mkdir(parents=True)
        a_run_in(directory, name)
    journal = tmp_path / ".lastgood" / "second" / "controller.db"
    journal.write_text("something else entirely")
    return tmp_path


def asked(**changes) -> Namespace:
    return Namespace(**{"state_dir": None, "controller": None, "json": False, "name": None, **changes})


def test_a_run_that_cannot_be_read_hides_no_other(runs, capsys):
    status = run_jobs(asked())

    printed = capsys.readouterr()
    assert status == 3
    assert ("first" in printed.out, "third" in printed.out) == (True, True)
    assert printed.err.count("\n") == 1
    assert "second/controller.db: file is not a database; move it away" in printed.err


def test_a_run_is_found_beside_one_that_cannot_be_read(runs, capsys):
    assert run_job(asked(name="first")) == 0
    assert run_job(asked(name="unknown")) == 3
    assert "file is not a database" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["nope", "", "127.0.0.1:70000", "127.0.0.1:", ":7070", "127.0.0.1:0"])
def test_an_address_that_is_none_is_wrong_usage(address, capsys):
    assert run_jobs(asked(controller=address)) == 2
    assert capsys.readouterr().err == (
        f"lastgood jobs: expected a controller's address as HOST:PORT, found {address!r}\n"
    )
