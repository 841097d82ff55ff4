"""Saves by the names of their pins, as hooks write them, and as they travel. Pure."""

from __future__ import annotations

from lastgood.pins import ANY, PinnedSave, parse_pin_name
from lastgood.v1 import common_pb2

#: Hooks hold a handful.
MOST_HELD = 100


def save_message(name: PinnedSave) -> common_pb2.Save:
    """The save that a pin's name names, as it travels."""
    series = common_pb2.Series(signature=name.signature, ordinal=name.rank)
    return common_pb2.Save(series=series, attempt=name.attempt, ordinal=name.ordinal)


def pin_name(save: common_pb2.Save) -> str:
    """The name of the pin of a save."""
    return str(PinnedSave(save.series.signature, save.series.ordinal, save.attempt, save.ordinal))


def series_name(series: common_pb2.Series) -> str:
    """A series as the names of its pins begin."""
    return f"{series.signature or ANY}.{series.ordinal}"


def saves_named(names: object) -> list[common_pb2.Save]:
    """The saves that a fact names; what is no name of a pin is left out."""
    texts = [text for text in names if isinstance(text, str)] if isinstance(names, list) else []
    found = (parse_pin_name(text) for text in texts[:MOST_HELD])
    return [save_message(save) for save in found if save is not None]
