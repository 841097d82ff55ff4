"""An HDF5 file that is read in a process of its own.

libhdf5 is C code, and there are bytes that send it into an endless loop or a crash. Both end that process alone: it has
a limit on its processor time, which grows with the file, so that a slow disk is never taken for a loop. What it finds
comes back as plain lines and bytes. Decides nothing about the file: `lastgood.keras.hdf5` does, over there.
"""

import json
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import IO, Any, Dict, Iterator, List, Optional

from lastgood.errors import BundleError, MissingExtraError, describe
from lastgood.keras.hdf5 import Dataset, Hdf5File
from lastgood.reasons import Reason
from lastgood.window import Window

#: Processor time of one child: to start, and for so many bytes of the file one second more.
CPU_S, BYTES_PER_CPU_S = 5, 20 << 20

#: No piece is larger, and no line longer: what says so is no child of ours any more.
_MAX_PIECE_BYTES, _MAX_LINE_BYTES = 16 << 20, 1 << 20

_PURPOSE = "reading Keras files"

#: Run with -I: nothing that lies in the working directory is imported before the path is ours.
_CHILD = (
    "import json, sys; order = json.loads(sys.stdin.buffer.readline()); sys.path[:] = order['sys_path'];"
    "from lastgood.keras.apart import serve; serve(order)"
)


class Hdf5Apart:
    """As `Hdf5File`, of a file or of a stretch of it; the file is parsed elsewhere."""

    def __init__(self, path: str, what: str, start: int = 0, size_bytes: Optional[int] = None) -> None:
        """As `Window`. Raises BundleError, and MissingExtraError where there is no h5py."""
        self._path = path
        with Window(path, what, start, size_bytes) as window:
            self._cpu_s = CPU_S + window.size_bytes // BYTES_PER_CPU_S
        _expect_h5py()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._ask(
                sys_path=[place for place in sys.path if isinstance(place, str)],
                path=path,
                what=what,
                start=start,
                size_bytes=size_bytes,
                cpu_s=self._cpu_s,
            )
            self._answer()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the process. May be called again."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None  # both are pipes
            with suppress(OSError):
                stream.close()
        self._process.kill()  # it has nothing to keep
        self._process.wait()

    def datasets(self) -> List[Dataset]:
        """All of them, in the order of their paths. Raises BundleError."""
        self._ask(do="datasets")
        found: List[Dataset] = []
        while True:
            answer = self._answer()
            if "dataset" not in answer:
                return found
            path, name, dtype, shape, size_bytes = answer["dataset"]
            found.append(Dataset(path, name, dtype, tuple(shape), size_bytes))

    def pieces(self, dataset: Dataset) -> Iterator[memoryview]:
        """The elements of an array of numbers, row by row, little-endian, in pieces. Raises BundleError."""
        self._ask(do="pieces", dataset=dataset)
        while True:
            size_bytes = self._answer().get("size_bytes", 0)
            if not size_bytes:
                return
            if size_bytes > _MAX_PIECE_BYTES:
                raise self._broken("it sent a piece of {} bytes".format(size_bytes))
            assert self._process.stdout is not None
            piece = self._process.stdout.read(size_bytes)
            if len(piece) < size_bytes:
                raise self._dead()
            yield memoryview(piece)
            self._ask(do="next", dataset=dataset)

    # -- the two ends of the pipe

    def _ask(self, **order: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode("ascii") + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._dead() from error

    def _answer(self) -> Dict[str, Any]:
        """What it says next. Raises what it says that it had to raise."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline(_MAX_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise self._dead()
        try:
            answer = dict(json.loads(line))
            reason = Reason(answer["reason"]) if "reason" in answer else None
        except (ValueError, TypeError) as error:
            raise self._broken("it said {!r}".format(line[:80])) from error
        if "missing" in answer:
            raise MissingExtraError(_PURPOSE, "h5py", "keras", ImportError(answer["missing"]))
        if reason is not None:
            raise BundleError(reason, str(answer.get("detail")))
        return answer

    def _dead(self) -> BundleError:
        """It has died, or says what cannot be read: why."""
        self._process.kill()
        status = self._process.wait()
        if status == -signal.SIGXCPU:
            return self._broken("it kept the HDF5 library busy for more than {} s".format(self._cpu_s))
        return self._broken("the HDF5 library ended with status {} over it".format(status))

    def _broken(self, what: str) -> BundleError:
        return BundleError(Reason.CORRUPT, "{} is damaged: {}".format(self._path, what))


def _expect_h5py() -> None:
    try:
        is_there = find_spec("h5py") is not None
    except ValueError:  # somebody has put None into sys.modules
        is_there = False
    if not is_there:
        raise MissingExtraError(_PURPOSE, "h5py", "keras", ImportError("No module named 'h5py'"))


# ------------------------------------------------------------------------------------------------ in the other process


def serve(order: Dict[str, Any]) -> None:
    """Opens what is asked for, and answers until nobody asks any more."""
    _limit_cpu(order["cpu_s"])
    out = sys.stdout.buffer
    try:
        window = Window(order["path"], order["what"], order["start"], order["size_bytes"])
        file = Hdf5File(window, order["path"])
    except (BundleError, MissingExtraError) as error:
        _say(out, _as_answer(error))
        return
    _say(out, {"opened": True})
    pieces: Iterator[memoryview] = iter(())
    for line in sys.stdin.buffer:
        order = json.loads(line)
        try:
            if order["do"] == "datasets":
                for dataset in file.datasets():
                    _say(out, {"dataset": dataset})
                _say(out, {"end": True})
                continue
            if order["do"] == "pieces":
                path, name, dtype, shape, size_bytes = order["dataset"]
                pieces = file.pieces(Dataset(path, name, dtype, tuple(shape), size_bytes))
            piece = next(pieces, memoryview(b""))
            _say(out, {"size_bytes": len(piece)}, piece)
        except BundleError as error:
            _say(out, _as_answer(error))


def _limit_cpu(cpu_s: int) -> None:
    try:
        import resource
    except ImportError:  # not a Unix
        return
    used_s = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    _, hard_s = resource.getrlimit(resource.RLIMIT_CPU)
    with suppress(ValueError):  # a stricter limit than ours
        resource.setrlimit(resource.RLIMIT_CPU, (used_s + cpu_s, hard_s))


def _as_answer(error: Exception) -> Dict[str, str]:
    if isinstance(error, BundleError):
        return {"reason": error.reason.value, "detail": error.detail}
    return {"missing": describe(error.__cause__ or error)}


def _say(out: "IO[bytes]", answer: Dict[str, Any], piece: "memoryview | bytes" = b"") -> None:
    out.write(json.dumps(answer).encode("ascii") + b"\n")
    out.write(piece)
    out.flush()
