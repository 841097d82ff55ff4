"""What an operator is told of a run that goes on."""

from __future__ import annotations

from lastgood_controller.advice import advice
from lastgood_controller.events import SaveReported
from lastgood_controller.model import SaveId, SaveReport
from tests.unit.core.scene import CHIEF, OTHER, SERIES, Scene


def test_what_is_not_saved_and_what_comes_back_as_the_chiefs_is_noticed_once_however_many_tell_it() -> None:
    # given
    scene = Scene()
    scene.train_afresh()
    scene.good_save(1)
    scene.fail()
    scene.read()
    scene.start()
    unsaved = ("model/blocks/0/kernel (held in the list `blocks` of `model`)",)

    # when
    for worker in scene.members:
        scene.receipt(worker, taken_from_chief=("local",) if worker == OTHER else ())
        report = SaveReport(worker, "/d/ckpt-3", "0" * 64, 30, unsaved_variables=unsaved)
        scene.fact(SaveReported(SaveId(SERIES, 2, 1), report))

    # then
    told = [(each.about, each.workers, each.detail) for each in advice(scene.run)]
    assert told == [
        ("NotSaved", (CHIEF, OTHER), f"1 variable of the model is not in the checkpoint: {unsaved[0]}"),
        ("TakenFromChief", (OTHER,), "what each worker has of its own came back as the chief's: local"),
    ]
