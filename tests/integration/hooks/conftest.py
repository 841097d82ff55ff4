"""A TensorFlow to test with: LASTGOOD_TEST_TF_PYTHON names the interpreter of an environment that has one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hooked_worker import FakeAgent, kill_started


@pytest.fixture(scope="session")
def tf_python() -> str:
    python = os.environ.get("LASTGOOD_TEST_TF_PYTHON", "")
    if not python:
        sentence = "LASTGOOD_TEST_TF_PYTHON must name a Python that has TensorFlow 2.21"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    return python


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Callable[..., FakeAgent]]:
    """Makes agents, and ends them."""
    made: list[FakeAgent] = []

    def make(name: str = "worker", attempt: int = 1, **options: Any) -> FakeAgent:
        made.append(FakeAgent(tmp_path / name, attempt, **options))
        return made[-1]

    yield make
    kill_started()
    for agent in made:
        agent.close()
