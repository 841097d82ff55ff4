"""Signatures and ordinals."""

from __future__ import annotations

from pathlib import Path

from _lastgood_hooks.series import Series, SeriesBook, directory_of, signature_of


def test_a_signature_is_of_the_names_and_does_not_know_the_save_counter() -> None:
    assert signature_of(["model", "step"]) == signature_of(["step", "save_counter", "model"])
    assert signature_of(["model", "step"]) != signature_of(["model", "steps"])
    assert len(signature_of([])) == 16


def test_saves_are_numbered_by_series_and_directories_by_first_use(tmp_path: Path) -> None:
    book = SeriesBook()
    latest, best = str(tmp_path / "latest"), str(tmp_path / "best")
    for directory in (latest, best):
        Path(directory).mkdir()

    begun = [book.begin_save(*which) for which in (("aa", latest), ("aa", best), ("aa", latest), ("bb", best))]

    assert begun == [
        (Series("aa", 0, latest), 1),
        (Series("aa", 1, best), 1),
        (Series("aa", 0, latest), 2),
        (Series("bb", 0, best), 1),
    ]


def test_a_fresh_temporary_directory_for_each_save_is_one_series(tmp_path: Path) -> None:
    book = SeriesBook()
    found = []

    for number in range(3):
        directory = tmp_path / str(number)
        directory.mkdir()
        found.append(book.begin_save("aa", str(directory)))
        directory.rmdir()

    assert [(series.ordinal, ordinal) for series, ordinal in found] == [(0, 1), (0, 2), (0, 3)]


def test_a_worker_that_reads_one_directory_and_writes_another_numbers_its_saves_as_the_chief_does(
    tmp_path: Path,
) -> None:
    chief, worker = SeriesBook(), SeriesBook()
    shared, own = str(tmp_path), str(tmp_path / "workertemp_1")

    asked = [book.series_asked("aa", shared) for book in (chief, worker)]
    saved = [chief.begin_save("aa", shared), worker.begin_save("aa", own)]

    assert asked[0] == asked[1]
    assert [(series.ordinal, ordinal) for series, ordinal in saved] == [(0, 1), (0, 1)]
    assert worker.is_own(own)
    assert not worker.is_own(shared)


def test_directories_are_real_paths(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    assert directory_of(str(tmp_path / "link" / "ckpt-1")) == str(tmp_path / "real")
    assert directory_of("gs://bucket/run/ckpt-1") == "gs://bucket/run"


def test_what_the_script_asks_for_is_told_once() -> None:
    book = SeriesBook()
    asked = (Series("aa", 0, "/ck"), Series("aa", 0, "/ck"), Series("", 0, "/ck"), Series("aa", 1, "/best"))

    assert [book.is_asked_first(each) for each in asked] == [True, False, True, True]


def test_elsewhere_is_where_no_manager_writes_and_nothing_newest_was_asked_for() -> None:
    book = SeriesBook()
    without_managers = book.is_elsewhere("/pretrained")
    book.add_managed("/ck/workertemp_1")
    book.is_asked_first(Series("", 0, "/other"))

    found = {each: book.is_elsewhere(each) for each in ("/pretrained", "/ck", "/ck/workertemp_1", "/other", "/c")}

    assert without_managers
    assert found == {"/pretrained": True, "/ck": False, "/ck/workertemp_1": False, "/other": False, "/c": True}
