"""The demo: one training job, run once undisturbed and once under lastgood while it is sabotaged, then compared.

Ends with 0 when every claim is shown, and with 1 and the reasons otherwise. `train.py` is an ordinary script that
knows nothing of lastgood; it runs with the interpreter that `--python` names, which needs TensorFlow and scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text
from sabotage import Saboteur
from verdict import Check, Evidence, judge, read_lives

from lastgood_controller import display, tables
from lastgood_controller.reading import read_job, read_journal

TRAIN = Path(__file__).resolve().with_name("train.py")
#: Marks an output directory as ours, so that no other directory is ever emptied.
MARKER = ".lastgood-demo"
JOB = "digits"
PLAIN_RUN_S = 300.0
GUARDED_RUN_S = 400.0
#: launch promises to be gone 10 s after it was asked to.
LAUNCH_GOES_S = 12.0
SERVE_S = 40.0


def main(argv: Sequence[str] | None = None) -> int:
    """The whole demo; returns the exit status."""
    arguments = _arguments(argv)
    output = arguments.output.resolve()  # as hooks and agents will name it
    problem = _prepare(output) or _missing_parts(arguments.python)
    if problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 2
    begun_s = time.monotonic()
    print(f"1. {arguments.steps} steps on {arguments.workers} workers, undisturbed and without lastgood", flush=True)
    plain_s = run_plainly(arguments, output / "plain")
    if plain_s is None:
        return 1
    print(f"   done in {plain_s:.1f} s; logs in {output}/plain\n", flush=True)
    print(f"2. the same under lastgood, sabotaged ({arguments.sabotage})\n", flush=True)
    status, saboteur = run_guarded(arguments, output / "guarded")
    print("\n3. what is shown", flush=True)
    evidence = gather(arguments, output, status, saboteur)
    extra = _sabotage_done(saboteur, arguments.sabotage)
    checks = (*judge(evidence), *extra)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(Group(*report(evidence, checks)))
    print(f"\nthe demo took {time.monotonic() - begun_s:.0f} s; everything it left is in {output}")
    if arguments.record:
        shown = without_paths(evidence, output)
        record(arguments.record, shown, report(shown, (*judge(shown), *extra)))
    return 0 if all(check.is_shown for check in checks) else 1


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has TensorFlow and scikit-learn")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--save-every", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    parser.add_argument("--steering", choices=("on", "off"), default="on", help="off: lastgood only watches")
    parser.add_argument("--sabotage", default="a,b,c", help="which acts, such as a,c; or none")
    parser.add_argument("--plain", action="store_true", help="plain lines, also on a terminal")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write a picture of the output, as SVG")
    arguments = parser.parse_args(argv)
    arguments.sabotage = "" if arguments.sabotage == "none" else arguments.sabotage.replace(",", "")
    if set(arguments.sabotage) - set("abc"):
        parser.error("expected --sabotage of the letters a, b and c, or none")
    return arguments


def _prepare(output: Path) -> str | None:
    """Makes an empty output directory of ours. Returns what is in the way."""
    try:
        if output.exists() and not (output / MARKER).is_file() and any(output.iterdir()):
            return f"{output} holds something else than an older demo; give another --output"
        if output.exists():
            shutil.rmtree(output)
        output.mkdir(parents=True)
        (output / MARKER).touch()
    except OSError as error:
        return f"cannot make {output} ready: {error.strerror}; give another --output"
    return None


def _missing_parts(python: str) -> str | None:
    if shutil.which(python) is None:
        return f"the interpreter {python} does not exist; name one that has TensorFlow with --python"
    code = "import importlib.util as u, sys; sys.exit(' '.join(m for m in sys.argv[1:] if u.find_spec(m) is None) or 0)"
    answer = subprocess.run([python, "-c", code, "tensorflow", "sklearn"], capture_output=True, text=True, timeout=60)
    if answer.returncode != 0:
        return f"{python} lacks {answer.stderr.strip()}; name an interpreter that has it with --python"
    return None


def training_command(arguments: argparse.Namespace, directory: Path) -> list[str]:
    """The script's command line, the same for both runs but for the directory."""
    command = [arguments.python, str(TRAIN), "--checkpoints", str(directory / "checkpoints")]
    command += ["--logs", str(directory / "logs"), "--steps", str(arguments.steps)]
    return [*command, "--save-every", str(arguments.save_every)]


