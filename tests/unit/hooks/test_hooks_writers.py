"""Who is found to write where a worker writes, and where its saves then go."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from _lastgood_hooks.orders import REDIRECT, WARN, State
from _lastgood_hooks.series import Series
from _lastgood_hooks.writers import Place, Writers, as_asked, remove_place

SERIES = Series("aa", 0, "/ck")


class Worker:
    """The writers of one worker, and what it tells."""

    def __init__(
        self, name: str, attempt: int = 1, policy: str = REDIRECT, run_id: str = "r", workers: int = 2
    ) -> None:
        self.told: list[dict[str, Any]] = []
        self.session = SimpleNamespace(
            settings=SimpleNamespace(run_id=run_id, worker=name, attempt=attempt),
            state=State(shared_write=policy),
            is_steering=True,
            has_strategy=True,
            gang_size=workers,
            outbox=SimpleNamespace(write=lambda type_, **fields: self.told.append({"type": type_, **fields})),
        )
        self.writers = Writers(self.session)  # type: ignore[arg-type]

    def save(self, prefix: Path) -> Place:
        """A whole save: where it went."""
        place = self.writers.place(SERIES, str(prefix))
        for part in (".data-00000-of-00001", ".index"):
            Path(place.prefix + part).write_text(self.session.settings.worker)
        remove_place(place)
        return place

    @property
    def others(self) -> list[tuple[str, bool]]:
        return [(one["other"], one["is_redirected"]) for one in self.told]


def content(prefix: Path) -> str:
    return Path(f"{prefix}.index").read_text()


def test_a_worker_that_saves_alone_is_left_alone_and_tells_nothing(tmp_path: Path) -> None:
    chief = Worker("worker/0")
    assert chief.save(tmp_path / "ckpt-1") == Place(str(tmp_path / "ckpt-1"))
    assert chief.told == []


@pytest.mark.parametrize("other", [{"run_id": "another"}, {"attempt": 2}])
def test_marks_of_another_run_or_attempt_say_nothing(tmp_path: Path, other: dict[str, Any]) -> None:
    Worker("worker/0", **other).save(tmp_path / "ckpt-1")
    late = Worker("worker/1")
    assert late.save(tmp_path / "ckpt-1").folder == ""
    assert late.told == []


def test_the_later_member_gives_way_and_both_are_named(tmp_path: Path) -> None:
    # given
    chief, other = Worker("chief/0"), Worker("worker/0")

    # when both save to one directory, by two paths
    (tmp_path / "ck").mkdir()
    (tmp_path / "mount").symlink_to(tmp_path / "ck")
    chief.save(tmp_path / "ck" / "ckpt-1")
    other.save(tmp_path / "mount" / "ckpt-1")
    chief.save(tmp_path / "ck" / "ckpt-2")
    other.save(tmp_path / "mount" / "ckpt-2")

    # then
    assert (chief.others, other.others) == ([("worker/0", False)], [("chief/0", True)])
    assert {content(tmp_path / "ck" / f"ckpt-{number}") for number in (1, 2)} == {"chief/0"}
    assert not list((tmp_path / "ck" / ".lastgood" / "elsewhere").glob("*"))


def test_prefixes_of_different_names_in_one_directory_do_each_other_no_harm(tmp_path: Path) -> None:
    chief, other = Worker("worker/0"), Worker("worker/1")
    chief.save(tmp_path / "a-1")
    assert other.save(tmp_path / "b-1").folder == ""
    assert chief.told == other.told == []


def test_a_manager_that_never_saves_shares_nothing(tmp_path: Path) -> None:
    # given every worker with a manager for the chief's directory, of whom the chief alone saves
    chief, other = Worker("worker/0"), Worker("worker/1")
    for worker in (chief, other):
        worker.writers.announce(str(tmp_path / "ckpt"))

    # when
    places = [chief.save(tmp_path / f"ckpt-{number}") for number in (1, 2)]

    # then
    assert [place.folder for place in places] == ["", ""]
    assert chief.told == []


def test_where_the_chief_has_a_manager_the_first_save_of_another_already_goes_elsewhere(tmp_path: Path) -> None:
    # given managers of both, and a worker that is first to save
    chief, other = Worker("worker/0"), Worker("worker/1")
    for worker in (chief, other):
        worker.writers.announce(str(tmp_path / "ckpt"))
    first = other.save(tmp_path / "ckpt-1")
    chief.save(tmp_path / "ckpt-1")

    # when it saves once more
    other.save(tmp_path / "ckpt-2")

    # then
    assert (bool(first.folder), first.is_sure) == (True, False)
    assert content(tmp_path / "ckpt-1") == "worker/0"
    assert other.others == [("worker/0", True)]
    assert not list((tmp_path / ".lastgood" / "elsewhere").glob("*"))


def test_the_only_copy_of_a_checkpoint_is_put_where_the_script_meant_it(tmp_path: Path) -> None:
    # given a chief that has a manager and never saves
    chief, other = Worker("worker/0"), Worker("worker/1")
    for worker in (chief, other):
        worker.writers.announce(str(tmp_path / "ckpt"))

    # when another worker is the one that saves
    places = [other.save(tmp_path / f"ckpt-{number}") for number in (1, 2, 3)]

    # then
    assert [bool(place.folder) for place in places] == [True, False, False]
    assert [content(tmp_path / f"ckpt-{number}") for number in (1, 2, 3)] == ["worker/1"] * 3
    assert other.told == []


def test_the_only_copy_of_one_name_outlives_the_copies_of_another_in_its_directory(tmp_path: Path) -> None:
    # given a chief with managers for two names, that saves under one of them
    chief, other = Worker("worker/0"), Worker("worker/1")
    for name in ("a", "b"):
        chief.writers.announce(str(tmp_path / name))
    chief.save(tmp_path / "a-1")

    # when another worker saves under both
    for prefix in ("b-1", "a-1", "b-2"):
        other.save(tmp_path / prefix)

    # then what it alone has saved lies where the script meant it
    assert [content(tmp_path / prefix) for prefix in ("a-1", "b-1", "b-2")] == ["worker/0", "worker/1", "worker/1"]


def test_a_policy_that_only_warns_names_both_and_moves_nothing(tmp_path: Path) -> None:
    chief, other = Worker("worker/0", policy=WARN), Worker("worker/1", policy=WARN)
    chief.save(tmp_path / "ckpt-1")
    assert other.save(tmp_path / "ckpt-1").folder == ""
    assert other.others == [("worker/0", False)]


def test_nothing_is_moved_where_nothing_is_steered(tmp_path: Path) -> None:
    Worker("worker/0").save(tmp_path / "ckpt-1")
    other = Worker("worker/1")
    other.session.is_steering = False
    assert other.save(tmp_path / "ckpt-1").folder == ""
    assert other.others == [("worker/0", False)]


def test_a_mark_that_was_removed_with_its_directory_is_left_again_and_older_ones_go(tmp_path: Path) -> None:
    Worker("worker/1", attempt=1).save(tmp_path / "ckpt-1")
    Worker("worker/1", attempt=2).save(tmp_path / "ckpt-2")
    assert [path.name[:6] for path in (tmp_path / ".lastgood" / "writers").iterdir()] == ["000002"]


def test_a_gang_of_one_and_a_remote_directory_are_not_watched(tmp_path: Path) -> None:
    Worker("worker/0", workers=1).save(tmp_path / "ckpt-1")
    assert not (tmp_path / ".lastgood").exists()
    assert Worker("worker/0").writers.place(SERIES, "gs://bucket/ckpt-1") == Place("gs://bucket/ckpt-1")


def test_what_is_returned_has_the_form_in_which_it_came() -> None:
    tensor = SimpleNamespace(numpy=lambda: b"/elsewhere/ckpt-1")
    assert as_asked(tensor, "/ck/ckpt-1", lambda text: ("tensor", text)) == ("tensor", "/ck/ckpt-1")
    assert as_asked("/elsewhere/ckpt-1", "/ck/ckpt-1", lambda text: ("tensor", text)) == "/ck/ckpt-1"
