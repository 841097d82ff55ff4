"""What is decided about a directory's latest checkpoint: which is newer, who is right, what is left over."""

import pytest

from lastgood.latest.decide import (
    Answer,
    Candidate,
    Judged,
    Outcome,
    Standing,
    TensorFlowSays,
    Verdict,
    answer,
    listed_paths,
    newest_first,
    repaired_state,
    series_of,
    tensorflow_says,
    with_list,
)
from lastgood.latest.state_file import State, render

HOUR_S = 3600.0


def candidate(number, time_s, position=None, saved_s=None):
    return Candidate(f"d/ckpt-{number}", time_s, number, position, saved_s)


def order(*candidates, latest=None):
    return [row.save_number for row in newest_first(candidates, latest)]


def whole(number, **options):
    return Judged(candidate(number, float(number), **options), Standing.WHOLE)


def bad(number, **options):
    return Judged(candidate(number, float(number), **options), Standing.BAD, "Torn", "too short")


def unknown(number):
    return Judged(candidate(number, float(number)), Standing.UNKNOWN, "Unreadable", "no permission")


def says(number):
    return TensorFlowSays(Outcome.PREFIX, f"d/ckpt-{number}", manager_prefix=f"d/ckpt-{number}")


NONE = TensorFlowSays(Outcome.NONE, why="the state file is damaged")
NOTHING = TensorFlowSays(Outcome.NONE, why="there is no state file", has_state_file=False)
RAISES = TensorFlowSays(Outcome.RAISES, error="ValueError", why="it is empty")


# ------------------------------------------------------------------------------------------------------- which is newer


def test_the_one_saved_last_is_the_newest_whatever_its_number():
    assert order(candidate(4, 40), candidate(5, 50), candidate(3, 60)) == [3, 5, 4]


def test_of_equal_times_the_place_in_the_list_decides_then_the_number():
    assert order(candidate(5, 10, 0), candidate(3, 10, 1), candidate(9, 10), candidate(10, 10)) == [3, 5, 10, 9]


def test_one_that_was_saved_again_and_not_noted_yet_is_the_newest():
    rolled_back = [candidate(n, 10.0 * n, position=n) for n in (1, 2, 4, 5)]

    assert order(*rolled_back, candidate(3, 99, position=3)) == [3, 5, 4, 2, 1]


def test_times_of_a_copy_are_not_believed_where_the_list_says_otherwise():
    copied_by_name = [candidate(10, 1, 2), candidate(8, 2, 0), candidate(9, 3, 1)]

    assert order(*copied_by_name) == [10, 9, 8]


def test_times_of_a_copy_are_not_believed_where_the_noted_time_is_another():
    copied_by_name = [candidate(10, 9 * HOUR_S, 1, 2 * HOUR_S), candidate(9, 9 * HOUR_S + 1, 0, HOUR_S)]

    assert order(*copied_by_name, latest="d/ckpt-10") == [10, 9]
    assert order(*copied_by_name, candidate(11, 9 * HOUR_S), candidate(2, 9 * HOUR_S + 2), latest="d/ckpt-10") == [
        11,
        10,
        9,
        2,
    ]


def test_a_clock_that_is_minutes_off_makes_no_copy():
    saved = [candidate(1, 1000, 0, 700), candidate(2, 2000, 1, 1700), candidate(3, 3000)]

    assert order(*saved, latest="d/ckpt-2") == [3, 2, 1]


def test_a_listed_path_into_a_directory_that_is_gone_means_the_checkpoint_of_that_name_here():
    content = render(State("/old/ckpt-2", ("/old/ckpt-1", "/elsewhere/ckpt-7", "sub/ckpt-3", "/old/ckpt-2")))
    said = tensorflow_says("/new", content, lambda path: False)

    listed = listed_paths("/new", said, content, {"ckpt-1", "ckpt-2"})

    assert listed == ("/new/ckpt-1", "/elsewhere/ckpt-7", "/new/sub/ckpt-3", "/new/ckpt-2")
    assert said.why.endswith("the directory was moved or copied, and that path is absolute")
    assert said.manager_prefix == "/old/ckpt-2"


def test_a_series_is_told_by_the_number_at_the_very_end():
    assert series_of("/d/ckpt-7") == series_of("ckpt") == "ckpt"
    assert (series_of("d/a\nb-1"), series_of("d/a-1\n")) == ("a\nb", "a-1\n")


def test_a_list_of_many_is_matched_with_many_in_a_time_that_grows_with_their_number():
    # given: what a quadratic step would take minutes for
    names = [f"ckpt-{number}" for number in range(20_000)]
    candidates = [Candidate(f"d/{name}", 1.0) for name in names]

    # when
    placed = with_list(candidates, [f"d/./{name}" for name in names], [2.0])

    # then
    assert [row.position for row in placed] == list(range(20_000))
    assert [row.saved_s for row in placed[:2]] == [2.0, None]


# --------------------------------------------------------------------------------------------------------- the verdict