def environment() -> dict[str, str]:
    """The shell's, quieter: no GPU is looked for, and TensorFlow says only what is wrong."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}


def run_plainly(arguments: argparse.Namespace, directory: Path) -> float | None:
    """The script as anybody starts it: one process per worker. Returns the seconds it took, None when it failed."""
    directory.mkdir()
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(arguments.workers)]
    begun_s = time.monotonic()
    trainers = []
    try:
        for index in range(arguments.workers):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            with (directory / f"worker-{index}.log").open("wb") as log:
                trainers.append(
                    subprocess.Popen(
                        training_command(arguments, directory),
                        env={**environment(), "TF_CONFIG": json.dumps(task)},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
        for trainer in trainers:
            trainer.wait(max(1.0, begun_s + PLAIN_RUN_S - time.monotonic()))
    except subprocess.TimeoutExpired:
        print(f"   it did not end within {PLAIN_RUN_S:.0f} s; see {directory}/worker-*.log", file=sys.stderr)
        return None
    finally:
        for trainer in trainers:
            if trainer.poll() is None:
                trainer.kill()
                trainer.wait()
    failed = [f"worker {i} ended with {t.returncode}" for i, t in enumerate(trainers) if t.returncode != 0]
    if failed:
        print(f"   {', '.join(failed)}; see {directory}/worker-*.log", file=sys.stderr)
        return None
    return time.monotonic() - begun_s


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def run_guarded(arguments: argparse.Namespace, directory: Path) -> tuple[int, Saboteur | None]:
    """The same script under `lastgood launch`, with a saboteur. Returns launch's exit status."""
    directory.mkdir()
    state_dir = directory / "state"
    command = [sys.executable, "-P", "-m", "lastgood", "launch", "--workers", str(arguments.workers), "--job", JOB]
    command += ["--state-dir", str(state_dir), "--steering", arguments.steering]
    command += ["--plain"] if arguments.plain else []
    launch = subprocess.Popen([*command, "--", *training_command(arguments, directory)], env=environment())
    saboteur = None
    try:
        served = _wait_for_controller(state_dir, launch)
        if served is not None and arguments.sabotage:
            # A live picture owns the terminal: there the saboteur's words come with the claims, at the end.
            is_live = sys.stdout.isatty() and not arguments.plain
            say = (lambda text: None) if is_live else (lambda text: print(f"            {text}", flush=True))
            reached = partial(last_step, directory / "logs" / "steps-worker-0.log")
            saboteur = Saboteur(
                *served, arguments.sabotage, arguments.steps, arguments.save_every, reached=reached, say=say
            )
            saboteur.start()
        return launch.wait(GUARDED_RUN_S), saboteur
    except subprocess.TimeoutExpired:
        print(f"   the guarded run did not end within {GUARDED_RUN_S:.0f} s", file=sys.stderr)
        return 3, saboteur
    finally:
        if saboteur is not None:
            saboteur.stop()
        if launch.poll() is None:
            launch.send_signal(signal.SIGTERM)
            try:
                launch.wait(LAUNCH_GOES_S)
            except subprocess.TimeoutExpired:
                launch.kill()
                launch.wait()


def last_step(log: Path) -> int:
    """The last step in a worker's own log, 0 before there is one."""
    try:
        lives = read_lives(log.read_text("utf-8"))
    except OSError:
        return 0
    return lives[-1].steps[-1] if lives and lives[-1].steps else 0


def _wait_for_controller(state_dir: Path, launch: subprocess.Popen[bytes]) -> tuple[str, str] | None:
    """The controller's address and the run's id, once both are there; None when launch ended before."""
    deadline_s = time.monotonic() + SERVE_S
    while time.monotonic() < deadline_s and launch.poll() is None:
        try:
            address = json.loads((state_dir / "controller.json").read_text("utf-8"))["address"]
            return address, json.loads((state_dir / "run.json").read_text("utf-8"))["run_id"]
        except (OSError, ValueError, KeyError):
            time.sleep(0.05)
    return None


