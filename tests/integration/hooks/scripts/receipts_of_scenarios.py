"""Every silent way in which a restore goes wrong, done for real, with the receipts that the hooks give of it.

Run by an interpreter with TensorFlow, with the clone, the hooks and the scenarios on PYTHONPATH:
`python receipts_of_scenarios.py FOLDER [SCENARIO …]`. Prints one JSON document: by scenario the receipts in order, what
the restore raised, and where the hooks' description of the live objects is not the library's own.
"""

import gc
import json
import os
import queue
import sys
import threading
from types import SimpleNamespace

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf
from live_values import Counter, variables_of
from scenarios import SCENARIOS

import lastgood.tf
from _lastgood_hooks.describing import describe_live
from _lastgood_hooks.orders import PlannedSeries, State
from _lastgood_hooks.receipts import Receipts
from _lastgood_hooks.unsaved import unsaved_variables
from lastgood.explanation.fault import without_values
from lastgood.explanation.told import description_from_json
from lastgood.inspect import read_manifest
from lastgood.manifest import manifest_to_json

gc.freeze()  # each description asks the collector for all live objects: TensorFlow's own need no look

FOLDER = sys.argv[1]
DEADLINE_S = 60


class Outbox:
    """Keeps what is written."""

    def __init__(self):
        self.receipts = []
        self.beside = {}

    def write(self, type_, **fields):
        for name in ("live", "before"):
            fields[name] = json.loads(self.beside[fields[name]]) if name in fields else None
        self.receipts.append({"type": type_, **fields})

    def write_beside(self, text, suffix):
        name = "{}{}".format(len(self.beside), suffix)
        self.beside[name] = text
        return name


class Hooked:
    """The receipts of one process, put where the hooks put them."""

    def __init__(self):
        self.errors = queue.SimpleQueue()
        self.session = SimpleNamespace(outbox=Outbox(), is_chief=True, replicas=1, state=State())
        self.receipts = Receipts(self.session, self.errors.put)
        module = sys.modules.get("tensorflow.python.checkpoint.checkpoint")
        module = module or sys.modules["tensorflow.python.training.tracking.util"]
        coordinator, receipts = module._CheckpointRestoreCoordinator, self.receipts
        original = coordinator.restore_saveables

        def restore_saveables(one, *args, **kwargs):
            result = original(one, *args, **kwargs)
            if receipts.has_pending(one):
                receipts.restored_late(one)
            return result

        coordinator.restore_saveables = restore_saveables

    def take(self):
        """What was told so far."""
        done = threading.Event()
        self.receipts.after_told(done.set)
        assert done.wait(DEADLINE_S), "the receipts do not come to rest"
        assert self.errors.empty(), self.errors.get()
        found, self.session.outbox.receipts = self.session.outbox.receipts, []
        return found


def view_of(made):
    saver = getattr(made, "_saver", None)
    return getattr(saver, "_graph_view", None) or lastgood.tf._graph_view(made)


def misdescribed(made):
    """Where the hooks and the library see another thing in the same objects."""
    theirs = without_values(lastgood.tf.describe(made))
    document = describe_live(view_of(made), theirs.replicas, True).document
    ours = description_from_json(json.loads(json.dumps(document)))
    parts = ("graph", "tensors", "traits", "attached", "late", "rules", "replicas", "is_foreign")
    wrong = [
        "{}: {} {}".format(part, getattr(ours, part), getattr(theirs, part))
        for part in parts
        if getattr(ours, part) != getattr(theirs, part)
    ]
    paths = sorted(one.partition(" (")[0] for one in unsaved_variables(view_of(made)))
    expected = sorted(one.path for one in lastgood.tf.unsaved(made))
    return wrong + (["unsaved: {} {}".format(paths, expected)] if paths != expected else [])


def run(name, make, counter, hooked):
    case = make()
    if case.save is None or case.prefix is not None:
        return None
    wrong = misdescribed(case.save) + misdescribed(case.restore)
    counter.fill(variables_of(case.save).values())
    hooked.session.replicas = lastgood.tf.describe(case.save).replicas
    prefix = case.save.save(os.path.join(FOLDER, name))
    if case.restore is not case.save:
        counter.fill(variables_of(case.restore).values())
    for path, other in case.same:
        variables_of(case.restore)[other].assign(variables_of(case.save)[path].numpy())
    manifest = read_manifest(prefix)
    path = os.path.join(FOLDER, name + ".json")
    with open(path, "w") as file:
        json.dump(manifest_to_json(manifest), file)
    planned = PlannedSeries("s", 0, (FOLDER,), prefix, manifest.digest, 7, path)
    if case.restore is not case.save:
        case.save, case.trained = None, ()
    error = ""
    try:
        status = case.restore.restore(prefix)
    except Exception as raised:
        error = "{}: {}".format(type(raised).__name__, raised)[:300]
        hooked.receipts.tell_error(planned, prefix, error, 0.1, view_of(case.restore))
    else:
        hooked.receipts.tell(planned, prefix, status, 0.1)
    at_once = hooked.take()
    late_error = ""
    if case.later is not None:
        try:
            case.later[0]()
        except Exception as raised:
            late_error = type(raised).__name__
    hooked.receipts.settle()
    return {
        "prefix": prefix,
        "error": error,
        "late_error": late_error,
        "misdescribed": wrong,
        "at_once": at_once,
        "later": hooked.take(),
    }


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    make = getattr(tf.config, "LogicalDeviceConfiguration", None) or tf.config.experimental.VirtualDeviceConfiguration
    tf.config.set_logical_device_configuration(cpu, [make(), make()])
    counter, hooked = Counter(), Hooked()
    wanted = sys.argv[2:] or list(SCENARIOS)
    document = {name: run(name, SCENARIOS[name], counter, hooked) for name in wanted}
    print(json.dumps({name: one for name, one in document.items() if one is not None}))


main()
