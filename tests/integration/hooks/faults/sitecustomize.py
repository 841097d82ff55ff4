"""A sitecustomize of the tests, hidden behind ours, which runs it: makes the bodies of hooks fail as HOOK_FAULT says.

HOOK_FAULT is "raise", "block" or "slow", and every body named in BODIES is replaced.
"""

import importlib
import os
import threading
import time

BODIES = {
    "saving": ("Saving.begin", "Saving.tell", "Saving.tell_failure"),
    "restoring": ("Restoring.answer_restore", "Restoring.answer_directory", "Restoring.answer_manager"),
    "receipts": ("Receipts.tell", "Receipts.restored_late", "Receipts._judge_and_write"),
    "rotation": ("Rotation.tell",),
    "calls": ("Calls.pass_gate", "Calls.tell_entering", "Calls.tell_first_step", "Calls._find_step", "Calls.add_root"),
    "series": ("SeriesBook.add_managed",),
    "strategies": ("Strategies.tell_gang",),
}


def faulty(original):
    def fault(*args, **kwargs):
        kind = os.environ["HOOK_FAULT"]
        if kind == "raise":
            raise RuntimeError("injected into " + original.__name__)
        if kind == "block":
            threading.Event().wait()
        time.sleep(0.05)
        return original(*args, **kwargs)

    return fault


spared = os.environ.get("HOOK_SPARED", "").split(",")
for module_name, names in BODIES.items():
    module = importlib.import_module("_lastgood_hooks." + module_name)
    for name in names:
        class_name, _, method = name.partition(".")
        holder = getattr(module, class_name)
        if name not in spared:
            setattr(holder, method, faulty(getattr(holder, method)))
