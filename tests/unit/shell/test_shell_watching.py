"""Following a run's journal, with a real store and a real loop."""

import asyncio
from contextlib import closing
from pathlib import Path

from shell_builders import a_hello

from lastgood.reasons import Reason
from lastgood_controller.actuators.local import LocalActuator
from lastgood_controller.documents import Document
from lastgood_controller.events import Event, RunEnded, StopAsked
from lastgood_controller.journal import Entry
from lastgood_controller.metrics import Metrics
from lastgood_controller.model import Cause, Policy
from lastgood_controller.reconciler import Reconciler
from lastgood_controller.step import Step
from lastgood_controller.store import Store
from lastgood_controller.watching import GATHER_S, follow


class CountingStore(Store):
    """A store that remembers after which entries its journal was read."""

    reads: list[int]

    @classmethod
    def open(cls, directory: Path) -> "CountingStore":
        store = super().open(directory)
        assert isinstance(store, cls)
        store.reads = []
        return store

    def load(self, run_id: str, after_sequence: int = 0, limit: int | None = None) -> tuple[Entry, ...]:
        self.reads.append(after_sequence)
        return super().load(run_id, after_sequence, limit)


def test_a_burst_of_entries_is_read_once_a_little_later_and_none_is_missed(tmp_path: Path) -> None:
    async def scenario(store: CountingStore) -> None:
        # Given: a follower that has read all there is
        reconciler = Reconciler(
            store, Policy(), Metrics(lambda: 1.0), lambda: 1.0, LocalActuator(), decide=lambda run, now_s: Step()
        )
        loop = await reconciler.opened_by(a_hello())
        gathering, is_over, pauses = asyncio.Event(), asyncio.Event(), list[float]()

        async def gather(duration_s: float) -> None:
            pauses.append(duration_s)
            gathering.set()
            await is_over.wait()

        async def followed() -> list[Document]:
            return [entry async for entry in follow(store, loop, 0, is_following=True, sleep=gather)]

        store.reads.clear()
        following = asyncio.create_task(followed())
        while not store.reads:
            await asyncio.sleep(0)

        # When
        burst: list[Event] = [StopAsked("me", str(number)) for number in range(5)]
        for event in [*burst, RunEnded(Cause(Reason.INTERRUPTED, "enough"), 0)]:
            await loop.submit(lambda run, event=event: [(event, None)])  # type: ignore[misc]
            await gathering.wait()
        is_over.set()
        entries = await following

        # Then
        assert [entry["kind"] for entry in entries] == ["RunOpened", *["StopAsked"] * 5, "RunEnded"]
        assert [entry["sequence"] for entry in entries] == [1, 2, 3, 4, 5, 6, 7]
        assert (len(store.reads), pauses) == (2, [GATHER_S])
        await reconciler.stop()

    with closing(CountingStore.open(tmp_path)) as store:
        asyncio.run(asyncio.wait_for(scenario(store), 10))
