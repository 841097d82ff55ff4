"""What becomes of values without a counterpart: dropped, deferred, or left at their initial value, and why.

The reason is looked for in this order: the rules (slots, objects that are shared), a like value under another name of
the same parent (renamed), another number of layers or elements, and at last that there simply is no such name.
"""

from functools import cached_property
from itertools import islice
from typing import Dict, List, Mapping, Optional, Set, Tuple

from lastgood.explanation.counts import CountDifference
from lastgood.explanation.described import Slots, Tensor, label_of
from lastgood.explanation.matching import LostSlot
from lastgood.explanation.optimizers import why_saved_by_another
from lastgood.explanation.predictions import RESAVE, SAME_OPTIMIZER, TRACK, Outcome, Prediction
from lastgood.explanation.sides import UNKNOWN, Loose, Sides, Top

#: Beside which object of the program, and how from there: where to look for the like of a loose value.
_Spot = Tuple[int, int]

_AS_MANY = "build as many as were saved, or restore with expect_partial() if the others are to go"

_Shape = Optional[Tuple[int, ...]]


def judge_loose(sides: Sides) -> List[Prediction]:
    """A prediction for every value of either side that meets nothing."""
    judge = _Judge(sides)
    return [judge.dropped(loose) for loose in sides.dropped] + [
        judge.left(loose) for loose in sides.left if label_of(loose.key) not in sides.target.late
    ]


