"""What decides can be run again from the journal: it has no clock, no I/O, no chance and no threads."""

import tomllib

from source_imports import CLONE, imports_of, reached_from

#: The modules that decide. Whatever of the controller they import decides with them, and keeps the same rule.
ROOTS = tuple(
    f"lastgood_controller.{name}"
    for name in (
        *("deciding", "desired", "documents", "events", "fold", "incidents"),
        *("ingest", "judge", "lineage", "model", "plan"),
    )
)

#: All that they may import, besides each other. `signal` for the names of signals.
ALLOWED = frozenset(
    {
        "__future__", "abc", "bisect", "collections", "collections.abc", "copy", "dataclasses", "enum", "functools",
        "hashlib", "heapq", "itertools", "json", "math", "operator", "posixpath", "re", "signal", "string", "textwrap",
        "types", "typing", "urllib.parse",
    }
)  # fmt: skip


def test_whatever_decides_imports_only_what_is_pure_itself() -> None:
    # given
    deciding = sorted(reached_from(ROOTS))

    # when
    allowed = ALLOWED | set(deciding)
    strangers = [i for module in deciding for i in imports_of(module) if i.imported not in allowed]

    # then
    assert "lastgood_controller.model" in deciding
    assert strangers == [], "\n".join(map(str, strangers))


def test_explaining_a_restore_decides_from_descriptions_alone() -> None:
    # given
    deciding = sorted(reached_from(("lastgood.explain",)))

    # when
    allowed = ALLOWED | {"errno", "struct"} | set(deciding)
    strangers = [i for module in deciding for i in imports_of(module) if i.imported not in allowed]

    # then
    assert "lastgood.explanation.matching" in deciding
    assert strangers == [], "\n".join(map(str, strangers))


def test_the_modules_that_decide_are_the_ones_that_the_contract_in_pyproject_names() -> None:
    # given
    configuration = tomllib.loads((CLONE / "pyproject.toml").read_text(encoding="utf-8"))

    # when
    contracts = {contract["id"]: contract for contract in configuration["tool"]["importlinter"]["contracts"]}

    # then
    assert tuple(contracts["deciding-modules-are-pure"]["source_modules"]) == ROOTS
