"""What a new attempt starts from: the newest proven checkpoint, else what lies in the directory, else nothing.

Restore: the newest Good checkpoint on the current lineage, once it has been read again for this attempt. Adopt: where
the run knows no Good one, every member lists the directory that its script asks for, and the newest whole checkpoint
that all see is taken. Fresh: only when every member found nothing, or the script never asked. A directory with a
checkpoint in it is never begun afresh; when none in it may be restored, the attempt fails and the run says why.

With several series: one step that all of them have, the newest such; where none knows its step, the newest of each. One
that knows no step is left out beside those that do: nothing tells which of its checkpoints belongs to theirs.
A series without any Good checkpoint is left out: there is nothing of it to restore. So is one that the script only
writes, such as its best checkpoints: it would never be restored, and must hold nothing back. So is one whose restores
cannot be steered (tf.compat.v1.train.Saver, graph mode): nobody could prove them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile

from lastgood.reasons import Reason
from lastgood_controller import readers
from lastgood_controller.events import (
    AttemptFailed,
    PlanDecided,
    VerifyAsked,
)
from lastgood_controller.lineage import (
    ADOPTED,
    candidates,
    directory_of,
    is_observed,
    is_same_stream,
    line,
    saved_directories,
    streams,
    walk,
)
from lastgood_controller.model import (
    Attempt,
    Cause,
    Checkpoint,
    Failure,
    FoundCheckpoint,
    Listing,
    NoticeKind,
    Plan,
    PlanKind,
    PlannedSeries,
    Purpose,
    Run,
    SaveId,
    SaveReport,
    SeriesId,
    Standing,
    WorkerId,
)
from lastgood_controller.step import Step, named

#: Never proven, but not disproven either: like one that was found, such a checkpoint may be adopted.
_UNPROVEN = frozenset({Reason.INCOMPLETE, Reason.UNREADABLE})


def choose(run: Run, attempt: Attempt, now_s: float) -> Step:
    """The plan of a live, steered attempt that has none; or what it still waits for."""
    targets = targets_to_restore(run)
    pending = _pending(run, attempt, targets)
    if pending:
        return Step(waiting=f"for the verdict on {named(_name(run, each) for each in pending)}")
    if targets:
        return _restore(run, attempt, targets, now_s)
    return _from_directory(run, attempt, now_s)


def knows_nothing(run: Run, attempt: Attempt) -> bool:
    """Whether no checkpoint is known that the attempt could be planned to restore, now or once it is judged."""
    return not targets_to_restore(run) and not _pending(run, attempt, ())


def _pending(run: Run, attempt: Attempt, targets: tuple[Checkpoint, ...]) -> list[Checkpoint]:
    """What may be the better choice once it is judged: nothing older than what can be restored now is waited for."""
    steered = (series for series in streams(run) if not is_observed(run, series))
    newer = (each for series in steered for each in takewhile(lambda one: one not in targets, walk(run, series)))
    return [c for c in newer if c.verdict.standing is Standing.PENDING and c.save.attempt != attempt.number]


# -------------------------------------------------------------------------------------------------------------- restore


def targets_to_restore(run: Run) -> tuple[Checkpoint, ...]:
    """One Good checkpoint for each series, all of one step; () when there is none."""
    restored = restored_streams(run)
    lines = [[c for c in line(run, series) if c.verdict.standing is Standing.GOOD] for series in restored]
    lines = [good for good in lines if good]
    if len(lines) < 2:
        return tuple(good[0] for good in lines)
    steps = [{_step(run, c) for c in good} for good in lines]
    if all(each == {None} for each in steps):
        return tuple(good[0] for good in lines)
    lines = [good for good, each in zip(lines, steps, strict=True) if each != {None}]
    common = set.intersection(*(each for each in steps if each != {None})) - {None}
    if not common:
        return ()
    newest = max(step for step in common if step is not None)
    return tuple(next(c for c in good if _step(run, c) == newest) for good in lines)


def restored_streams(run: Run) -> tuple[SeriesId, ...]:
    """The series that the script asks for, as far as any attempt has shown; all of them where none is known."""
    known = tuple(series for series in streams(run) if not is_observed(run, series))
    return tuple(series for series in known if _is_asked_for(run, series)) or known


def _is_asked_for(run: Run, series: SeriesId) -> bool:
    """Whether a worker has restored it, or asked for it: by its directory, or else by its name, in a new directory."""
    saved = {directory for each in streams(run) for directory in saved_directories(run, each)}
    own = saved_directories(run, series)
    for attempt in run.attempts:
        if any(receipt.series == series for receipt in attempt.receipts.values()):
            return True
        for listing in (each for listings in attempt.listings.values() for each in listings):
            if listing.directory in own or (listing.series == series and listing.directory not in saved):
                return True
    return False


def _restore(run: Run, attempt: Attempt, targets: tuple[Checkpoint, ...], now_s: float) -> Step:
    due: list[float] = []
    for target in targets:
        report = target.primary(run.members)
        state = readers.reading(run, target, Purpose.REREAD, attempt.number, now_s)
        if report is not None and state.wants_reader:
            return Step((VerifyAsked(readers.ask(run, target, report, Purpose.REREAD, attempt.number, now_s)),))
        if not _is_whole(target, state):
            due += [state.due_s] if state.due_s is not None else []
    if due or not all(_is_whole(t, readers.reading(run, t, Purpose.REREAD, attempt.number, now_s)) for t in targets):
        names = named(_name(run, target) for target in targets)
        return Step(waiting=f"for {names} to be read once more").no_later_than(due, now_s)
    planned = tuple(_planned(run, target) for target in targets)
    why = "the newest good checkpoint on the lineage, read once more for this attempt"
    return Step((PlanDecided(attempt.number, Plan(PlanKind.RESTORE, planned, why)),))


def _is_whole(target: Checkpoint, state: readers.Reading) -> bool:
    report = None if state.answer is None else state.answer.manifest_digest
    return state.answer is not None and not state.answer.faults and report in _digests(target)


def _digests(checkpoint: Checkpoint) -> set[str]:
    return {report.manifest_digest for report in checkpoint.reports.values()}


def _planned(run: Run, checkpoint: Checkpoint) -> PlannedSeries:
    report = checkpoint.primary(run.members)
    if report is None:
        raise ValueError(f"checkpoint {checkpoint.save} has no report, so it cannot be planned")
    prefixes = dict.fromkeys(run.members, report.prefix)
    directories = known_directories(run, checkpoint.save.series) | {directory_of(report.prefix)}
    step = _step(run, checkpoint)
    return PlannedSeries(checkpoint.save, report.manifest_digest, step, prefixes, tuple(sorted(directories)))


def known_directories(run: Run, series: SeriesId) -> set[str]:
    """Every directory that a member has used for this series, in any attempt.

    Without a signature only those count that were asked for before the plan: a script that asks for the newest in a
    pretrained model's directory, and then in its own, names two streams alike.
    """
    listed = {
        listing.directory
        for attempt in run.attempts
        for listings in attempt.listings.values()
        for listing in listings
        if listing.series == series and (series.signature or _is_before_plan(listing, attempt))
    }
    return (saved_directories(run, series) | listed) - {""}


def _is_before_plan(listing: Listing, attempt: Attempt) -> bool:
    return attempt.planned_s is None or listing.at_s <= attempt.planned_s


def _step(run: Run, checkpoint: Checkpoint) -> int | None:
    report = checkpoint.primary(run.members)
    return report.step if report is not None else None


def _name(run: Run, checkpoint: Checkpoint) -> str:
    report = checkpoint.primary(run.members)
    if report is None:
        return f"save {checkpoint.save}"
    step = f" (step {report.step})" if report.step is not None else ""
    return report.prefix.rpartition("/")[2] + step


# ------------------------------------------------------------------------------------------------------ adopt, or fresh


@dataclass(frozen=True)
class Usable:
    """The checkpoint to adopt for one series; or why there is none. Both None: nothing lies there at all."""

    found: FoundCheckpoint | None = None
    cause: Cause | None = None


def _from_directory(run: Run, attempt: Attempt, now_s: float) -> Step:
    if not attempt.listings:
        return _unasked(run, attempt)
    late = [member for member in run.members if not attempt.listings.get(member)]
    if late:
        return _await_listings(run, attempt, late, now_s)
    asked = _asked_series(attempt)
    chosen = {series: _usable(run, attempt, series) for series in asked}
    for usable in chosen.values():
        if usable.cause is not None:
            return _failed(attempt, usable.cause, now_s)
    found = {series: usable.found for series, usable in chosen.items() if usable.found is not None}
    if not found:
        return Step((PlanDecided(attempt.number, Plan(PlanKind.FRESH, why=_nothing_there(run, attempt))),))
    return _adopt(run, attempt, found)


def _unasked(run: Run, attempt: Attempt) -> Step:
    has_saved = any(save.attempt == attempt.number for save in run.checkpoints)
    if attempt.first_steps or has_saved:
        why = _never_asked(run, attempt)
        return Step((PlanDecided(attempt.number, Plan(PlanKind.FRESH, why=why)),))
    return Step(waiting="for the script to ask what to restore")


def _never_asked(run: Run, attempt: Attempt) -> str:
    """That nobody looked anywhere, and what is known to lie where the script saves."""
    told = "the script trains and never asked what to restore"
    noticed = {n.path: n.detail for n in attempt.notices if n.kind is NoticeKind.NEVER_ASKED}
    found = [f"{path} ({detail})" if detail else path for path, detail in sorted(noticed.items())]
    return f"{told}, although checkpoints lie in {named(found)}" if found else told


def _nothing_there(run: Run, attempt: Attempt) -> str:
    """Which directories were looked at, by whom, and what lay there."""
    members_by_look: dict[str, list[WorkerId]] = {}
    for member in run.members:
        for listing in attempt.listings.get(member, ()):
            members_by_look.setdefault(_look(listing), []).append(member)
    looks = [
        look if len(members) == len(run.members) else f"{look} (seen by {named(members)})"
        for look, members in members_by_look.items()
    ]
    return f"no checkpoint to go on from: {named(looks)}"


def _look(listing: Listing) -> str:
    if not listing.directory:
        return "the script restores nothing and has named no directory"
    if not listing.other_entries:
        return f"{listing.directory} is empty, or not there"
    others = "1 entry that belongs" if listing.other_entries == 1 else f"{listing.other_entries} entries that belong"
    return f"{listing.directory} has {others} to no checkpoint"


def _await_listings(run: Run, attempt: Attempt, late: list[WorkerId], now_s: float) -> Step:
    first_s = min(listing.at_s for listings in attempt.listings.values() for listing in listings)
    due_s = run.back_since_s(late, first_s) + run.policy.listing_s
    if now_s < due_s:
        return Step(waiting=f"for {named(late)} to list the directory", deadline_s=due_s)
    limit = f"within {run.policy.listing_s:g} s of the first worker"
    detail = f"{named(late)} did not say {limit} what lies in the directory to restore from"
    return _failed(attempt, Cause(Reason.NOT_RESTORED, detail), now_s, late[0] if len(late) == 1 else None)


def _asked_series(attempt: Attempt) -> tuple[SeriesId, ...]:
    """The series that were asked for. One without a signature is the same as any that has one."""
    asked = {listing.series for listings in attempt.listings.values() for listing in listings}
    return tuple(sorted(series for series in asked if series.signature) or sorted(asked))


def _usable(run: Run, attempt: Attempt, series: SeriesId) -> Usable:
    chief = run.members[0]
    by_member = {member: _listings_of(attempt, member, series) for member in run.members}
    own = by_member[chief]
    if not any(found for listings in by_member.values() for listing in listings for found in listing.checkpoints):
        return Usable()
    there = [found for listing in own for found in listing.checkpoints]
    directories = {listing.directory for listing in own}
    allowed = [found for found in there if not found.faults and _may_be_adopted(run, found)]
    if not allowed:
        return Usable(cause=Cause(Reason.NO_GOOD_CHECKPOINT, _nothing_usable(run, chief, by_member, there)))
    for found in allowed:
        if not _blind(found, directories, by_member):
            return Usable(found)
    blind = _blind(allowed[0], directories, by_member)
    detail = f"{chief} sees {allowed[0].prefix}, and in the same directory {named(blind)} does not see it whole"
    return Usable(cause=Cause(Reason.NOT_RESTORED, detail))


def _listings_of(attempt: Attempt, member: WorkerId, series: SeriesId) -> tuple[Listing, ...]:
    return tuple(each for each in attempt.listings.get(member, ()) if is_same_stream(each.series, series))


def _blind(
    found: FoundCheckpoint, directories: set[str], by_member: Mapping[WorkerId, tuple[Listing, ...]]
) -> list[WorkerId]:
    """Members that listed the chief's directory and did not find this checkpoint there, whole."""
    return [
        member
        for member, listings in by_member.items()
        for listing in listings
        if listing.directory in directories
        and not any(each.manifest_digest == found.manifest_digest and not each.faults for each in listing.checkpoints)
    ]


