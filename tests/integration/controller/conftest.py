"""One controller for the tests that do no harm to it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from controller_harness import ControllerProcess


@pytest.fixture(scope="session")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerProcess]:
    process = ControllerProcess(tmp_path_factory.mktemp("controller"))
    yield process
    assert process.stop() == 0


@pytest.fixture
def start() -> Iterator[Callable[..., ControllerProcess]]:
    """Starts controllers of a test's own; none outlives it."""
    started: list[ControllerProcess] = []

    def start_one(state_dir: Path, *flags: str) -> ControllerProcess:
        started.append(ControllerProcess(state_dir, *flags))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"
