"""What is told, by names and sizes, of what lies orphaned or leaked in a directory of checkpoints."""

from lastgood.latest.leftovers import MEANINGS, Left, Leftover, Seen, leftovers


def test_everything_that_is_left_over_is_named_by_its_kind():
    files = {
        "checkpoint": 100,
        "ckpt-1.index": 300,
        "ckpt-1.data-00000-of-00001": 1000,
        "ckpt-1.lastgood.json": 50,
        "ckpt-2.index": 300,
        "ckpt-2.data-00000-of-00001": 1000,
        "ckpt-3.index": 0,
        "ckpt-3.data-00000-of-00001": 1000,
        "ckpt-4.data-00000-of-00002": 10,
        "ckpt-4.data-00001-of-00002": 10,
        "ckpt-5.index": 300,
        "ckpt-6.index": 300,
        "ckpt-6.data-00001-of-00002": 10,
        "ckpt-7.lastgood.json": 50,
        "best.index": 300,
        "best.data-00000-of-00001": 1000,
        "vocabulary.index": 5,
        "model.keras": 900,
        "model.keras.lastgood.json": 50,
        "checkpoint.tmp0123abcd": 90,
        "ckpt-8.data-00000-of-00001.tempstate123": 8,
        "ckpt-8.index.tempstate123": 9,
        "ckpt-8.lastgood.json.tmp00ff": 4,
        "checkpoint.before-repair-1": 100,
        "events.out.tfevents.1": 7,
    }
    directories = {"ckpt-9_temp": 70, "ckpt-9_temp_0a1b": 60, "workertemp_1": 50, "eval": 40}
    seen = [Seen(name, False, size) for name, size in files.items()]
    seen += [Seen(name, True, size) for name, size in directories.items()]

    assert leftovers(seen, {"ckpt-1"}) == (
        Left(Leftover.ORPHAN, "best", 1300),
        Left(Leftover.ORPHAN, "ckpt-2", 1300),
        Left(Leftover.EMPTY_INDEX, "ckpt-3", 1000),
        Left(Leftover.DATA_WITHOUT_INDEX, "ckpt-4", 20),
        Left(Leftover.INDEX_WITHOUT_DATA, "ckpt-5", 300),
        Left(Leftover.INDEX_WITHOUT_DATA, "ckpt-6", 310),
        Left(Leftover.TEMPORARY_SAVE, "ckpt-9_temp", 70),
        Left(Leftover.TEMPORARY_SAVE, "ckpt-9_temp_0a1b", 60),
        Left(Leftover.TEMPORARY_FILE, "ckpt-8.data-00000-of-00001.tempstate123", 8),
        Left(Leftover.TEMPORARY_FILE, "ckpt-8.index.tempstate123", 9),
        Left(Leftover.TEMPORARY_FILE, "ckpt-8.lastgood.json.tmp00ff", 4),
        Left(Leftover.TEMPORARY_STATE, "checkpoint.tmp0123abcd", 90),
        Left(Leftover.WORKER_DIRECTORY, "workertemp_1", 50),
        Left(Leftover.LONE_MANIFEST, "ckpt-7.lastgood.json", 50),
    )
    assert set(MEANINGS) == set(Leftover)


def test_leftovers_of_a_name_with_a_line_break_are_those_of_any_name():
    seen = [Seen(name, False, 5) for name in ("a\nb-1.index", "a\nb-1.data-00000-of-00001", "checkpoint.tmp1\n")]

    assert leftovers(seen, set()) == (Left(Leftover.ORPHAN, "a\nb-1", 10),)


def test_what_lies_in_a_directory_of_many_checkpoints_is_said_in_a_time_that_grows_with_their_number():
    # given: what a quadratic step would take minutes for
    names = [f"ckpt-{number}" for number in range(20_000)]
    seen = [Seen(name + suffix, False, 1) for name in names for suffix in (".index", ".data-00000-of-00001")]
    seen += [Seen(f"gone-{number}.lastgood.json", False, 1) for number in range(20_000)]

    # when
    left = leftovers(seen, set(names[1:]))

    # then
    assert left[0] == Left(Leftover.ORPHAN, "ckpt-0", 2)
    assert len(left) == 20_001
