"""Requests that wait for a reply: each ends exactly once."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._core import Reply
from .errors import BusyError, DeniedError, InvalidError, NotFoundError
from .mailbox import REPLY, Message
from .outcome import Outcome
from .reasons import refuse

if TYPE_CHECKING:
    from .messaging import MessageVerbs

__all__ = ["Replies", "Requests"]

_ENDS = {
    "reply": Outcome.ok,
    "error": Outcome.aborted,
    "cancelled": Outcome.cancelled,
    "expired": Outcome.expired,
    "undeliverable": Outcome.undeliverable,
}
_REFUSALS = {
    "Backpressure": Outcome.full,
    "PolicyDenied": Outcome.denied,
    "PayloadTooLarge": Outcome.too_large,
    "Undeliverable": Outcome.undeliverable,
}


class _Tally:
    """Stands where a Reply expects a future to wake: this one has ended."""

    def __init__(self, replies: Replies, reply: Reply) -> None:
        self._replies = replies
        self._reply = reply
        self._counted = False

    def done(self) -> bool:
        """As a future: not yet."""
        return self._counted

    def set_result(self, _: None) -> None:
        """As a future: now."""
        self._counted = True
        self._replies._ended(self._reply)

    def look(self) -> None:
        """It may have ended on another thread before there was anyone to tell."""
        if self._reply.done and not self._counted:
            self.set_result(None)


class Replies:
    """Many requests at once; await it for itself.

    outcomes uint8[n] (hanse.Outcome): ok, expired, cancelled, undeliverable, aborted (its handler
    failed), full, denied or too_large. payloads: bytes, or None where there is no reply. It is
    there when `quorum` have replied (the others are cancelled), when so many can't any more, or
    when all have ended.
    """

    def __init__(self, replies: list[Reply | Outcome], quorum: int | None) -> None:
        self._replies = replies
        self._quorum = quorum
        self._ok = self._left = 0
        self._waiter: Any = None
        self._loop: Any = None
        tallies = []
        for reply in replies:
            if not isinstance(reply, Reply):
                continue
            if reply.done:
                self._ok += reply.status == "reply"
            else:
                self._left += 1
                tallies.append(_Tally(self, reply))
                reply._waiters = [*(reply._waiters or ()), tallies[-1]]
                self._loop = reply._loop
        for tally in tallies:
            tally.look()
        if self.done:
            self.cancel()

    def __len__(self) -> int:
        return len(self._replies)

    @property
    def outcomes(self) -> NDArray[np.uint8]:
        """One a request; those that still wait say replayed (1)."""
        return np.array([self._outcome(reply) for reply in self._replies], np.uint8)

    @property
    def payloads(self) -> list[bytes | None]:
        """One a request."""
        return [
            reply.result() if isinstance(reply, Reply) and reply.status == "reply" else None
            for reply in self._replies
        ]

    @property
    def ok_count(self) -> int:
        """How many have replied."""
        return self._ok

    @property
    def done(self) -> bool:
        """It is there."""
        if self._left == 0 or self._quorum is None:
            return self._left == 0
        return self._ok >= self._quorum or self._ok + self._left < self._quorum

    def cancel(self) -> int:
        """Cancels what still waits; returns how many."""
        waiting = [reply for reply in self._replies if isinstance(reply, Reply) and not reply.done]
        return sum(reply.cancel() for reply in waiting)

    def __await__(self) -> Generator[Any, None, Replies]:
        if not self.done:
            self._waiter = self._loop.create_future()
            try:
                yield from self._waiter
            finally:
                self._waiter = None
                self.cancel()
        return self

    @staticmethod
    def _outcome(reply: Reply | Outcome) -> Outcome:
        if isinstance(reply, Outcome):
            return reply
        return _ENDS.get(reply.status, Outcome.replayed)

    def _ended(self, reply: Reply) -> None:
        before = self.done
        self._left -= 1
        self._ok += reply.status == "reply"
        if before or not self.done:
            return
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self.cancel()


def ask_many(
    who: MessageVerbs,
    to: NDArray[np.uint64] | Sequence[int],
    payloads: Sequence[bytes] | NDArray[np.uint8] | bytes,
    quorum: int | None,
    timeout: float | None,
    lane: int,
) -> Replies:
    """The requests of `who`, in order; what is refused at once is an outcome."""
    count = len(to)
    same = isinstance(payloads, (bytes, bytearray, memoryview))
    rows: Any = payloads
    if not same and len(payloads) != count:
        refuse("DimensionMismatch", "payloads", f"want {count} elements, have {len(payloads)}")
    if quorum is not None:
        if isinstance(quorum, bool) or not isinstance(quorum, int):
            refuse("WrongType", "quorum", f"want an int, have a {type(quorum).__name__}")
        if not 0 <= quorum <= count:
            refuse("OutOfRange", "quorum", f"want 0 … {count}, have {quorum}")
    replies: list[Reply | Outcome] = []
    for i, agent in enumerate(to):
        payload = rows if same else rows[i]
        try:
            replies.append(who.ask(agent, payload, timeout=timeout, lane=lane))
        except (BusyError, DeniedError) as error:
            replies.append(_REFUSALS.get(error.name, Outcome.undeliverable))
        except InvalidError as error:
            if error.name not in _REFUSALS:
                raise
            replies.append(_REFUSALS[error.name])
    return Replies(replies, quorum)


class Requests:
    """The requests of one kernel, by number. They are opened and answered in the core."""

    def __init__(self, core: _core.Kernel) -> None:
        self._core = core

    def __len__(self) -> int:
        return self.counters()["waiting"]

    def counters(self) -> dict[str, int]:
        """opened = waiting + replies + errors + cancelled + expired + undeliverable."""
        return self._core.request_counters()

    def answer(self, request: int, value: bytes) -> bool:
        """False: no one waits for it any more."""
        return self._core.end_request(request, value)

    def fail(self, request: int, why: str, agent: int, *, undeliverable: bool = False) -> None:
        """Ends a request with an error, if it still waits."""
        self._core.fail_request(request, why, agent, undeliverable)

    def reply_arrived(self, message: Message) -> bool:
        """A reply or failure that came as a message; False: no one waits for it."""
        if message.kind == REPLY:
            return self.answer(message.request, message.payload)
        return self._core.fail_request(
            message.request, "the agent could not answer", message.sender, False
        )

    def fail_dead_targets(self) -> None:
        """After a revocation: requests to agents that can't answer any more end. Any thread."""
        root = self._core.root()
        for number, to in self._core.waiting_requests():
            try:
                live = self._core.agent(root, to)[6]
            except NotFoundError:
                live = False
            if not live:
                self.fail(number, "the agent was revoked", to, undeliverable=True)

    def cancel_all(self) -> None:
        """The kernel closes: every request that still waits ends as Cancelled."""
        self._core.cancel_all_requests("the kernel was closed")
