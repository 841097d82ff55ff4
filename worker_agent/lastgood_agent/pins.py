"""Where a planned or saved checkpoint really lies: under its own name, else in a pin. And what its state file says.

Decides that a checkpoint's own files come first, that a pin that is all there is left is put back under its own name
before a plan is followed, and which pins a run that has ended leaves. While a trainer runs, only its own hooks make and
remove pins: nothing here does.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from lastgood import pins
from lastgood.durable import keep_copy, replace_file, sync
from lastgood.errors import BundleError, LastgoodError
from lastgood.inspect import read_manifest
from lastgood.latest.repair import BACKUP_SUFFIX
from lastgood.latest.state_file import MAX_STATE_FILE_BYTES, STATE_FILE, State, StateFileError, parse, render, salvage
from lastgood.manifest import Manifest
from lastgood.v1 import agent_service_pb2 as pb
from lastgood.v1 import common_pb2
from lastgood_agent.pin_names import pin_name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Located:
    """A checkpoint that was found. prefix: what to restore. was_put_back: its own name was given back to it now."""

    prefix: str
    manifest: Manifest
    was_put_back: bool = False


def locate(prefix: str, digest: str) -> Located:
    """The checkpoint of this digest that lies at `prefix`, or in its pin. Raises BundleError of its own files.

    Where something else lies at `prefix`, and no pin holds it, that something is what is found.
    """
    own: Manifest | None = None
    try:
        own = read_manifest(prefix)
        if own.digest == digest:
            return Located(prefix, own)
    except BundleError:
        if pins.find_pin(prefix, digest) is None:
            raise
    pin = pins.find_pin(prefix, digest)
    if pin is not None:
        return Located(pin.prefix, read_manifest(pin.prefix))
    if own is None:
        own = read_manifest(prefix)
    return Located(prefix, own)


def locate_for_restore(prefix: str, digest: str, may_write: bool) -> Located:
    """The same before a plan is followed: what only a pin has is put back, and the state file names it.

    may_write: this worker's trainer saves into that directory.
    """
    found = locate(prefix, digest)
    if found.prefix == prefix or not may_write:
        return found
    pin = pins.find_pin(prefix, digest)
    if pin is None or not pins.put_back(pin):
        return found
    log.info("%s was rotated away and is put back from its pin", prefix)
    name_in_state_file(prefix)
    return Located(prefix, found.manifest, was_put_back=True)


def name_in_state_file(prefix: str) -> None:
    """Lets TensorFlow's state file name a checkpoint as the latest one, besides all that it lists.

    So the script finds it by itself, with or without lastgood. A copy is kept of a file that can't be understood as a
    whole. Where it can't be written, the plan is followed all the same.
    """
    directory, name = os.path.split(prefix)
    path = os.path.join(directory, STATE_FILE)
    try:
        content = _read_state(path)
        old, is_understood = _parsed(content)
        if old.latest == name and is_understood:
            return
        new = with_latest(old, name, os.stat(prefix + ".index").st_mtime)
        if content is not None and not is_understood:
            keep_copy(path, content, BACKUP_SUFFIX)
        replace_file(path, render(new))
    except (OSError, ValueError, LastgoodError) as error:
        log.warning("%s does not name %s: %s", path, name, error)


def with_latest(old: State, name: str, saved_s: float) -> State:
    """The state file's content with another latest checkpoint; whatever it listed is listed as before."""
    others = tuple(each for each in old.all_paths if each != name)
    times = dict(zip(old.all_paths, old.timestamps_s, strict=False))
    has_times = bool(old.timestamps_s) or not old.all_paths
    return State(
        latest=name,
        all_paths=(*others, name),
        timestamps_s=tuple(times.get(each, saved_s) for each in (*others, name)) if has_times else (),
        last_preserved_s=old.last_preserved_s,
    )


def _read_state(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_STATE_FILE_BYTES)
    except FileNotFoundError:
        return None


def _parsed(content: bytes | None) -> tuple[State, bool]:
    """What the state file says, or what is left of a damaged one; and whether that is all of it."""
    try:
        return parse(content or b""), True
    except StateFileError:
        return salvage(content or b""), False


# ----------------------------------------------------------------------------------------------------------- durability


def sync_pin(prefix: str, save: common_pb2.Save) -> bool:
    """Syncs the pin of a save; False when it has none."""
    place = os.path.join(pins.pins_directory(os.path.dirname(prefix)), pin_name(save))
    try:
        names = os.listdir(place)
        if os.path.basename(prefix) + ".index" not in names:
            return False
        for path in (*(os.path.join(place, name) for name in names), place, os.path.dirname(place)):
            sync(path)
    except (OSError, LastgoodError):
        return False
    return True


# -------------------------------------------------------------------------------------------------------------- the end


def tidy_up(word: pb.Pins, is_finished: bool) -> None:
    """After a run has ended, and its trainer: removes what nobody needs any more.

    After a good end a pin stays only where it holds the newest good checkpoint and nothing else does: rotation took its
    own files, and later ones, which are no good, lie there. Where none lies there any more, the script has removed its
    checkpoints, and the pins go with them. After any other end the good ones stay, for the run that goes on.
    """
    for directory in sorted({os.path.dirname(each.prefix) for each in word.good}):
        good = {pin_name(each.save): each for each in word.good if os.path.dirname(each.prefix) == directory}
        try:
            held = pins.list_pins(directory)
            keep = {pin.name for pin in held if pin.name in good}
            if is_finished:
                keep = {name for name in keep if _is_needed(good[name], directory)}
            removed = pins.remove_pins(directory, {pin.name for pin in held} - keep)
            if is_finished:
                pins.forget_writers(directory)
            log.info("pins of %s: kept %s, removed %s", directory, sorted(keep), sorted(removed))
        except OSError as error:
            log.warning("the pins of %s can't be tidied up: %s", directory, error)


def _is_needed(good: pb.PinnedSave, directory: str) -> bool:
    others = [name for name in os.listdir(directory) if name.endswith(".index")]
    return bool(others) and pins.digest_at(good.prefix) != good.manifest_digest