class _Judge:
    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self._saved_children: Dict[int, Mapping[str, int]] = {}
        self._saved_names: Dict[int, Dict[int, List[str]]] = {}
        self._lost = {slot.saved: slot for slot in sides.matching.lost_slots}

    # ---------------------------------------------------------------------------------------------------------- dropped

    def dropped(self, loose: Loose) -> Prediction:
        """Of a value of the checkpoint."""
        label = label_of(loose.key)
        if loose.node in self._lost:
            return self._lost_slot(label, self._lost[loose.node])
        if self._sides.matching.is_met(loose.node):
            return self._unused(label, loose.node)
        top = self._sides.saved_tops.get(loose.node)
        live = self._sides.matching.bound.get(top.parent) if top is not None else None
        if top is None or live is None:
            return Prediction(label, Outcome.DROPPED, "what it belongs to is not restored", TRACK)
        parent = self._sides.place(live)
        traits = self._sides.target.traits_of(live)
        if traits.is_unbuilt and traits.traced_by is not None:
            return self._missed(label, parent, self._sides.place(traits.traced_by))
        difference = self._count_of(live, top.child) if traits.is_unbuilt else None
        if difference is not None:
            return Prediction(label, Outcome.DROPPED, difference.sentence, _AS_MANY, is_suspected=True)
        is_numbered = traits.is_unbuilt and top.child.isdigit()
        other = why_saved_by_another(self._sides, live, loose.key) if is_numbered else ""
        if other:
            reason = "{}: what is made later takes such values by their numbers".format(other)
            return Prediction(label, Outcome.WRONG_VALUE, reason, SAME_OPTIMIZER, is_suspected=True)
        if traits.is_unbuilt:
            reason = "{} is not built yet: what it makes later takes its value then, from the file as it is then"
            fix = "build it before the restore, or keep the file unchanged and in its place until then"
            return Prediction(label, Outcome.DEFERRED, reason.format(parent), fix)
        return self._without_counterpart(label, loose, top, live, parent)

    def _count_of(self, live: int, child: str) -> Optional[CountDifference]:
        """The difference in the number of those children that this one is among, by any of its names."""
        owner = self._sides.saved_of.get(live)
        if owner is None:
            return None
        if owner not in self._saved_names:
            names = self._saved_names.setdefault(owner, {})
            for name, number in self._sides.saved.graph.nodes[owner].children:
                names.setdefault(number, []).append(name)
        number = self._children_of_saved(owner).get(child, -1)
        found = (self._sides.count_of(live, name) for name in self._saved_names[owner].get(number, ()))
        return next((one for one in found if one is not None), None)

    def _children_of_saved(self, owner: int) -> Mapping[str, int]:
        if owner not in self._saved_children:
            self._saved_children[owner] = self._sides.saved.children_of(owner)
        return self._saved_children[owner]

    def _without_counterpart(self, label: str, loose: Loose, top: Top, live: int, parent: str) -> Prediction:
        twin = self._twin(loose, (live, top.rest), self._left_by_spot)
        if twin:
            reason = "{} has no `{}`; it has `{}`, of the same type and shape".format(parent, top.child, twin)
            reason, fix = reason + _keras(top.child, twin), _rename(top.child, twin)
            return Prediction(label, Outcome.DROPPED, reason, fix, is_suspected=True)
        difference = self._sides.count_of(live, top.child)
        if difference is not None:
            return Prediction(label, Outcome.DROPPED, difference.sentence, _AS_MANY)
        reason = "{} has no `{}`, so the value goes nowhere".format(parent, top.child)
        return Prediction(label, Outcome.DROPPED, reason, TRACK)

    def _missed(self, label: str, parent: str, tracer: str) -> Prediction:
        reason = (
            "{} is not built yet: Keras 3 builds it while it traces the first call of {}, and a value that is "
            "restored into a trace is lost"
        )
        fix = "call {} once before the restore, or give it a `build` that builds its layers".format(tracer)
        text = reason.format(parent, tracer)
        return Prediction(label, Outcome.LEFT_AT_INITIAL, text, fix, is_suspected=True)

    def _lost_slot(self, label: str, slot: LostSlot) -> Prediction:
        if slot.is_refused:
            reason = "the optimizer is of a class that has no slot variables, and restore() raises ValueError"
            return Prediction(
                label, Outcome.ERROR, reason, "use `tf.keras.optimizers.legacy`, or leave the optimizer out"
            )
        if slot.optimizer is None:
            reason = "the slot `{}` has no place: its optimizer or its variable is not restored".format(slot.name)
            fix = "track the optimizer and the variable under the names that they had"
            return Prediction(label, Outcome.DROPPED, reason, fix)
        traits = self._sides.target.traits_of(slot.optimizer)
        if traits.slots is Slots.TAKES:
            reason = "the slot `{}` has no place: its variable is not restored".format(slot.name)
            return Prediction(label, Outcome.DROPPED, reason, TRACK)
        what = "`{}`".format(traits.class_name) if traits.class_name else "what is restored under the optimizer's name"
        return Prediction(
            label, Outcome.DROPPED, "{} takes no slot variable `{}`".format(what, slot.name), SAME_OPTIMIZER
        )

    def _unused(self, label: str, node: int) -> Prediction:
        live = self._sides.matching.bound[node]
        variable = self._sides.paths.get(live, "") if live is not None else ""
        if live is None or not self._sides.target.graph.nodes[live].attributes:
            reason = "what the program has at `{}` holds no value of its own".format(variable or "the root")
            return Prediction(label, Outcome.DROPPED, reason, TRACK, variable)
        if self._sides.saved_of.get(live) != node:
            reason = "`{}` is one object here, and was two when it was saved: it takes the other one's value"
            fix = "give the program two variables, as when it was saved"
            return Prediction(label, Outcome.DROPPED, reason.format(variable), fix, variable)
        reason = "what the program has at `{}` holds a value of another kind".format(variable)
        return Prediction(label, Outcome.DROPPED, reason, TRACK, variable)

    # ------------------------------------------------------------------------------------------------------------- left

    def left(self, loose: Loose) -> Prediction:
        """Of a variable of the program."""
        reason, fix, is_suspected = self._why_left(loose)
        variable = self._sides.paths.get(loose.node, "")
        name = self._sides.live_names.get(loose.key, "")
        return Prediction(label_of(loose.key), Outcome.LEFT_AT_INITIAL, reason, fix, variable, name, is_suspected)

    def _why_left(self, loose: Loose) -> Tuple[str, str, bool]:
        slot = self._sides.live_slots.get(loose.node)
        if slot is not None:
            variable = self._sides.paths.get(slot.original_node, "")
            reason = "the checkpoint has no slot `{}` for `{}` of this optimizer".format(slot.name, variable)
            return reason, SAME_OPTIMIZER, False
        top = self._sides.live_tops.get(loose.node)
        if top is None:
            return "the checkpoint has an object here, and no such value of it", RESAVE, False
        owner = self._sides.place(top.parent)
        twin = self._twin(loose, (top.parent, top.rest), self._dropped_by_spot)
        if twin:
            reason = "the checkpoint has no `{}` in {}; it has `{}`, of the same type and shape"
            reason = reason.format(top.child, owner, twin) + _keras(twin, top.child)
            return reason, _rename(twin, top.child), True
        shared = self._shared(top)
        if shared:
            reason = "the checkpoint has one object for this and for `{}`, and restores it there".format(shared)
            return reason, "share one object at both places, as when it was saved", False
        difference = self._sides.count_of(top.parent, top.child)
        if difference is not None:
            return difference.sentence, "build as many as were saved, or give the new ones their values yourself", False
        return "the checkpoint has nothing at `{}` in {}".format(top.child, owner), RESAVE, False

    def _shared(self, top: Top) -> str:
        """Where the saved object of that place is restored, where that is another place."""
        owner = self._sides.saved_of.get(top.parent)
        if owner is None:
            return ""
        saved = self._children_of_saved(owner).get(top.child)
        bound = self._sides.matching.bound.get(saved) if saved is not None else None
        return self._sides.paths.get(bound, "") if bound is not None else ""

    # ---------------------------------------------------------------------------------------------------------- renamed

    def _twin(self, loose: Loose, spot: _Spot, others: "_Likes") -> str:
        """The only other name, in the same place of the other side, under which a like value stands unused."""
        here = self._sides.saved if others is self._left_by_spot else self._sides.target
        return others.only_name(spot, here.tensors.get(loose.key, UNKNOWN))

    @cached_property
    def _left_by_spot(self) -> "_Likes":
        found = _Likes()
        for loose in self._sides.left:
            top = self._sides.live_tops.get(loose.node)
            if top is not None:
                found.add((top.parent, top.rest), top.child, self._sides.target.tensors.get(loose.key, UNKNOWN))
        return found

    @cached_property
    def _dropped_by_spot(self) -> "_Likes":
        found = _Likes()
        for loose in self._sides.dropped:
            top = self._sides.saved_tops.get(loose.node)
            live: Optional[int] = self._sides.matching.bound.get(top.parent) if top is not None else None
            if top is not None and live is not None:
                found.add((live, top.rest), top.child, self._sides.saved.tensors.get(loose.key, UNKNOWN))
        return found


