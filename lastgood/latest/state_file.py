"""TensorFlow's state file `checkpoint`, read as TensorFlow itself reads it, and written as it writes it.

It is a protobuf message in text format, and TensorFlow's answer to a damaged one depends on where the damage lies: it
ignores what is no text format (so training starts afresh in silence), and raises where the text is valid and names
nothing, or is not UTF-8. This module tells these apart as TensorFlow 2.4 to 2.21 do, with one difference: numbers with
leading zeros, which no writer makes, are refused, as 2.21 does and the older ones do not. `salvage` takes what can
still be read of a damaged one. Touches no file, and says nothing about whether what is named exists.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

#: What it is called in a directory; and of how many bytes it is read whole.
STATE_FILE = "checkpoint"
MAX_STATE_FILE_BYTES = 4 << 20

_LATEST, _ALL = "model_checkpoint_path", "all_model_checkpoint_paths"
_TIMESTAMPS, _PRESERVED = "all_model_checkpoint_timestamps", "last_preserved_timestamp"
_TEXTS, _NUMBERS, _REPEATED = (_LATEST, _ALL), (_TIMESTAMPS, _PRESERVED), (_ALL, _TIMESTAMPS)

_TOKEN = re.compile(
    r"""(?:\s|\#[^\n]*(?=\n|\Z))*                          # spaces and comments, each to the line's end, then one of
    (?: (?P<name>[A-Za-z_][\w+-]*)
      | (?P<number>(?:[0-9+-]|\.[0-9])[\w.+-]*)
      | (?P<text>"(?:[^"\n\\]|\\[^\n])*"|'(?:[^'\n\\]|\\[^\n])*')
      | (?P<mark>[:,;\[\]])
      | (?P<end>\Z) )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPED = {"n": 10, "r": 13, "t": 9, "a": 7, "b": 8, "f": 12, "v": 11, "\\": 92, "'": 39, '"': 34, "?": 63}
_TO_ESCAPE = {9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 39: "\\'", 92: "\\\\"}
_SPECIAL_NUMBER = re.compile(r"-?(?:inf(?:inity)?f?|nanf?)\Z", re.IGNORECASE)


@dataclass(frozen=True)
class State:
    """What a state file says.

    latest: the prefix as it stands there: relative to the file's directory, or absolute.
    all_paths: the checkpoints that the saver keeps and will rotate away, oldest first.
    timestamps_s: when each of them was saved, in the order of all_paths; empty where the writer keeps no times.
    last_preserved_s: a CheckpointManager leaves alone what is not younger than this.
    """

    latest: str
    all_paths: Tuple[str, ...] = ()
    timestamps_s: Tuple[float, ...] = ()
    last_preserved_s: float = 0.0


class Fault(Enum):
    """What is wrong with a state file, and the exception of TensorFlow's that it raises; "" where it says None."""

    NOT_TEXT = "UnicodeDecodeError"
    EMPTY = "ValueError"
    UNPARSABLE = ""


class StateFileError(ValueError):
    """The state file is of no use to TensorFlow. The text says what was found, and where."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


def parse(content: bytes) -> State:
    """What TensorFlow understands. Raises StateFileError."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StateFileError(Fault.NOT_TEXT, "byte {} is not UTF-8".format(error.start)) from error
    values: Dict[str, List[object]] = {name: [] for name in _TEXTS + _NUMBERS}
    for name, value in _Parser(text).fields():
        values[name].append(value)
    state = _state_of(values)
    if not state.latest:
        found = "it is empty" if not content else "it names no {}".format(_LATEST)
        raise StateFileError(Fault.EMPTY, found)
    return state


def salvage(content: bytes) -> State:
    """What can be understood up to where a damaged file breaks off. `latest` is "" where that did not survive."""
    values: Dict[str, List[object]] = {name: [] for name in _TEXTS + _NUMBERS}
    try:
        for name, value in _Parser(content.decode("utf-8", "replace")).fields():
            values[name].append(value)
    except StateFileError:
        pass  # what came before it stands
    return _state_of(values)


def render(state: State) -> bytes:
    """The file that says it, byte for byte as TensorFlow would write it. Raises ValueError for a path without text."""
    lines = ['{}: "{}"'.format(_LATEST, _escape(state.latest))]
    lines += ['{}: "{}"'.format(_ALL, _escape(path)) for path in state.all_paths]
    lines += ["{}: {!r}".format(_TIMESTAMPS, time_s) for time_s in state.timestamps_s]
    if state.last_preserved_s:
        lines.append("{}: {!r}".format(_PRESERVED, state.last_preserved_s))
    return "".join(line + "\n" for line in lines).encode("ascii")


