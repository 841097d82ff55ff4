"""Which exception ended a program, by what it printed: real Python programs, and TensorFlow's words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lastgood_agent.python_error import PythonError, find_python_error


def run(tmp_path: Path, body: str) -> tuple[str, int]:
    """What a program printed, and what it ended with."""
    script = tmp_path / "train.py"
    script.write_text(body)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr, done.returncode


def test_an_uncaught_exception_is_found_with_its_place_in_the_script(tmp_path: Path) -> None:
    body = "import json\ndef main():\n    json.loads('{')\nmain()\n"

    error = find_python_error(*run(tmp_path, body))

    assert error is not None
    assert (error.type, error.place) == ("json.decoder.JSONDecodeError", f"{tmp_path}/train.py:3 in main")
    assert error.message.startswith("Expecting property name")
    assert error.lines[0].startswith("  File ")
    assert error.lines[-1].startswith("json.decoder.JSONDecodeError: Expecting")


@pytest.mark.parametrize(
    ("body", "type_", "line"),
    [
        ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise KeyError('a: b')\n", "KeyError", 4),
        ("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('x') from e\n", "ValueError", 4),
        ("raise ValueError('first\\nsecond: third')\n", "ValueError", 1),
        ("import missing_module_of_nobody\n", "ModuleNotFoundError", 1),
        ("assert False\n", "AssertionError", 1),
        ("class E(Exception): pass\nraise E\n", "E", 2),
        ("import sys\nprint('Traceback (most recent call last):')\nraise OSError(28, 'No space')\n", "OSError", 3),
    ],
)
def test_the_last_exception_is_the_one_that_counts(tmp_path: Path, body: str, type_: str, line: int) -> None:
    error = find_python_error(*run(tmp_path, body))

    assert error is not None
    assert (error.type, error.place) == (type_, f"{tmp_path}/train.py:{line} in <module>")


@pytest.mark.parametrize(
    "body",
    [
        "raise SystemExit('no data set')\n",
        "import sys; sys.exit(1)\n",
        "print('all is well')\n",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n",
    ],
)
def test_an_end_without_an_exception_has_none(tmp_path: Path, body: str) -> None:
    text, status = run(tmp_path, body)

    assert find_python_error(text, status if status >= 0 else None) is None


HANDLED = """Traceback (most recent call last):
  File "/job/train.py", line 5, in read
    return open(path)
FileNotFoundError: [Errno 2] No such file or directory: 'x'
"""


def test_a_traceback_that_was_only_logged_says_nothing_of_an_end_by_a_signal_long_after() -> None:
    assert find_python_error(HANDLED + "step\n" * 6, None) is None
    assert find_python_error(HANDLED + "step\n" * 2, None) is not None


#: As TensorFlow 2.21 prints it: the frames that Keras and TensorFlow hide, and what runs on behind.
TENSORFLOW = """2026-11-26 00:00:00.000000: W tensorflow/core/framework/op_kernel.cc:1844] OP_REQUIRES failed
Traceback (most recent call last):
  File "/job/train.py", line 113, in <module>
    main()
  File "/job/train.py", line 98, in main
    train_step()
  File "/env/lib/python3.11/site-packages/tensorflow/python/util/traceback_utils.py", line 153, in error_handler
    raise e.with_traceback(filtered_tb) from None
  File "/env/lib/python3.11/site-packages/tensorflow/python/eager/execute.py", line 53, in quick_execute
    tensors = pywrap_tfe.TFE_Py_Execute(ctx._handle, device_name, op_name,
              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
tensorflow.python.framework.errors_impl.UnavailableError: Graph execution error:

Detected at node CollectiveReduceV2 defined at (most recent call last):
  File "/job/train.py", line 113, in <module>

Collective ops is aborted by: Connection reset by peer
Additional GRPC error information from remote target /job:worker/replica:0/task:1 while calling /tensorflow.Worker
\t [[{{node CollectiveReduceV2}}]] [Op:__inference_train_step_220]
"""


def test_a_long_message_of_tensorflows_is_kept_with_the_script_s_own_line() -> None:
    error = find_python_error(TENSORFLOW, 1)

    assert error is not None
    assert (error.type, error.message, error.place) == (
        "tensorflow.python.framework.errors_impl.UnavailableError",
        "Graph execution error:",
        "/job/train.py:98 in main",
    )
    assert any("Connection reset by peer" in line for line in error.lines)


def test_whatever_is_printed_what_is_found_is_bounded() -> None:
    text = "Traceback (most recent call last):\n" + '  File "a.py", line 1, in f\n' * 3000 + "E: " + "x" * 100_000

    error = find_python_error(text, 1)

    assert isinstance(error, PythonError)
    assert len(error.message) == 500
    assert sum(map(len, error.lines)) < 12 * 501