def _may_be_adopted(run: Run, found: FoundCheckpoint) -> bool:
    """Whether nothing that this run knows speaks against a checkpoint that was found.

    One that the run has saved or adopted may be taken when it is on the current lineage and was never disproven: a save
    that one worker could not report, because it was killed, is then as good as one that was made before this run. At a
    prefix that the run knows, nothing may lie that it does not know.
    """
    known = [c for c in run.checkpoints.values() if found.manifest_digest in _primary_digest(run, c)]
    if not known:
        return not any(_lies_at(run, c, found.prefix) for c in run.checkpoints.values())
    if any(c.quarantine is not None for c in known):
        return False
    current = {c.save for c in candidates(run)}
    return any(c.save in current and _is_not_disproven(c) for c in known)


def _is_not_disproven(checkpoint: Checkpoint) -> bool:
    verdict = checkpoint.verdict
    if verdict.standing is Standing.GOOD:
        return True
    reasons = {cause.reason for cause in verdict.causes}
    if reasons == {Reason.VANISHED}:  # and found whole in another place: somebody has moved the directory
        return not checkpoint.failed and len(_digests(checkpoint)) == 1
    return verdict.standing is Standing.BAD and reasons <= _UNPROVEN and not checkpoint.failed


def _primary_digest(run: Run, checkpoint: Checkpoint) -> tuple[str, ...]:
    report = checkpoint.primary(run.members)
    return (report.manifest_digest,) if report is not None else ()


