"""Requests that wait for a reply: each ends exactly once."""

from __future__ import annotations

from . import _core
from .errors import NotFoundError
from .mailbox import REPLY, Message

__all__ = ["Requests"]


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
