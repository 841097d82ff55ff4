"""Every restore that goes wrong in silence, and some that go right: explained first, then done, then compared.

Run by an interpreter with TensorFlow, with the clone on PYTHONPATH:
`python restores.py FOLDER [EXPORTED …] [--only SCENARIO …]`.
Writes to FOLDER/exported what another version may restore then; EXPORTED is such a folder. Prints one JSON document: by
scenario what was predicted, what the restore raised, and for each prediction whether it came true; the same of what
others have exported, by folder. One process does it all: importing TensorFlow takes longer than that.
Every saved value and every initial value is unlike any other, so that a value's way can be told from the value.
"""

import gc
import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf
from live_values import Counter, value_of, variables_of
from scenarios import (
    SCENARIOS,
    a_layer,
    a_list_changed_in_its_middle,
    an_optimizer,
    exported_by_another_version,
    prefixes_of_other_types,
)

import lastgood.tf
from lastgood.checkpoint import open_checkpoint
from lastgood.explanation.live import name_of

gc.freeze()  # each explanation asks the collector for all live objects: TensorFlow's own need no look

FOLDER = sys.argv[1]


def export(folder):
    """What another version then restores."""
    os.mkdir(folder)
    counter = Counter()
    for name, make in (("layer", a_layer), ("optimizer", an_optimizer)):
        made = make()
        counter.fill(variables_of(made).values())
        made.save(os.path.join(folder, name))


# -------------------------------------------------------------------------------- running


def run(name, make, counter):
    case = make()
    prefix = case.prefix[0] if case.prefix else None
    misdescribed = []
    if case.save is not None:
        counter.fill(variables_of(case.save).values())
        counter.fill([one for one in case.trained if id(one) not in map(id, variables_of(case.save).values())])
        described = lastgood.tf.describe(case.save, values=True)
        prefix = case.save.save(os.path.join(FOLDER, name))
        misdescribed = differences(described, prefix)
    if case.restore is not case.save:
        counter.fill(variables_of(case.restore).values())
    for path, other in case.same:
        variables_of(case.restore)[other].assign(variables_of(case.save)[path].numpy())
    watched = [weight for model in case.watch.values() for weight in model.weights]
    live_ids = {id(one) for one in variables_of(case.restore).values()}
    counter.fill([one for one in watched if id(one) not in live_ids])
    before = {path: value_of(live) for path, live in variables_of(case.restore).items()}
    before_watched = {id(one): value_of(one) for one in watched}

    rightful = RIGHTFUL[case.rightful](case) if isinstance(case.rightful, str) else case.rightful
    if case.restore is not case.save:
        case.save, case.trained = None, ()  # it was saved by another process
    explanation = lastgood.tf.explain(case.restore, prefix)

    error = ""
    status = None
    try:
        status = case.restore.restore(prefix)
    except Exception as raised:
        error = type(raised).__name__
    after = {path: value_of(live) for path, live in variables_of(case.restore).items()}
    saved = saved_values(prefix)
    born, late_error = {}, ""
    if case.later is not None:
        try:
            case.later[0]()
        except Exception as raised:
            late_error = type(raised).__name__
        born = {p: value_of(live) for p, live in variables_of(case.later[1]).items() if p not in before}
    unsaved_kept = all(before_watched[id(one)] == value_of(one) for one in watched if id(one) not in live_ids)
    is_late = bool(late_error) or "written_again" in name  # the file is not what it was
    predictions = [
        {
            "key": one.key,
            "outcome": one.outcome.value,
            "reason": one.reason,
            "fix": one.fix,
            "variable": one.variable,
            "suspected": one.is_suspected,
            "came_true": came_true(one, before, after, born, saved, error, rightful, unsaved_kept, is_late),
        }
        for one in explanation.predictions
    ]
    predicted = {path for one in explanation.predictions for path in (one.variable, one.key)}
    del status
    return {
        "good": explanation.is_good,
        "misdescribed": misdescribed,
        "notes": list(explanation.notes),
        "error": error,
        "late_error": late_error,
        "born": {path: {"value": value, "saved": saved.get(path)} for path, value in born.items()},
        "predictions": predictions,
        "unpredicted": sorted(set(after) - predicted - {"save_counter"}),
    }


def saved_values(prefix):
    from lastgood.explanation.described import label_of

    if prefix is None or not os.path.exists(prefix + ".index"):
        return {}
    reader = tf.train.load_checkpoint(prefix)
    with open_checkpoint(prefix) as opened:
        return {
            label_of(key): reader.get_tensor(key.decode()).tolist()
            for key, tensor in opened.tensors.items()
            if tensor.dtype not in ("string", "variant")
        }