def _lies_at(run: Run, checkpoint: Checkpoint, prefix: str) -> bool:
    report = checkpoint.primary(run.members)
    return report is not None and report.prefix == prefix


def _nothing_usable(
    run: Run, chief: WorkerId, by_member: Mapping[WorkerId, tuple[Listing, ...]], there: list[FoundCheckpoint]
) -> str:
    """What lies there, why none of it may be restored, and what to do."""
    if not there:
        elsewhere = [
            f"{listing.directory} on {member}"
            for member, listings in by_member.items()
            for listing in listings
            if listing.checkpoints
        ]
        told = f"{chief} found no checkpoint, but there are some in {named(elsewhere)}"
    else:
        known = {digest: c for c in run.checkpoints.values() for digest in _primary_digest(run, c)}
        told = "no checkpoint may be restored: " + named((_why_not(found, known) for found in there), shown=3)
    return f"{told}. Training afresh would overwrite them: repair or move them away, then start again"


def _why_not(found: FoundCheckpoint, known: Mapping[str, Checkpoint]) -> str:
    if found.faults:
        return f"{found.prefix} is {found.faults[0]}"
    own = known.get(found.manifest_digest)
    if own is None:
        return f"{found.prefix} was written over a checkpoint of this run by nobody that is known"
    if own.quarantine is not None:
        return f"{found.prefix} is {own.quarantine}"
    if own.verdict.standing is Standing.BAD:
        return f"{found.prefix} is {own.verdict.causes[0]}"
    return f"{found.prefix} is of an abandoned branch"


def _adopt(run: Run, attempt: Attempt, found: Mapping[SeriesId, FoundCheckpoint]) -> Step:
    planned: list[PlannedSeries] = []
    reports: list[SaveReport] = []
    for series, each in found.items():
        taken = [save.ordinal for save in run.checkpoints if save.series == series and save.attempt == ADOPTED]
        save = SaveId(series, ADOPTED, max(taken, default=0) + 1)
        directories = known_directories(run, series) | {directory_of(each.prefix)}
        prefixes = dict.fromkeys(run.members, each.prefix)
        planned.append(PlannedSeries(save, each.manifest_digest, each.step, prefixes, tuple(sorted(directories))))
        reports.append(SaveReport(run.members[0], each.prefix, each.manifest_digest, each.step, durable=True))
    why = "the newest whole checkpoint in the directory that the script asked for"
    plan = Plan(PlanKind.ADOPT, tuple(planned), why)
    return Step((PlanDecided(attempt.number, plan, tuple(reports)),))


def _failed(attempt: Attempt, cause: Cause, now_s: float, worker: WorkerId | None = None) -> Step:
    return Step((AttemptFailed(attempt.number, Failure(worker, cause, now_s)),))
