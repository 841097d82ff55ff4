"""How the hooks come into a process: by any Python from 3.8 on, and in nobody's way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import lastgood_agent

INJECT = Path(lastgood_agent.__file__).parent / "inject"

PACKAGES = {
    "checkpoint": "tensorflow/python/checkpoint/checkpoint.py",
    "strange": "tensorflow/python/distribute/collective_all_reduce_strategy.py",
}


def run(
    code: str, tmp_path: Path, python: str = sys.executable, **environment: str
) -> subprocess.CompletedProcess[str]:
    (tmp_path / "outbox").mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LASTGOOD"))}
    path = os.pathsep.join([str(INJECT), environment.pop("PYTHONPATH", "")])
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        env={**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )  # fmt: skip


def hooks(tmp_path: Path) -> str:
    return json.dumps(
        {
            "version": 1, "run_id": "r", "worker": "worker/0", "attempt": 1, "socket": str(tmp_path / "s"),
            "outbox": str(tmp_path / "outbox"), "progress": str(tmp_path / "progress-1"), "plan_s": 1, "gate_s": 1,
        }
    )  # fmt: skip


def test_without_settings_nothing_is_loaded(tmp_path: Path) -> None:
    result = run("import sys; print([m for m in sys.modules if 'lastgood' in m], len(sys.meta_path))", tmp_path)

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("[] ")


def test_before_tensorflow_only_the_finder_is_loaded(tmp_path: Path) -> None:
    code = "import sys, json; print(sorted(m for m in sys.modules if m.startswith('_lastgood')))"

    result = run(code, tmp_path, LASTGOOD_HOOKS=hooks(tmp_path))

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == (
        "['_lastgood_hooks', '_lastgood_hooks.collector', '_lastgood_hooks.patching', '_lastgood_hooks.settings']"
    )


def test_every_module_loads_on_python_3_8_with_nothing_but_the_standard_library(tmp_path: Path, python38: str) -> None:
    names = sorted(path.stem for path in (INJECT / "_lastgood_hooks").glob("*.py"))
    code = f"import importlib; [importlib.import_module('_lastgood_hooks.' + name) for name in {names!r}]"

    result = run(code, tmp_path, python38, LASTGOOD_HOOKS=hooks(tmp_path))

    assert (result.returncode, result.stderr) == (0, "")


def test_settings_that_make_no_sense_are_one_line_and_the_script_runs(tmp_path: Path) -> None:
    result = run("print('trained')", tmp_path, LASTGOOD_HOOKS="{")

    assert (result.returncode, result.stdout) == (0, "trained\n")
    assert result.stderr.startswith("lastgood: no hooks in this process: ValueError")
    assert result.stderr.count("\n") == 1


def test_a_sitecustomize_that_is_hidden_runs_as_if_it_were_not(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("MARK = 7\nprint('theirs', __name__, __file__)\n")

    result = run("import sitecustomize; print(sitecustomize.MARK)", tmp_path, PYTHONPATH=str(site))

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"theirs sitecustomize {site / 'sitecustomize.py'}\n7\n"


def fake_tensorflow(root: Path, source: str, module: str) -> str:
    path = root / module
    path.parent.mkdir(parents=True)
    for package in path.parents:
        if package == root:
            break
        (package / "__init__.py").touch()
    path.write_text(source)
    return str(root)


def test_an_unknown_tensorflow_runs_as_it_is_with_one_warning(tmp_path: Path) -> None:
    path = fake_tensorflow(
        tmp_path / "fake",
        "class TrackableSaver:\n    def save(self): return 'saved'\nclass _CheckpointRestoreCoordinator: pass\n",
        PACKAGES["checkpoint"],
    )
    code = "from tensorflow.python.checkpoint.checkpoint import TrackableSaver\nprint(TrackableSaver)"

    result = run(code, tmp_path, PYTHONPATH=path, LASTGOOD_HOOKS=hooks(tmp_path))

    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(
        "lastgood: this TensorFlow has no tensorflow.python.checkpoint.checkpoint.Trackable"
    )
    assert result.stderr.count("\n") == 1
    facts = [json.loads(fact.read_text()) for fact in sorted((tmp_path / "outbox").glob("*.json"))]
    assert {(fact["type"], fact["hook"]) for fact in facts} == {("hook_failed", "patch")}


def test_a_module_without_its_class_runs_as_it_is(tmp_path: Path) -> None:
    path = fake_tensorflow(tmp_path / "fake", "VALUE = 3\n", PACKAGES["strange"])
    code = "from tensorflow.python.distribute import collective_all_reduce_strategy as m; print(m.VALUE)"

    result = run(code, tmp_path, PYTHONPATH=path, LASTGOOD_HOOKS=hooks(tmp_path))

    assert (result.returncode, result.stdout) == (0, "3\n")
    assert result.stderr.startswith("lastgood: can't hook tensorflow.python.distribute")
