"""Whether the script handles SIGTERM itself."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from _lastgood_hooks.sigterm import handler_name


class Handler:
    def on_term(self, number: int, frame: object) -> None: ...

    def __call__(self, number: int, frame: object) -> None: ...


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The handler of this process as it was."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("handler", "name"),
    [
        (signal.SIG_DFL, ""),
        (signal.SIG_IGN, ""),
        (Handler().on_term, "Handler.on_term"),
        (Handler(), "Handler"),
    ],
)
def test_a_python_function_that_handles_sigterm_is_named(
    handler: signal.Handlers | Callable[[int, object], None], name: str
) -> None:
    signal.signal(signal.SIGTERM, handler)

    assert handler_name() == name
