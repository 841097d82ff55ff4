"""Whether an optimizer's saved state is another optimizer's, by the names that optimizers give their variables.

Names are evidence and no proof: whoever asks calls it suspected. What cannot be told by them is not said.
"""

from lastgood.explanation.sides import UNKNOWN, Assignment, Sides


def why_saved_by_another(sides: Sides, live: int, key: bytes) -> str:
    """Why a saved value is another optimizer's than this one (or the one with this list); "" where it is not."""
    step = sides.paths.step_to(live)
    traits = [sides.target.traits_of(one) for one in (live, *(step[:1] if step is not None else ()))]
    own = next((one.name for one in traits if one.is_optimizer), "")
    name = sides.names.get(key, "")
    other, slash, _ = name.partition("/")
    if not (own and slash) or _class_in(own) in map(_class_in, name.split("/")):  # it may stand behind a scope
        return ""
    return "it was saved by the optimizer `{}` as `{}`, and here the optimizer is `{}`".format(other, name, own)


def why_of_another(sides: Sides, one: Assignment, live: bytes) -> str:
    """Why a value does not fit the variable that takes it, where the names say that it is another class's or another
    place's; "" where they do not."""
    name, own = sides.names.get(one.key, ""), sides.live_names.get(live, "")
    mine, other = own.partition("/"), name.partition("/")
    is_state = sides.target.tensors.get(live, UNKNOWN).elements > 1
    if not (is_state and mine[1] and other[1] and sides.is_below_optimizer(one.variable)):
        return ""
    if _class_in(other[0]) != _class_in(mine[0]):
        return "it was saved by the optimizer `{}` as `{}`, and here it is `{}`".format(other[0], name, own)
    step = sides.paths.step_to(one.variable)
    difference = sides.count_of(*step) if step is not None else None
    if difference is not None and mine[2] != other[2]:
        return "{}; this value was `{}` there, and is `{}` here".format(difference.sentence, name, own)
    return ""


def _class_in(name: str) -> str:
    """The class in an optimizer's name: lower case, without the number that Keras gave out."""
    stem, _, number = name.rpartition("_")
    return (stem if stem and number.isdigit() else name).lower().replace("_", "")