def differences(described, prefix):
    """Where the description of a live object is not what its save then writes."""
    names = described.graph.full_names()
    with open_checkpoint(prefix) as opened:
        saved = {
            key.decode(): (tensor.dtype, tensor.shape, tensor.crc32c, tensor.full_name)
            for key, tensor in opened.tensors.items()
            if key.endswith(b"VARIABLE_VALUE") and not key.startswith(b"save_counter/")
        }
        sums = {key for key, tensor in described.tensors.items() if tensor.kind.value.startswith("aggregated")}
        live = {
            key.decode(): (
                tensor.dtype,
                tensor.shape,
                opened.tensors[key].crc32c if key in sums else tensor.crc32c,
                names.get(key, ""),
            )
            for key, tensor in described.tensors.items()
            if not key.startswith(b"save_counter/")
        }
    return sorted(
        "{}: {} {}".format(key, saved.get(key), live.get(key))
        for key in set(saved) | set(live)
        if saved.get(key) != live.get(key)
    )


def came_true(one, before, after, born, saved, error, rightful, unsaved_kept, is_late):
    outcome, path = one.outcome.value, one.variable
    if outcome == "error":
        return bool(error)
    if "by their numbers" in one.reason:  # which ones there are depends on the other class
        return any(value == saved[key] for key, value in born.items() if key in saved)
    if "restored into a trace" in one.reason:  # which ones are lost depends on where Keras gives the trace up
        return any(value != saved[key] for key, value in born.items())
    if outcome == "not_saved" or (outcome == "left_at_initial" and not path):
        return unsaved_kept
    if outcome == "deferred":
        return one.key not in after and (one.key not in born or is_late or born[one.key] == saved[one.key])
    if outcome == "left_at_initial":
        return before.get(path) == after.get(path)
    if one.key not in saved:  # a table, an iterator: nothing raised, and nothing else took it
        return not error and before.get(path) == after.get(path)
    if outcome == "dropped":
        is_unread_slot = "nobody reads it" in one.reason and after[one.key] == saved[one.key]
        held = [value for value in list(after.values()) + list(born.values()) if is_distinct(value)]
        return is_unread_slot or saved[one.key] not in held
    if not path:  # a slot variable that is created
        return after[one.key] == saved[one.key]
    is_taken = after[path] == saved[one.key] or (
        one.reason.startswith("saved as the sum") and after[path] == [value / 2 for value in saved[one.key]]
    )
    is_right = rightful.get(path, one.key) == one.key
    return is_taken and is_right == (outcome != "wrong_value")


def is_distinct(value):
    return isinstance(value, list) and len(value) > 1


def swapped_layers(case):
    found = {}
    for path in variables_of(case.restore):
        for one, other in (
            ("layer-0", "layer-1"),
            ("layer_with_weights-0", "layer_with_weights-1"),
            ("_operations/1", "_operations/2"),
        ):
            for this, that in ((one, other), (other, one)):
                if "/" + this + "/" in path:
                    found[path] = path.replace("/" + this + "/", "/" + that + "/")
    return found


def by_slot(case):
    """Where the momentum of each variable was saved: by the names of the optimizer's own variables."""

    def names(made):
        return {path: name_of(live) for path, live in variables_of(made).items() if path.startswith("optimizer/")}

    def plain(name):
        return "/".join(part for part in name.split("/"))

    saved = {}
    for path, name in names(case.save).items():
        saved.setdefault(strip(plain(name)), path)
    found = {}
    for path, name in names(case.restore).items():
        if strip(plain(name)) in saved:
            key = saved[strip(plain(name))]
            if path.split("/")[-1].isdigit():
                found[path] = key
    return found


def strip(name):
    """The name without the optimizer's own number."""
    import re

    return re.sub(r"^(SGD|sgd|Adam|adam)(_\d+)?", "", name)


def other_class(case):
    """Nothing of an Adam's state is a momentum of SGD."""
    return {path: "" for path in variables_of(case.restore) if "_variables/" in path or "omentum" in path}


RIGHTFUL = {"swap layers": swapped_layers, "by slot": by_slot, "other class": other_class}


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    make = getattr(tf.config, "LogicalDeviceConfiguration", None) or tf.config.experimental.VirtualDeviceConfiguration
    tf.config.set_logical_device_configuration(cpu, [make(), make()])
    arguments = sys.argv[2:]
    place = arguments.index("--only") if "--only" in arguments else len(arguments)
    others, wanted = arguments[:place], arguments[place + 1 :] or list(SCENARIOS)
    export(os.path.join(FOLDER, "exported"))
    counter = Counter()
    counter.next = 1 << 16  # what was exported has the numbers below
    across = {
        folder: {name: run(name, make, counter) for name, make in exported_by_another_version(folder).items()}
        for folder in others
    }
    scenarios = {name: run(name, SCENARIOS[name], counter) for name in wanted}
    reasons, raised = a_list_changed_in_its_middle()
    refused = {"reasons": reasons, "raised": raised}
    document = {"version": tf.__version__, "scenarios": scenarios, "across": across, "refused": refused}
    print(json.dumps({**document, "typed": prefixes_of_other_types()}))


if __name__ == "__main__":
    main()
