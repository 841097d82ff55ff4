"""What decides can be run again from the journal: it has no clock, no I/O, no chance and no threads."""

from source_imports import imports_of, modules

#: The modules that decide. A new one belongs here and into the contract in pyproject.toml.
PURE = frozenset(
    f"lastgood_controller.{name}"
    for name in ("desired", "documents", "incidents", "ingest", "judge", "lineage", "model", "plan")
)

#: All that they may import, besides each other.
ALLOWED = frozenset(
    {
        "__future__", "abc", "bisect", "collections", "collections.abc", "copy", "dataclasses", "enum", "functools",
        "hashlib", "heapq", "itertools", "json", "math", "operator", "re", "string", "textwrap", "types", "typing",
        "urllib.parse", "posixpath", "lastgood", "lastgood.manifest", "lastgood.reasons", "lastgood_controller",
    }
)  # fmt: skip


def test_a_deciding_module_imports_only_what_is_pure_itself() -> None:
    # given
    present = sorted(PURE & modules().keys())

    # when
    strangers = [i for module in present for i in imports_of(module) if i.imported not in PURE | ALLOWED]

    # then
    assert "lastgood_controller.model" in present
    assert strangers == [], "\n".join(map(str, strangers))


def test_what_a_deciding_module_reads_from_the_library_is_pure_too() -> None:
    # given
    library = [name for name in ALLOWED if name.startswith("lastgood.")]

    # when
    strangers = [i for module in library for i in imports_of(module) if i.imported not in ALLOWED | {"urllib"}]

    # then
    assert strangers == [], "\n".join(map(str, strangers))
