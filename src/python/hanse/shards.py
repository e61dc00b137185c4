"""Several threads for messages: who is on which shard, and who drives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .mailbox import REQUEST, Batch, batch_of

if TYPE_CHECKING:
    from . import _core
    from .kernel import Kernel

__all__ = ["ShardReport", "Shards"]

BatchHandler = Callable[[Batch], Any]


@dataclass(frozen=True, slots=True)
class ShardReport:
    """Of one shard: accepted was sent from it, the rest ended or waits on it.

    Over all shards accepted = handled + expired + cancelled + dead + queued.
    """

    agents: int
    accepted: int
    handled: int
    expired: int
    cancelled: int
    dead: int
    queued: int


class Shards:
    """The shards of hanse.open(shards=n): kernel.shards.

    Shard 0 is the thread that drains, receives or runs the event loop; it is where all agents are
    unless their group was placed elsewhere, and where Python handlers (`on`, `on_batch`) run, so
    that none of them needs a lock. Shards 1 … n - 1 are driven by threads that call `run`, each
    with a handler of batches or with native handlers alone. A message to another shard goes by a
    ring and is in order. Topics, requests, dead letters, counters, ages and traces are those of
    all shards: any shard's thread publishes and replies; who asks is on the event loop's thread.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._core = kernel._core

    def __len__(self) -> int:
        return self._core.shard_count()

    def place(self, group: int, shard: int) -> None:
        """The children of `group`, those to come too, with what waits for them, go to `shard`.

        Shards that run rest meanwhile, between two turns. Raises InvalidError (OutOfRange,
        WrongThread: another thread drains; IllegalTransition: inside of a shard's handler),
        NotFoundError, DeniedError.
        """
        self._core.place(self._kernel._acting(), group, shard)

    def shard_of(self, agent: int) -> int:
        """Where an agent is. Raises NotFoundError."""
        return self._core.shard_of(agent)

    def run(self, shard: int, handler: BatchHandler | None = None) -> None:
        """Drives a shard from this thread until `stop`, or until the kernel closes.

        handler: called with a Batch of what was taken out of its boxes, and acts as the root. What
        it sends leaves when it returns. Where it raises, its messages become dead letters and the
        run goes on. None: native handlers alone; what has none stays in its box. Raises
        InvalidError (OutOfRange: 0 or no shard; WrongThread: another thread drives it).
        """
        self._core.run_shard(shard, self._guarded(handler))

    def turn(self, shard: int, handler: BatchHandler | None = None) -> int:
        """One turn of it, as `run` takes many; returns how many messages were handled.

        Turns of all shards on one thread, with a seed and a ManualClock, are a run that can be
        repeated.
        """
        return self._core.turn_shard(shard, self._guarded(handler))

    def stop(self) -> None:
        """Every `run` returns after its turn, and later ones at once. Any thread."""
        self._core.stop_shards()

    def report(self, shard: int) -> ShardReport:
        """What became of its messages. Any thread. Raises InvalidError (OutOfRange)."""
        return ShardReport(*self._core.shard_report(shard))

    @property
    def crossed(self) -> int:
        """Messages that went to another shard."""
        return self._core.shard_totals()[0]

    @property
    def wakes(self) -> int:
        """How often a sleeping shard was woken: at most once a batch."""
        return self._core.shard_totals()[1]

    @property
    def migrations(self) -> int:
        """How often a group was placed."""
        return self._core.shard_totals()[2]

    def _guarded(self, handler: BatchHandler | None) -> Callable[[_core.Batch], None] | None:
        if handler is None:
            return None

        def guarded(taken: _core.Batch) -> None:
            try:
                handler(batch_of(taken))
            except Exception as error:
                handlers = self._kernel._handlers
                for message in taken.messages(self._core):
                    self._core.dead(message, False)
                    if message.kind == REQUEST:
                        why = f"its handler raised {error!r}"
                        handlers.requests.fail(message.request, why, message.to)
                handlers._report(error)

        return guarded
