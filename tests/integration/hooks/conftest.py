"""Agents to test the hooks with, and that none of what they started is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hooked_worker import FakeAgent, kill_started


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
