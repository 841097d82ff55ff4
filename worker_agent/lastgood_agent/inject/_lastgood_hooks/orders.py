"""What the agent tells the hooks: the state of the attempt and its plan, as frozen values.

Decides what a line means. Refuses half a plan: what cannot be read whole is a ValueError, never a guess.
"""

from dataclasses import dataclass
from typing import Any, Mapping, Optional, Tuple

from .keeping import NO_WORD, Word, read_word

RESTORE, ADOPT, FRESH = "restore", "adopt", "fresh"
#: What is done with receipts: compared and held against the attempt, only told, or not compared.
ENFORCE, WARN, OFF = "enforce", "warn", "off"
#: What is done when somebody else writes where this worker writes: it is told, avoided, or told and the run ends.
REDIRECT, STOP = "redirect", "stop"


@dataclass(frozen=True)
class PlannedSeries:
    """What one series starts from. signature "": any series that asks in one of its directories.

    pin: the name under which it is pinned, or would be. is_put_back: rotation had removed it, and a pin gave it back.
    """

    signature: str
    ordinal: int
    directories: Tuple[str, ...]
    prefix: str
    digest: str
    step: Optional[int]
    manifest: str
    pin: str = ""
    is_put_back: bool = False


@dataclass(frozen=True)
class Plan:
    """What this attempt starts from. `series` is empty exactly when it is fresh."""

    kind: str
    series: Tuple[PlannedSeries, ...] = ()

    @property
    def restores(self) -> bool:
        return self.kind in (RESTORE, ADOPT)


@dataclass(frozen=True)
class State:
    """The newest word of the agent. nothing_known: no checkpoint is known that the attempt could start from.

    receipts, shared_write: one of the words above, the default for any other.
    """

    steering: bool = True
    gate_open: bool = False
    plan: Optional[Plan] = None
    nothing_known: bool = False
    pins: Word = NO_WORD
    receipts: str = ENFORCE
    shared_write: str = WARN


def read_state(message: Mapping[str, Any], attempt: int) -> Optional[State]:
    """The state in a message; None when it is another type of message or about another attempt.

    Raises ValueError when it is a state that makes no sense.
    """
    if message.get("type") != "state" or message.get("attempt") != attempt:
        return None
    plan = message.get("plan")
    return State(
        steering=bool(message.get("steering", True)),
        gate_open=bool(message.get("gate_open", False)),
        plan=None if plan is None else _plan(plan),
        nothing_known=bool(message.get("nothing_known", False)),
        pins=read_word(message.get("pins")),
        receipts=_known(message.get("receipts"), (ENFORCE, WARN, OFF), ENFORCE),
        shared_write=_known(message.get("shared_write"), (WARN, REDIRECT, STOP), WARN),
    )


def _known(found: Any, words: Tuple[str, ...], default: str) -> str:
    return found if found in words else default


def _plan(document: Any) -> Plan:
    try:
        kind = document["kind"]
        series = tuple(_series(one) for one in document.get("series", ()))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError("expected a plan, found {!r}: {!r}".format(str(document)[:200], error)) from error
    if kind not in (RESTORE, ADOPT, FRESH) or bool(series) is (kind == FRESH):
        raise ValueError("expected a plan that restores series, or a fresh one, found {!r}".format(str(document)[:200]))
    return Plan(kind, series)


def _series(document: Mapping[str, Any]) -> PlannedSeries:
    step = document.get("step")
    return PlannedSeries(
        signature=str(document["signature"]),
        ordinal=int(document["ordinal"]),
        directories=tuple(str(directory) for directory in document.get("directories", ())),
        prefix=str(document["prefix"]),
        digest=str(document["digest"]),
        step=None if step is None else int(step),
        manifest=str(document["manifest"]),
        pin=str(document.get("pin") or ""),
        is_put_back=bool(document.get("put_back", False)),
    )
