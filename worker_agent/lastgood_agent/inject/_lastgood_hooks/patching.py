"""Patching TensorFlow while it is imported: the defining module, right after it has run, before any alias binds.

Decides which module of which version is patched with what: one table. Also makes Python's cycle
collector rest while the large packages are imported. Refuses to break an import: a target that is not there is told
once and leaves TensorFlow as it is. Imports of anything else cost one look into a dictionary.
"""

import functools
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable, Dict, Optional, Sequence, Set, Tuple

from .collector import PACKAGES, Rest
from .settings import Settings

#: What is patched, by module, from TensorFlow 2.10 on and, second, before. Each is applied once, by its name.
CHECKPOINT = ("tensorflow.python.checkpoint.checkpoint", "tensorflow.python.training.tracking.util")
MANAGEMENT = (
    "tensorflow.python.checkpoint.checkpoint_management",
    "tensorflow.python.training.checkpoint_management",
)
STRATEGY = ("tensorflow.python.distribute.collective_all_reduce_strategy",)
FUNCTION = (
    "tensorflow.python.eager.polymorphic_function.polymorphic_function",
    "tensorflow.python.eager.def_function",
)

DISTRIBUTE = ("tensorflow.python.distribute.distribute_lib",)
REFUSED = {
    "tensorflow.python.distribute.parameter_server_strategy": ("ParameterServerStrategyV1",),
    "tensorflow.python.distribute.parameter_server_strategy_v2": ("ParameterServerStrategyV2",),
    "tensorflow.python.distribute.tpu_strategy": ("TPUStrategyV2", "TPUStrategy", "TPUStrategyV1"),
}
SAVED_MODEL = ("tensorflow.python.saved_model.save",)
V1_SAVER = ("tensorflow.python.training.saver",)
#: Where keras.Model is: Keras 3, Keras 2 from TensorFlow 2.6 to 2.15, tf-keras, and the one inside TensorFlow.
KERAS_MODEL = (
    "keras.src.models.model",
    "keras.src.engine.training",
    "keras.engine.training",
    "tf_keras.src.engine.training",
    "tf_keras.engine.training",
    "tensorflow.python.keras.engine.training",
)
KERAS_3_TRAINER = ("keras.src.backend.tensorflow.trainer",)

#: Set on what is hooked. Some versions show one class in two modules, and it is hooked once.
_MARK = "_lastgood_is_hooked"

Patch = Callable[[Any, ModuleType], None]
Wrapper = Callable[..., Any]


def install_finder(settings: Settings) -> None:
    """Puts the finder first on the import path of this process, once."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder(settings))


class Finder(MetaPathFinder):
    """Finds nothing itself: lets the others find, and has the targets patched once they have run."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hooks: Any = None
        self._finding: Set[str] = set()
        self._rest = Rest()

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        patch = _PATCHES.get(fullname)
        if (patch is None and fullname not in PACKAGES) or fullname in self._finding:
            return None
        self._finding.add(fullname)  # others delegate as we do, and may ask us in turn
        try:
            return self._find_and_patch(fullname, path, target, patch)
        finally:
            self._finding.discard(fullname)

    def _find_and_patch(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType], patch: Optional[Patch]
    ) -> Optional[ModuleSpec]:
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        loader: Any = spec.loader if spec is not None else None
        if loader is None or not hasattr(loader, "exec_module"):
            return spec
        if patch is None:
            loader.exec_module = self._rest.around(loader.exec_module)
        else:
            self._patch_after(loader, patch)
        return spec

    def _patch_after(self, loader: Any, patch: Patch) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._apply(patch, module)

        loader.exec_module = exec_module

    def _apply(self, patch: Patch, module: ModuleType) -> None:
        try:
            if self._hooks is None:
                from .hooks import Hooks

                self._hooks = Hooks(self._settings)
            patch(self._hooks, module)
        except Exception as error:  # an unknown TensorFlow: it runs on as it is
            warn_once("can't hook {}: {!r}; training goes on without it".format(module.__name__, error))
            if self._hooks is not None:
                self._hooks.session.guard.count("patch", "{}: {!r}".format(module.__name__, error)[:500])


_warned: Set[str] = set()


def warn_once(text: str) -> None:
    """One line on stderr for the first thing that is wrong; what follows is only counted."""
    if not _warned:
        sys.stderr.write("lastgood: {}\n".format(text))
    _warned.add(text)


