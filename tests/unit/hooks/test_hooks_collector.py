"""The cycle collector rests while large packages are imported, and is afterwards as it was."""

import gc
from pathlib import Path

import pytest
from test_hooks_injection import hooks, run

REPORT = "import gc, keras; gc_inside = gc.isenabled()"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A `tensorflow` that imports a `keras`, each of which tells whether the collector was on."""
    (tmp_path / "keras.py").write_text("import gc; gc_inside = gc.isenabled()\n", encoding="utf-8")
    (tmp_path / "tensorflow.py").write_text(f"{REPORT}\n", encoding="utf-8")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tensorflow.py").write_text("raise ImportError('no such library')\n", encoding="utf-8")
    return tmp_path


def told(code: str, package: Path) -> str:
    result = run(f"import sys; sys.path.insert(0, {str(package)!r}); {code}", package, LASTGOOD_HOOKS=hooks(package))
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.strip()


def test_the_collector_rests_during_the_import_and_is_on_afterwards(package: Path) -> None:
    code = "import gc, tensorflow, keras; print(tensorflow.gc_inside, keras.gc_inside, gc.isenabled())"

    assert gc.isenabled()
    assert told(code, package) == "False False True"


def test_a_collector_that_the_script_switched_off_stays_off(package: Path) -> None:
    assert told("import gc; gc.disable(); import tensorflow; print(gc.isenabled())", package) == "False"


def test_after_an_import_that_failed_it_is_on_again(package: Path) -> None:
    code = "exec('import gc\\ntry:\\n import tensorflow\\nexcept ImportError:\\n print(gc.isenabled())')"

    assert told(code, package / "broken") == "True"
