"""Any bytes give a verdict or a documented error: no other exception, no hang, bounded memory, no stray file.

A few inputs of each target by hypothesis, made of real ones and of nothing. `make test-full PART=fuzz` lets atheris
look for half an hour (LASTGOOD_FUZZ_MINUTES says otherwise), and fails with the input that it found.
"""

import base64
import os
import signal
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import contextmanager
from pathlib import Path

import pytest
import targets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

#: Generous: a hang is a hang also on a busy machine.
LIMIT_S = 60
#: Of what one input may take, over what the interpreter has anyway.
MAX_BYTES = 48 << 20

#: Shares of the time that atheris has.
SHARES = {
    "index": 3,
    "sealed_index": 6,
    "graph": 3,
    "snappy": 2,
    "manifest": 3,
    "checkpoint": 3,
    "sealed_checkpoint": 8,
    "sidecar": 3,
    "state_text": 2,
    "weights_h5": 3,
    "keras": 2,
}


@contextmanager
def no_hang():
    """Ends what takes too long with an exception that nobody in the library expects."""

    def stop(*_):
        raise SystemExit("took more than {} s".format(LIMIT_S))

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


@st.composite
def mutated(draw, target):
    """A real input with a few bytes changed, taken out, put in or repeated; or the end of another behind it."""
    seeds = targets.seeds(target)
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        how = draw(st.sampled_from(("put", "flip", "drop", "insert", "cut", "splice")))
        if how == "put":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif how == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "drop":
            del data[at : at + draw(st.integers(1, 9))]
        elif how == "insert":
            data[at:at] = draw(st.binary(max_size=9))
        elif how == "cut":
            del data[at:]
        elif how == "splice":
            data[at:] = draw(st.sampled_from(seeds))[at:]
    return bytes(data)


@pytest.mark.parametrize("target", targets.TARGETS)
def test_any_bytes_give_a_verdict_or_a_documented_error_in_bounded_time_and_memory(target):
    run = targets.TARGETS[target]
    for seed in targets.seeds(target):
        run(seed)

    @settings(suppress_health_check=list(HealthCheck))
    @given(st.one_of(mutated(target), st.binary(max_size=200)))
    def try_one(data):
        tracemalloc.start()
        try:
            with no_hang():
                run(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < MAX_BYTES

    try_one()


def test_a_file_outside_the_inputs_directory_is_noticed(tmp_path):
    """Or the targets would prove less than they say."""
    with pytest.raises(targets.StrayError, match="hosts"), targets.directory_of_its_own():
        os.close(os.open("/etc/hosts", os.O_RDONLY))


@pytest.mark.breadth
@pytest.mark.timeout(36000)
@pytest.mark.parametrize("target", targets.TARGETS)
def test_atheris_finds_nothing(target, tmp_path):
    minutes = float(os.environ.get("LASTGOOD_FUZZ_MINUTES", "30")) * SHARES[target] / sum(SHARES.values())
    command = [sys.executable, str(Path(__file__).parent / "run_atheris.py"), target, str(minutes), str(tmp_path)]

    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")

    print("\n" + "\n".join(done.stdout.splitlines()[-4:]))
    for kind in ("crash", "timeout", "oom"):  # pytest will remove the folder
        for found in tmp_path.glob(f"{kind}-*"):
            print(found.name, base64.b85encode(zlib.compress(found.read_bytes())).decode())
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Done " in done.stdout
