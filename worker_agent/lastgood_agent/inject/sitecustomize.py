"""The door through which the hooks come into the training process: Python imports this module at its start.

Decides only whether hooks are wanted here (LASTGOOD_HOOKS is set). Refuses to stand in anybody's way: a fault of ours
ends in one line on stderr, and a `sitecustomize` that this one hides is run as if this one were not there.
"""

import os
import sys


def _install_hooks() -> None:
    if not os.environ.get("LASTGOOD_HOOKS"):
        return
    try:
        import _lastgood_hooks

        _lastgood_hooks.install(os.environ["LASTGOOD_HOOKS"])
    except Exception as error:  # whatever it is, the script must start
        sys.stderr.write("lastgood: no hooks in this process: {!r}; training goes on without them\n".format(error))


def _run_hidden_sitecustomize() -> None:
    """Runs the next `sitecustomize` on the path. What it raises is its own, and is shown by `site` as always."""
    import importlib.util
    from importlib.machinery import PathFinder

    here = os.path.realpath(os.path.dirname(__file__))
    elsewhere = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != here]
    spec = PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


_install_hooks()
_run_hidden_sitecustomize()
