"""Events as JSON documents and back, for the journal.

Generic over the dataclasses of `events` and `model` by their type hints, so that a new event needs no line here.
Strict: what it does not understand is a `CodecError`, never a guess, since a journal that is read wrongly is a decision
made wrongly.
A field that a document lacks takes its default: that is how an older journal is read by a newer controller.

The forms: a dataclass is an object of its fields, an enum its value, a tuple a list, a worker `"worker/1"`. A mapping
with workers or strings as keys is an object, any other mapping a list of `[key, value]` pairs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from lastgood_controller.events import (
    Event,
)
from lastgood_controller.model import (
    WorkerId,
)

#: Version of the forms above. Part of every body; another one is refused.
VERSION = 1

#: Every event by its name: the `kind` of a journal row.
EVENT_TYPES: Mapping[str, type] = {member.__name__: member for member in get_args(Event)}

_SCALARS = (str, int, float, bool)


class CodecError(ValueError):
    """A document that is not what this version writes. The message says where in it, what was expected and found."""


def kind_of(event: Event) -> str:
    """The name under which an event is recorded."""
    return type(event).__name__


def to_document(value: Any) -> Any:
    """A dataclass, or what it is made of, in JSON's types."""
    return _encode(value)


def encode_event(event: Event) -> str:
    """The body of an event's journal row. Raises CodecError for a number that JSON has no form for."""
    try:
        return json.dumps({"version": VERSION, "event": _encode(event)}, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise CodecError(f"{kind_of(event)} cannot be recorded: {error}") from error


def decode_event(kind: str, body: str) -> Event:
    """The event of a journal row. Raises CodecError for an unknown kind, version or form."""
    event_type = EVENT_TYPES.get(kind)
    if event_type is None:
        raise CodecError(f"expected a kind of event that this version of lastgood knows, found {kind!r}")
    try:
        document = json.loads(body)
    except ValueError as error:
        raise CodecError(f"the body of a {kind} is not JSON: {error}") from error
    version = document.get("version") if isinstance(document, dict) else None
    if version != VERSION:
        raise CodecError(
            f"expected a {kind} of version {VERSION}, found version {version!r}: a newer lastgood wrote it"
        )
    event: Event = _decoder(event_type)(document.get("event"), kind)
    return event


# ----------------------------------------------------------------------------------------------------------- encoding


def _encode(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, _SCALARS):
        return value
    if isinstance(value, WorkerId):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _encode(getattr(value, name)) for name in _field_names(type(value))}
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    if isinstance(value, Mapping):
        if all(isinstance(key, (str, WorkerId)) for key in value):
            return {str(key): _encode(item) for key, item in value.items()}
        return [[_encode(key), _encode(item)] for key, item in value.items()]
    raise CodecError(f"a value of type {type(value).__name__} has no form in the journal")


@cache
def _field_names(dataclass_type: type) -> tuple[str, ...]:
    return tuple(each.name for each in fields(dataclass_type))


# ----------------------------------------------------------------------------------------------------------- decoding

_Decoder = Callable[[Any, str], Any]


@cache
def _decoder(hint: Any) -> _Decoder:
    """What reads a value of one type hint; the second argument of a decoder says where in the document it is."""
    if hint is NoneType:
        return _decode_none
    if hint is WorkerId:
        return _decode_worker
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum_decoder(hint)
    if hint in _SCALARS:
        return _scalar_decoder(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return _dataclass_decoder(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _optional_decoder(arguments)
    if origin is tuple:
        return _tuple_decoder(arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_decoder(*arguments)
    raise CodecError(f"the type {hint!r} has no form in the journal")


def _refuse(where: str, expected: str, found: Any) -> CodecError:
    return CodecError(f"{where}: expected {expected}, found {repr(found)[:100]}")


def _decode_none(value: Any, where: str) -> None:
    if value is not None:
        raise _refuse(where, "null", value)


def _decode_worker(value: Any, where: str) -> WorkerId:
    try:
        return WorkerId.parse(value)
    except (ValueError, AttributeError) as error:
        raise _refuse(where, "a worker such as worker/1", value) from error


def _enum_decoder(enum_type: type[Enum]) -> _Decoder:
    def decode(value: Any, where: str) -> Enum:
        try:
            return enum_type(value)
        except ValueError as error:
            raise _refuse(where, f"a {enum_type.__name__}", value) from error

    return decode


def _scalar_decoder(scalar: type) -> _Decoder:
    accepted = (int, float) if scalar is float else (scalar,)

    def decode(value: Any, where: str) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and scalar is not bool):
            raise _refuse(where, scalar.__name__, value)
        return scalar(value)

    return decode


def _dataclass_decoder(dataclass_type: type) -> _Decoder:
    hints = get_type_hints(dataclass_type)
    declared = {each.name: each for each in fields(dataclass_type)}
    required = {name for name, each in declared.items() if each.default is MISSING and each.default_factory is MISSING}

    def decode(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _refuse(where, f"the fields of a {dataclass_type.__name__}", value)
        if unknown := value.keys() - declared.keys():
            raise _refuse(where, f"only fields of {dataclass_type.__name__}", sorted(unknown))
        if missing := required - value.keys():
            raise _refuse(where, f"the fields {sorted(missing)} of {dataclass_type.__name__}", sorted(value))
        return dataclass_type(**{name: _decoder(hints[name])(item, f"{where}.{name}") for name, item in value.items()})

    return decode


def _optional_decoder(arguments: tuple[Any, ...]) -> _Decoder:
    others = [argument for argument in arguments if argument is not NoneType]
    if len(others) != 1 or len(others) == len(arguments):
        raise CodecError(f"a union of {arguments!r} has no form in the journal: only X | None has")
    inner = _decoder(others[0])
    return lambda value, where: None if value is None else inner(value, where)


def _tuple_decoder(arguments: tuple[Any, ...]) -> _Decoder:
    is_sequence = len(arguments) == 2 and arguments[1] is Ellipsis

    def decode(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _refuse(where, "a list", value)
        if is_sequence:
            inner = _decoder(arguments[0])
            return tuple(inner(item, f"{where}[{index}]") for index, item in enumerate(value))
        if len(value) != len(arguments):
            raise _refuse(where, f"a list of {len(arguments)}", value)
        return tuple(_decoder(hint)(item, where) for hint, item in zip(arguments, value))

    return decode


def _mapping_decoder(key_hint: Any, value_hint: Any) -> _Decoder:
    key_decoder, value_decoder = _decoder(key_hint), _decoder(value_hint)

    def decode(value: Any, where: str) -> dict[Any, Any]:
        if isinstance(value, dict):
            pairs = list(value.items())
        elif isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
            pairs = [(key, item) for key, item in value]
        else:
            raise _refuse(where, "an object or a list of pairs", value)
        return {key_decoder(key, where): value_decoder(item, f"{where}[{key!r}]") for key, item in pairs}

    return decode
