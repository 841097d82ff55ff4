"""For tests: makes the hooks' bodies in this process raise, or block for ever, as HOOK_FAULT says.

It lies on the trainer's path behind the hooks' own `sitecustomize`, which runs it. HOOK_FAULT_WORKER limits it to one
worker. The word that steering is lost still gets out: a fault that takes even that away leaves nothing to report.
"""

import json
import os
import threading

BLOCKED_S = 0.5


def raise_error():
    raise RuntimeError("a fault that a test has put into every hook")


def block():
    threading.Event().wait()


def install(body):
    from _lastgood_hooks.guard import Guard

    run = Guard.run

    def run_fault(self, hook, original_body, deadline_s=None):
        if hook == "steering_lost":
            return run(self, hook, original_body, deadline_s)
        return run(self, hook, body, BLOCKED_S)

    Guard.run = run_fault


if os.environ.get("LASTGOOD_HOOKS") and os.environ.get("HOOK_FAULT"):
    only = os.environ.get("HOOK_FAULT_WORKER")
    if only in (None, json.loads(os.environ["LASTGOOD_HOOKS"])["worker"]):
        install({"raise": raise_error, "block": block}[os.environ["HOOK_FAULT"]])