def _state_of(values: Dict[str, List[object]]) -> State:
    """Of a field that occurs more than once and should not, the last one counts."""
    texts = {name: [value for value in values[name] if isinstance(value, str)] for name in _TEXTS}
    numbers = {name: [value for value in values[name] if isinstance(value, float)] for name in _NUMBERS}
    return State(
        latest=texts[_LATEST][-1] if texts[_LATEST] else "",
        all_paths=tuple(texts[_ALL]),
        timestamps_s=tuple(numbers[_TIMESTAMPS]),
        last_preserved_s=numbers[_PRESERVED][-1] if numbers[_PRESERVED] else 0.0,
    )


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


class _Parser:
    """Protobuf's text format, as far as a message of texts and numbers needs it; always one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._next: Optional[_Token] = None

    def fields(self) -> Iterator[Tuple[str, object]]:
        while self._peek().kind != "end":
            name = self._take("name").text
            if name not in _TEXTS + _NUMBERS:
                raise self._unparsable("there is no field {!r}".format(name[:80]))
            self._take("mark", ":")
            if name in _REPEATED and self._skip("["):
                for value in self._list(name):
                    yield name, value
            else:
                yield name, self._value(name)
            self._skip(",") or self._skip(";")

    def _list(self, name: str) -> Iterator[object]:
        if self._skip("]"):
            return
        yield self._value(name)
        while not self._skip("]"):
            self._take("mark", ",")
            yield self._value(name)

    def _value(self, name: str) -> object:
        return self._string() if name in _TEXTS else self._number()

    def _string(self) -> str:
        pieces = [_unescape(self._take("text").text[1:-1], self)]
        while self._peek().kind == "text":  # neighbours are one text
            pieces.append(_unescape(self._take("text").text[1:-1], self))
        try:
            return b"".join(pieces).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._unparsable("a text that is not UTF-8") from error

    def _number(self) -> float:
        token = self._peek()
        if token.kind not in ("number", "name"):
            raise self._unparsable("expected a number")
        self._next = None
        if _SPECIAL_NUMBER.match(token.text):
            return float(re.sub("(?i)(inf|nan).*", r"\1", token.text))
        digits = token.text[:-1] if token.text[-1] in "fF" else token.text
        try:
            if token.kind == "name" or re.match(r"-?0[0-9]", digits):
                raise ValueError(token.text)
            return float(digits)
        except ValueError as error:
            raise self._unparsable("expected a number, found {!r}".format(token.text[:80])) from error

    def _peek(self) -> _Token:
        if self._next is None:
            found = _TOKEN.match(self._text, self._position)
            if found is None:
                raise self._unparsable("something that is neither a name, a text nor a number")
            kind = str(found.lastgroup)
            self._next = _Token(kind, found.group(kind), found.start(kind))
            self._position = found.end()
        return self._next

    def _take(self, kind: str, text: str = "") -> _Token:
        token = self._peek()
        if token.kind != kind or (text and token.text != text):
            found = "its end" if token.kind == "end" else repr(token.text[:80])
            raise self._unparsable("expected {}, found {}".format(repr(text) if text else "a " + kind, found))
        self._next = None
        return token

    def _skip(self, mark: str) -> bool:
        if self._peek().kind == "mark" and self._peek().text == mark:
            self._next = None
            return True
        return False

    def _unparsable(self, what: str) -> StateFileError:
        line = self._text.count("\n", 0, self._next.position if self._next else self._position) + 1
        return StateFileError(Fault.UNPARSABLE, "line {}: {}".format(line, what))


def _unescape(text: str, parser: _Parser) -> bytes:
    """The bytes that a quoted text stands for."""
    pieces, position = [], 0
    for escape in _ESCAPE.finditer(text):
        pieces.append(text[position : escape.start()].encode("utf-8"))
        pieces.append(_escaped_bytes(escape, parser))
        position = escape.end()
    pieces.append(text[position:].encode("utf-8"))
    return b"".join(pieces)


def _escaped_bytes(escape: "re.Match[str]", parser: _Parser) -> bytes:
    octal, hexadecimal, short, long, other = escape.groups()
    try:
        if octal:
            return bytes([int(octal, 8)])
        if hexadecimal:
            return bytes([int(hexadecimal, 16)])
        if short or long:
            return chr(int(short or long, 16)).encode("utf-8")
        return bytes([_ESCAPED[other]])
    except (KeyError, ValueError, OverflowError) as error:
        raise parser._unparsable("the escape {!r} means nothing".format(escape.group())) from error


def _escape(text: str) -> str:
    """Raises ValueError (UnicodeEncodeError) for a file name that is not UTF-8, which a state file cannot hold."""
    return "".join(
        _TO_ESCAPE.get(byte) or (chr(byte) if 32 <= byte < 127 else "\\{:03o}".format(byte))
        for byte in text.encode("utf-8")
    )