@pytest.mark.parametrize(
    ("said", "rows", "verdict", "newest"),
    [
        (says(2), [whole(2), whole(1)], Verdict.AGREES, 2),
        (says(1), [bad(2), whole(1)], Verdict.AGREES, 1),
        (says(1), [whole(2), whole(1)], Verdict.DIFFERS, 2),
        (says(2), [bad(2), whole(1)], Verdict.DIFFERS, 1),
        (says(2), [bad(2), bad(1)], Verdict.DIFFERS, None),
        (says(1), [unknown(2), whole(1)], Verdict.UNKNOWN, 1),
        (says(2), [unknown(2), whole(1)], Verdict.UNKNOWN, 1),
        (says(2), [unknown(3), bad(2), whole(1)], Verdict.DIFFERS, 1),
        (says(1), [unknown(3), whole(2), whole(1)], Verdict.DIFFERS, 2),
        (NONE, [whole(1)], Verdict.DIFFERS, 1),
        (NONE, [unknown(2), whole(1)], Verdict.DIFFERS, 1),
        (NONE, [unknown(1)], Verdict.UNKNOWN, None),
        (NONE, [bad(1)], Verdict.DIFFERS, None),
        (NONE, [], Verdict.DIFFERS, None),
        (RAISES, [], Verdict.DIFFERS, None),
        (RAISES, [whole(1)], Verdict.DIFFERS, 1),
        (NOTHING, [whole(1)], Verdict.DIFFERS, 1),
        (NOTHING, [], Verdict.UNKNOWN, None),
    ],
)
def test_tensorflow_is_right_only_if_it_names_the_newest_whole_one(said, rows, verdict, newest):
    found = answer(said, rows)

    assert found.verdict is verdict
    assert (found.newest and found.newest.candidate.save_number) == newest
    assert found.why or verdict is Verdict.AGREES


def test_what_a_script_makes_of_it_is_said():
    assert answer(says(2), [bad(2), whole(1)]) == Answer(
        Verdict.DIFFERS,
        whole(1),
        ("d/ckpt-2 is damaged (Torn: too short): restoring it raises, at every start",),
    )
    assert answer(RAISES, []).why == ("it is empty: a crash at every start", "no checkpoint lies there")
    assert answer(NOTHING, [whole(1)]).why == (
        "there is no state file: training starts afresh, in silence",
        "d/ckpt-1 is whole, and no state file points to it",
    )
    assert answer(says(1), [whole(2, position=0), whole(1, position=1)]).why == (
        "d/ckpt-2 is whole and was saved after d/ckpt-1",
    )


def test_a_manager_takes_what_is_not_there():
    missing = tensorflow_says("d", b'model_checkpoint_path: "ckpt-9"', lambda path: False)

    assert answer(missing, [whole(1)]).why == (
        "the state file names ckpt-9, and nothing lies there: training starts afresh, in silence",
        "a CheckpointManager takes d/ckpt-9 all the same, and fails",
        "d/ckpt-1 is whole, and no state file points to it",
    )


# -------------------------------------------------------------------------------------------------------------- repair


def test_the_repaired_list_has_what_was_listed_and_is_not_damaged_and_the_newest_last():
    old = State("ckpt-4", ("ckpt-1", "ckpt-2", "ckpt-3", "ckpt-4"), (10.0, 20.0, 30.0, 40.0), 5.0)
    rows = [
        bad(4, position=3, saved_s=40.0),
        whole(2, position=1, saved_s=20.0),
        Judged(candidate(3, 3.0, 2, 30.0), Standing.UNKNOWN, "Unreadable", ""),
        whole(1, position=0, saved_s=10.0),
        whole(0),
    ]

    assert repaired_state("d", old, True, rows, rows[1]) == State(
        "ckpt-2", ("ckpt-1", "ckpt-3", "ckpt-2"), (10.0, 30.0, 20.0), 5.0
    )


def test_one_that_was_saved_again_gets_the_time_of_its_file_unless_that_is_a_copy_s():
    old = State("ckpt-2", ("ckpt-1", "ckpt-2"), (10.0, 20.0))
    again = Judged(candidate(1, 9 * HOUR_S, 0, 10.0), Standing.WHOLE)
    rows = [again, whole(2, position=1, saved_s=20.0)]

    assert repaired_state("d", old, True, rows, again).timestamps_s == (20.0, 9 * HOUR_S)
    assert repaired_state("d", old, True, rows, again, times_are_right=False).timestamps_s == (20.0, 10.0)


def test_times_that_nobody_noted_are_those_of_the_files_or_none_where_the_writer_notes_none():
    newest = whole(3)

    assert repaired_state("d", State(""), False, [newest], newest) == State("ckpt-3", ("ckpt-3",), (3.0,))
    assert repaired_state("d", State("ckpt-2", ("ckpt-2",)), True, [newest], newest) == State("ckpt-3", ("ckpt-3",))


def test_a_checkpoint_elsewhere_keeps_its_whole_path():
    newest = Judged(Candidate("/other/ckpt-3", 3.0), Standing.WHOLE)

    assert repaired_state("/d", State(""), False, [newest], newest).latest == "/other/ckpt-3"
    assert repaired_state("/other/.", State(""), False, [newest], newest).latest == "ckpt-3"
