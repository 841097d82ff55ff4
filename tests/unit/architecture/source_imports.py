"""Reads from the sources who imports whom, without importing anything."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CLONE = Path(__file__).resolve().parents[3]
PACKAGES = {
    "lastgood": CLONE / "lastgood",
    "lastgood_agent": CLONE / "worker_agent" / "lastgood_agent",
    "lastgood_controller": CLONE / "controller" / "lastgood_controller",
}

#: What comes with every Python. A few names are younger than Python 3.8; vermin looks after those.
STANDARD_LIBRARY = frozenset(sys.stdlib_module_names)


@dataclass(frozen=True, order=True)
class Import:
    """One import: who, what (a module, with its package), on which line, and whether importing `importer` does it."""

    importer: str
    imported: str
    line: int
    is_eager: bool

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: imports {self.imported}"


@cache
def modules() -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """All imports of a module, those inside functions too, without those for type checkers alone."""
    path = modules()[module]
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = {
        Import(module, name, node.lineno, is_eager)
        for node, is_eager in _running(tree, True)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in _names(node, package)
        if name
    }
    return tuple(sorted(found))


def _running(node: ast.AST, is_eager: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        within = is_eager and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield child, within
        yield from _running(child, within)


def _names(node: ast.Import | ast.ImportFrom, package: str) -> Iterable[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        parents = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*parents, base] if base else parents)
    below = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name in modules() else base for name in below]


def top_level(name: str) -> str:
    """The first part of a dotted name."""
    return name.partition(".")[0]


def reached_from(roots: Iterable[str]) -> frozenset[str]:
    """The roots and every module of ours that they import, directly or not."""
    todo, seen = [root for root in roots if root in modules()], set()
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += [i.imported for i in imports_of(module) if i.imported in modules()]
    return frozenset(seen)
