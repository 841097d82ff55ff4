"""The library, the launcher and the hooks run where nothing of lastgood's own environment is installed."""

from source_imports import STANDARD_LIBRARY, Import, imports_of, modules, reached_from, top_level

#: Faster where they are present, never needed; and what an extra of its own brings along.
OPTIONAL = frozenset({"crc32c", "fsspec", "h5py", "numpy"})

#: Copied into an image that has nothing but Python.
LAUNCHER = ("lastgood_agent.run_command",)

INJECTED = "lastgood_agent.inject"

#: The one module that looks at live objects of TensorFlow.
OF_TENSORFLOW = "lastgood.tf"


def test_the_library_needs_only_the_standard_library() -> None:
    # given: all of the library but the generated code, which is there for agent and controller
    library = [m for m in modules() if top_level(m) == "lastgood" and not m.startswith("lastgood.v1")]
    allowed = STANDARD_LIBRARY | OPTIONAL | {"lastgood"}

    # when
    found = [i for module in library for i in imports_of(module) if not is_lazy_tensorflow(i)]
    strangers = [i for i in found if top_level(i.imported) not in allowed or i.imported.startswith("lastgood.v1")]

    # then
    assert library
    assert strangers == [], "\n".join(map(str, strangers))


def is_lazy_tensorflow(found: Import) -> bool:
    return found.importer == OF_TENSORFLOW and top_level(found.imported) == "tensorflow" and not found.is_eager


def test_no_other_module_of_the_library_reaches_the_one_that_imports_tensorflow() -> None:
    # when
    importers = [i for module in modules() for i in imports_of(module) if i.imported == OF_TENSORFLOW]

    # then
    assert OF_TENSORFLOW in modules()
    assert importers == [], "\n".join(map(str, importers))


def test_the_launcher_and_all_that_it_reaches_need_only_the_standard_library() -> None:
    # given
    reached = reached_from(LAUNCHER)

    # when
    allowed = STANDARD_LIBRARY | {"lastgood_agent"}
    strangers = [i for module in sorted(reached) for i in imports_of(module) if top_level(i.imported) not in allowed]

    # then
    assert strangers == [], "\n".join(map(str, strangers))


def test_the_hooks_import_nothing_of_lastgood_and_nothing_that_a_trainer_may_lack() -> None:
    # given: TensorFlow and numpy are in every process that the hooks do anything in
    injected = [m for m in modules() if m.startswith(INJECTED)]
    allowed = STANDARD_LIBRARY | {"_lastgood_hooks", "tensorflow", "numpy"}

    # when
    found = [i for module in injected for i in imports_of(module)]
    strangers = [i for i in found if not (top_level(i.imported) in allowed or i.imported.startswith(INJECTED))]

    # then
    assert strangers == [], "\n".join(map(str, strangers))


def test_the_hooks_import_tensorflow_and_numpy_nowhere_at_module_level() -> None:
    # given: the hooks are imported in every Python process of the trainer's command, long before TensorFlow
    injected = [m for m in modules() if m.startswith(INJECTED)]

    # when
    found = [i for module in injected for i in imports_of(module) if i.is_eager]
    eager = [i for i in found if top_level(i.imported) in ("tensorflow", "numpy")]

    # then
    assert eager == [], "\n".join(map(str, eager))
