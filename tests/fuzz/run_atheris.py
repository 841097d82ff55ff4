"""Lets atheris look for an input that a target chokes on.

    python run_atheris.py TARGET MINUTES DIRECTORY

DIRECTORY gets the inputs that are worth keeping and, as crash-*, timeout-* or oom-*, one that something is wrong with;
such a one belongs into tests/data/fuzz/TARGET once it is mended. Exit status 0: nothing was found.
"""

import sys
from pathlib import Path

import atheris

CLONE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CLONE), str(CLONE / "tests" / "fuzz"), str(CLONE / "tests" / "tensorflow_side")]

LIMIT_S, MAX_RSS_MB, MAX_INPUT_BYTES = 60, 1024, 1 << 16

with atheris.instrument_imports(include=["lastgood", "sealing"]):
    import targets


def main(target: str, minutes: float, directory: Path) -> None:
    """Ends the process."""
    kept = directory / "kept"
    kept.mkdir(parents=True)
    for number, seed in enumerate(targets.seeds(target)):
        (kept / f"seed-{number:04d}").write_bytes(seed)
        targets.TARGETS[target](seed)  # imports what is imported late before anybody counts files and memory
    options = [
        f"-max_total_time={max(1, round(minutes * 60))}",
        f"-timeout={LIMIT_S}",
        f"-rss_limit_mb={MAX_RSS_MB}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-artifact_prefix={directory}/",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(kept)], targets.TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]))