def wrap(holder: Any, name: str, wrapper: Wrapper) -> None:
    """Replaces holder.name by one that calls wrapper(original, ...). AttributeError where it is missing."""
    original = getattr(holder, name)
    if _is_hooked(original):
        return

    @functools.wraps(original)
    def hooked(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    setattr(hooked, _MARK, True)
    setattr(holder, name, hooked)


def _is_hooked(function: Any) -> bool:
    return bool(getattr(function, _MARK, False))


def wrap_property(holder: Any, name: str, wrapper: Wrapper) -> None:
    """Replaces the getter of a property likewise."""
    original = holder.__dict__[name]
    getter = original.fget
    if _is_hooked(getter):
        return

    @functools.wraps(getter)
    def hooked(self: Any) -> Any:
        return wrapper(getter, self)

    setattr(hooked, _MARK, True)
    setattr(holder, name, property(hooked, original.fset, original.fdel, original.__doc__))


def _attempt_each(hooks: Any, module: ModuleType, steps: Sequence[Tuple[str, Callable[[], None]]]) -> None:
    """Applies what can be applied; each target that is missing is told by name, and the others are hooked."""
    for name, step in steps:
        try:
            step()
        except (AttributeError, KeyError) as error:
            warn_once("this TensorFlow has no {}.{} ({!r})".format(module.__name__, name, error))
            hooks.session.guard.count("patch", "{}.{} is missing".format(module.__name__, name))


def _patch_checkpoint(hooks: Any, module: Any) -> None:
    saver = module.TrackableSaver
    coordinator = module._CheckpointRestoreCoordinator
    _attempt_each(
        hooks,
        module,
        (
            ("TrackableSaver.__init__", lambda: wrap(saver, "__init__", hooks.saver_made)),
            ("TrackableSaver.save", lambda: wrap(saver, "save", hooks.saving.save)),
            ("TrackableSaver.restore", lambda: wrap(saver, "restore", hooks.restoring.restore)),
            ("TrackableSaver._gather_serialized_tensors", lambda: _wrap_gathering(saver, hooks.saving)),
            (
                "_CheckpointRestoreCoordinator.restore_saveables",
                lambda: wrap(coordinator, "restore_saveables", hooks.restored_late),
            ),
        ),
    )


def _wrap_gathering(saver: Any, saving: Any) -> None:
    if hasattr(saver, "_gather_serialized_tensors"):
        wrap(saver, "_gather_serialized_tensors", saving.gather)
    else:
        wrap(saver, "_gather_saveables", saving.gather_saveables)


def _patch_management(hooks: Any, module: Any) -> None:
    manager = module.CheckpointManager
    restoring = hooks.restoring
    _attempt_each(
        hooks,
        module,
        (
            ("latest_checkpoint", lambda: wrap(module, "latest_checkpoint", restoring.latest_checkpoint)),
            ("get_checkpoint_state", lambda: wrap(module, "get_checkpoint_state", restoring.checkpoint_state)),
            ("CheckpointManager.__init__", lambda: wrap(manager, "__init__", restoring.manager_made)),
            (
                "CheckpointManager.latest_checkpoint",
                lambda: wrap_property(manager, "latest_checkpoint", restoring.manager_latest),
            ),
            (
                "CheckpointManager.restore_or_initialize",
                lambda: wrap(manager, "restore_or_initialize", restoring.restore_or_initialize),
            ),
            ("CheckpointManager._sweep", lambda: wrap(manager, "_sweep", hooks.rotation.sweep)),
        ),
    )


def _patch_strategy(hooks: Any, module: Any) -> None:
    wrap(module.CollectiveAllReduceExtended, "_initialize_multi_worker", hooks.strategies.gang_made)


def _patch_distribute(hooks: Any, module: Any) -> None:
    wrap(module.StrategyBase, "__init__", hooks.strategies.made)


def _patch_refused(hooks: Any, module: Any) -> None:
    for name in REFUSED[module.__name__]:
        if hasattr(module, name):
            wrap(getattr(module, name), "__init__", hooks.strategies.refused)


def _patch_saved_model(hooks: Any, module: Any) -> None:
    name = "save_and_return_nodes" if hasattr(module, "save_and_return_nodes") else "save"
    wrap(module, name, hooks.exporting.saved_model)


def _patch_v1_saver(hooks: Any, module: Any) -> None:
    wrap(module.Saver, "save", hooks.v1_saver.save)
    wrap(module.Saver, "restore", hooks.v1_saver.restore)


def _patch_keras_model(hooks: Any, module: Any) -> None:
    model, keras = module.Model, hooks.keras
    _attempt_each(
        hooks,
        module,
        (
            ("Model.save", lambda: wrap(model, "save", keras.save)),
            ("Model.save_weights", lambda: wrap(model, "save_weights", keras.save)),
            ("Model.load_weights", lambda: wrap(model, "load_weights", keras.load_weights)),
        ),
    )


def _patch_keras_3_trainer(hooks: Any, module: Any) -> None:
    wrap(module.TensorFlowTrainer, "fit", hooks.keras.fit)


def _patch_function(hooks: Any, module: Any) -> None:
    original = module.Function.__call__
    if _is_hooked(original):
        return
    module.Function.__call__ = functools.wraps(original)(hooks.call_hook(original))
    setattr(module.Function.__call__, _MARK, True)


_PATCHES: Dict[str, Patch] = {
    name: patch
    for names, patch in (
        (CHECKPOINT, _patch_checkpoint),
        (MANAGEMENT, _patch_management),
        (STRATEGY, _patch_strategy),
        (FUNCTION, _patch_function),
        (DISTRIBUTE, _patch_distribute),
        (tuple(REFUSED), _patch_refused),
        (SAVED_MODEL, _patch_saved_model),
        (V1_SAVER, _patch_v1_saver),
        (KERAS_MODEL, _patch_keras_model),
        (KERAS_3_TRAINER, _patch_keras_3_trainer),
    )
    for name in names
}