class _Likes:
    """Names by what stands under them, so that the like of a value is found without going through all of them."""

    def __init__(self) -> None:
        self._names: Dict[Tuple[_Spot, str, _Shape], Dict[str, None]] = {}
        self._shapes: Dict[Tuple[_Spot, str], Dict[_Shape, None]] = {}
        self._open_shapes: Dict[Tuple[_Spot, str], Dict[_Shape, None]] = {}

    def add(self, spot: _Spot, name: str, tensor: Tensor) -> None:
        """Something that stands in that place."""
        self._names.setdefault((spot, tensor.dtype, tensor.shape), {})[name] = None
        self._shapes.setdefault((spot, tensor.dtype), {})[tensor.shape] = None
        if _is_open(tensor.shape):
            self._open_shapes.setdefault((spot, tensor.dtype), {})[tensor.shape] = None

    def only_name(self, spot: _Spot, tensor: Tensor) -> str:
        """The name under which the like of a value stands there; "" where there is none, or more than one."""
        shapes = self._shapes if _is_open(tensor.shape) else self._open_shapes
        candidates = {tensor.shape: None, **shapes.get((spot, tensor.dtype), {})}
        found: Set[str] = set()
        for shape in candidates:
            if tensor.takes(Tensor(tensor.dtype, shape)):
                found.update(islice(self._names.get((spot, tensor.dtype, shape), {}), 2))
            if len(found) > 1:
                return ""
        return found.pop() if found else ""


def _is_open(shape: _Shape) -> bool:
    return shape is None or -1 in shape


def _rename(was: str, is_now: str) -> str:
    return "call the attribute `{}` again, or set `{}` from the checkpoint yourself".format(was, is_now)


def _keras(was: str, is_now: str) -> str:
    return " (Keras 2 calls it `{}`, Keras 3 `{}`)".format(was, is_now) if is_now == "_" + was else ""
