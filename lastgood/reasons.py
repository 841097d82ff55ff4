"""The one spelling of every reason lastgood gives for a verdict, a failure or a refusal.

A reason is spelled the same, in UpperCamelCase, in the store, the log, the metric label, the event and the page. The
value of each member is that spelling. The numbers on the wire (`lastgood.v1.Reason`) are mapped from these names by
`lastgood_controller.wire` and nowhere else.
"""

from enum import Enum


class Reason(str, Enum):
    """Why a checkpoint is not Good, why an attempt failed, or why a run stopped."""

    # A checkpoint is bad.
    INCOMPLETE = "Incomplete"  # a file or a worker's report is missing, or the index is empty
    TORN = "Torn"  # a shard is shorter than its entries say, or the index is cut off
    CORRUPT = "Corrupt"  # a checksum does not match the bytes
    UNREADABLE = "Unreadable"  # the file system refused: nothing can be said about the bytes
    UNSUPPORTED = "Unsupported"  # recognised, but of a format that lastgood does not read
    NO_CHECKSUM = "NoChecksum"  # its format carries no checksum, and no manifest lies beside it
    DIVERGED = "Diverged"  # the workers saved different values, or different steps, as one checkpoint
    VARIABLES_LOST = "VariablesLost"  # it lacks a variable that its predecessor on the lineage had
    NOT_FINITE = "NotFinite"  # a variable became NaN or Inf
    QUARANTINED = "Quarantined"  # a restore from it has failed
    VANISHED = "Vanished"  # rotated away, removed, or its prefix was written again with something else

    # A checkpoint is pending.
    AWAITING_REPORTS = "AwaitingReports"  # not every worker that saves has reported it
    AWAITING_MANIFEST = "AwaitingManifest"  # the digest is known, what it stands for is not
    AWAITING_VERIFICATION = "AwaitingVerification"  # its bytes have not been read again yet
    AWAITING_RECEIPTS = "AwaitingReceipts"  # its attempt has not yet proven what it restored
    STILL_CHANGING = "StillChanging"  # its files changed while they were read, or a moment ago: look again

    # An attempt failed.
    WORKER_EXITED = "WorkerExited"  # a trainer ended with a status other than 0
    WORKER_KILLED = "WorkerKilled"  # a trainer was ended by a signal
    OUT_OF_MEMORY = "OutOfMemory"  # the kernel killed a trainer for want of memory
    PREEMPTED = "Preempted"  # a worker was told from outside to end
    PEER_LOST = "PeerLost"  # a trainer ended because its connection to a peer broke, and nobody knows why that went
    WORKER_LOST = "WorkerLost"  # a worker's agent has not been heard of for too long
    LAUNCHER_LOST = "LauncherLost"  # a worker's launcher died, and its trainer with it
    START_TIMEOUT = "StartTimeout"  # a trainer was not started, or did not make its first step, in time
    NOT_RESTORED = "NotRestored"  # a worker went on to train without having restored the plan's checkpoint
    RESTORED_WRONG = "RestoredWrong"  # live variables differ from the plan's manifest after the restore
    RESTORE_FAILED = "RestoreFailed"  # TensorFlow raised an error while restoring
    MODEL_CHANGED = "ModelChanged"  # the script's objects are not those that were saved: no checkpoint would do
    SHARED_WRITE = "SharedWrite"  # two workers save to one prefix, and would destroy each other's checkpoints

    # A run ended.
    FINISHED = "Finished"  # every worker ended with status 0
    INTERRUPTED = "Interrupted"  # a person or a signal asked for it
    BUDGET_SPENT = "BudgetSpent"  # too many restarts without progress
    SCRIPT_FAILS = "ScriptFails"  # the script raised the same exception at the same place and step twice in a row
    NO_GOOD_CHECKPOINT = "NoGoodCheckpoint"  # checkpoints lie there, and none of them may be restored
    REFUSED = "Refused"  # the job is of a kind that lastgood does not steer

    # An attempt is observed only.
    UNSTEERED = "Unsteered"  # a steering hook failed, or steering is switched off


#: With these alone nothing is known about a checkpoint's bytes: they condemn none.
UNDECIDED = (Reason.UNREADABLE, Reason.UNSUPPORTED, Reason.NO_CHECKSUM, Reason.STILL_CHANGING)
