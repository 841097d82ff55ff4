"""pytest can collect every folder of tests in one call: it imports what lies there by its bare name."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from source_imports import CLONE

TESTS = CLONE / "tests"


def test_no_two_modules_of_tests_have_one_name() -> None:
    """`conftest` and `sitecustomize` are loaded by their path; a module is looked for in the folder that came first."""
    names = Counter(path.stem for path in TESTS.rglob("*.py") if path.stem not in ("conftest", "sitecustomize"))

    assert [name for name, count in names.items() if count > 1] == []


def test_nobody_imports_a_conftest_by_its_name() -> None:
    """There are several, and the name is that of whichever pytest has loaded last."""
    importing = [
        str(path.relative_to(CLONE)) for path in sorted(TESTS.rglob("*.py")) if "conftest" in imported_modules(path)
    ]

    assert importing == []


def imported_modules(path: Path) -> set[str]:
    """What a file imports, by dotted name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found
