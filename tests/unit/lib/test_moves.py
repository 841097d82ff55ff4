"""What changed its place between two checkpoints is recognised, and what could be two things is called neither."""

from hypothesis import given
from hypothesis import strategies as st

from lastgood.difference.moves import Evidence, Move, Moves, Print, Shift, Swap, find_moves

FORM = ("float32", (3,))


def prints(**tensors):
    """Keys with underscores for slashes, and a value for each."""
    return {key.replace("_", "/").encode(): Print(FORM, value, None) for key, value in tensors.items()}


def named(**tensors):
    """The same by names; every value is unlike all others."""
    return {key.replace("_", "/").encode(): Print(FORM, object(), name) for key, name in tensors.items()}


def test_two_variables_that_changed_places_are_swapped():
    assert find_moves(prints(w_0=1, w_1=2, b=3), prints(w_0=2, w_1=1, b=3)) == Moves(
        swaps=(Swap((b"w/0", b"w/1"), Evidence.VALUE),)
    )


def test_two_variables_that_changed_places_and_were_trained_on_are_recognised_by_their_names():
    assert find_moves(named(w_0="a", w_1="b"), named(w_0="b", w_1="a")) == Moves(
        swaps=(Swap((b"w/0", b"w/1"), Evidence.NAME),)
    )


def test_names_that_were_numbered_anew_say_nothing():
    before = named(d_0="dense/kernel", d_1="dense_1/kernel", d_2="dense_2/kernel")

    assert find_moves(before, named(d_0="dense_1/kernel", d_1="dense_2/kernel", d_2="dense_3/kernel")) == Moves()


def test_numbered_names_that_changed_places_among_themselves_do_say_something():
    before = named(d_0="dense/kernel", d_1="dense_1/kernel")

    assert find_moves(before, named(d_0="dense_1/kernel", d_1="dense/kernel")) == Moves(
        swaps=(Swap((b"d/0", b"d/1"), Evidence.NAME),)
    )


def test_numbers_that_are_too_long_for_a_place_in_a_list_are_no_places():
    before, after = ({b"w/" + digit * 5000: Print(FORM, 1, None)} for digit in (b"1", b"2"))

    assert find_moves(before, after).moves == (Move(b"w/" + b"1" * 5000, b"w/" + b"2" * 5000, True, Evidence.VALUE),)


def test_very_many_names_that_were_numbered_anew_are_seen_in_good_time():
    # What took time with the square of their number ran into the time limit of every test.
    before = named(**{f"d_{n}": f"dense_{n}/kernel" for n in range(100_000)})

    assert find_moves(before, named(**{f"d_{n}": f"dense_{n + 1}/kernel" for n in range(100_000)})) == Moves()


def test_a_variable_inserted_before_others_that_were_trained_on_is_recognised_by_names():
    moves = ((b"w/0", b"w/1"), (b"w/1", b"w/2"))

    assert find_moves(named(w_0="a", w_1="b"), named(w_0="new", w_1="a", w_2="b")) == Moves(
        shifts=(Shift(moves, 1, Evidence.NAME),)
    )


def test_a_variable_inserted_at_the_front_of_a_list_shifts_the_others():
    before = prints(w_0=1, w_1=2, w_2=3)

    after = prints(w_0=9, w_1=1, w_2=2, w_3=3)

    moves = ((b"w/0", b"w/1"), (b"w/1", b"w/2"), (b"w/2", b"w/3"))
    assert find_moves(before, after) == Moves(shifts=(Shift(moves, 1, Evidence.VALUE),))


def test_a_variable_removed_from_the_front_of_a_list_shifts_the_others_down():
    moves = ((b"w/1", b"w/0"), (b"w/2", b"w/1"))

    assert find_moves(prints(w_0=1, w_1=2, w_2=3), prints(w_0=2, w_1=3)) == Moves(
        shifts=(Shift(moves, -1, Evidence.VALUE),)
    )


def test_numbers_are_compared_as_numbers_and_not_as_text():
    before = {b"w/%d" % place: Print(FORM, place, None) for place in range(8, 11)}
    after = {b"w/%d" % (place + 1): Print(FORM, place, None) for place in range(8, 11)}

    (shift,) = find_moves(before, after).shifts

    assert shift.moves == ((b"w/8", b"w/9"), (b"w/9", b"w/10"), (b"w/10", b"w/11"))


def test_a_variable_whose_key_is_another_one_is_renamed():
    assert find_moves(prints(kernel=1, b=2), prints(weights=1, b=2)) == Moves(
        moves=(Move(b"kernel", b"weights", True, Evidence.VALUE),)
    )


def test_a_variable_that_took_the_place_of_another_one_is_moved_and_not_renamed():
    assert find_moves(prints(a=1, b=2), prints(b=1)) == Moves(moves=(Move(b"a", b"b", False, Evidence.VALUE),))


def test_equal_values_say_nothing_about_which_is_which():
    assert find_moves(prints(a=0, b=0, c=1), prints(d=0, e=0, c=1)) == Moves()


def test_equal_values_of_another_form_are_other_values():
    before = {b"a": Print(("float32", (3,)), 1, None)}

    assert find_moves(before, {b"b": Print(("int32", (3,)), 1, None)}) == Moves()


def test_what_says_nothing_is_not_recognised():
    assert find_moves({b"a": Print(FORM, None, None)}, {b"b": Print(FORM, None, None)}) == Moves()


@given(st.permutations(range(6)))
def test_every_key_stands_in_at_most_one_move_and_nothing_that_stayed_is_in_any(order):
    before = {b"w/%d" % place: Print(FORM, place, None) for place in range(6)}
    after = {b"w/%d" % place: Print(FORM, value, None) for place, value in enumerate(order)}

    found = find_moves(before, after)

    to = [key for swap in found.swaps for key in swap.keys]
    to += [after for shift in found.shifts for _, after in shift.moves]
    to += [move.after for move in found.moves]
    moved = [b"w/%d" % place for place, value in enumerate(order) if place != value]
    assert sorted(to) == moved