def gather(arguments: argparse.Namespace, output: Path, status: int, saboteur: Saboteur | None) -> Evidence:
    """Reads what both runs left."""
    state_dir = output / "guarded" / "state"
    workers = [f"worker/{index}" for index in range(arguments.workers)]
    lives = {}
    for index, worker in enumerate(workers):
        log = output / "guarded" / "logs" / f"steps-worker-{index}.log"
        lives[worker] = read_lives(log.read_text("utf-8")) if log.is_file() else ()
    return Evidence(
        steps=arguments.steps,
        plain=_results(output / "plain", workers),
        guarded=_results(output / "guarded", workers),
        lives=lives,
        job=read_job(state_dir, JOB),
        journal=read_journal(state_dir, JOB),
        launch_status=status,
        disturbances=len(saboteur.done) if saboteur else 0,
        damage=saboteur.damage if saboteur else None,
        workers=workers,
    )


def _results(directory: Path, workers: Sequence[str]) -> dict[str, Any]:
    found = {}
    for index, worker in enumerate(workers):
        file = directory / "logs" / f"result-worker-{index}.json"
        if file.is_file():
            found[worker] = json.loads(file.read_text("utf-8"))
    return found


def _sabotage_done(saboteur: Saboteur | None, acts: str) -> tuple[Check, ...]:
    if not acts:
        return ()
    done = saboteur.done if saboteur else []
    fault = f"; {saboteur.fault}" if saboteur and saboteur.fault else ""
    found = "; ".join(f"({each.act}) {each.what}" for each in done) or "nothing"
    return (Check("the saboteur did all that was asked", len(done) == len(acts), found + fault),)


def report(evidence: Evidence, checks: Sequence[Check]) -> list[RenderableType]:
    """The table of incidents, and each claim with what shows it."""
    parts: list[RenderableType] = [Text()]
    if evidence.job["incidents"]:
        parts += [tables.incidents_table(evidence.job), Text()]
    for check in checks:
        mark = ("✓ ", "bold green") if check.is_shown else ("✗ ", "bold red")
        parts.append(Text.assemble(mark, (check.claim, "bold"), f": {check.detail}"))
    return parts


def without_paths(evidence: Evidence, output: Path) -> Evidence:
    """The same with this machine's path to the output directory cut short: a picture is shown elsewhere."""

    def cut(document: Any) -> Any:
        return json.loads(json.dumps(document).replace(json.dumps(str(output))[1:-1], "demo-output"))

    return replace(evidence, job=cut(evidence.job), journal=cut(evidence.journal))


def _is_telling(entry: Mapping[str, Any]) -> bool:
    """Decisions and failures; what rotation removed says nothing."""
    if entry["kind"] == "VerdictReached":
        return all(cause["reason"] != "Vanished" for cause in entry["event"]["verdict"]["causes"])
    return entry["kind"] in {"AttemptOpened", "PlanDecided", "GateOpened", "AttemptFailed", "RunEnded"}


def record(file: Path, evidence: Evidence, parts: Sequence[RenderableType]) -> None:
    """Writes a picture of what the demo showed: decisions and failures, checkpoints, incidents, claims."""
    entries = [entry for entry in evidence.journal if _is_telling(entry)]
    started_s = evidence.journal[0]["at_s"] if evidence.journal else 0.0
    now_s = evidence.journal[-1]["at_s"] if evidence.journal else 0.0
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=150, file=nowhere, highlight=False, force_terminal=True)
        console.print(Text("$ lastgood launch --workers 2 -- python train.py", style="bold"))
        console.print(display.render(evidence.job, entries, now_s, started_s))
        console.print(Group(*parts))
        file.parent.mkdir(parents=True, exist_ok=True)
        console.save_svg(str(file), title="lastgood: the demo")


if __name__ == "__main__":
    sys.exit(main())
