"""Requests that wait for a reply: each ends exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import HanseError, NotFoundError
from .mailbox import REPLY, Message
from .outcome import Outcome
from .reasons import refuse, refuse_outcome
from .reply import Reply

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Requests"]


class Requests:
    """The requests of one kernel, by number."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._core = kernel._core
        self._pending: dict[int, Reply] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._pending)

    def ask(self, sender: int, to: int, payload: bytes, timeout: float | None) -> Reply:
        """Sends a request; the reply is ready at once where its handler can run here and now."""
        bridge = self._kernel._bridge()
        core = self._core
        if timeout is not None and not timeout > 0:
            refuse("OutOfRange", "timeout", f"want more than 0 seconds, have {timeout}")
        number = self._next
        self._next = number + 1
        deadline_ns = 0 if timeout is None else core.now_ns() + max(int(timeout * 1e9), 1)
        outcome = core.send_request(sender, to, payload, number, deadline_ns)
        if outcome:
            if outcome in (Outcome.unknown, Outcome.revoked):
                refuse("Undeliverable", "to", Outcome(outcome).name, int(to))
            refuse_outcome(Outcome(outcome), "to", "", int(to))
        reply = self._pending[number] = Reply(self._pending, number, int(to), bridge.loop)
        self._kernel._handlers.handle_now(reply.to, number)
        if not reply.done:
            bridge.schedule()
            if timeout is not None:
                reply.expires_in(timeout)
        return reply

    def answer(self, request: int, value: bytes) -> bool:
        """False: no one waits for it any more."""
        reply = self._pending.pop(request, None)
        if reply is not None:
            reply.resolve(value, None)
        return reply is not None

    def fail(
        self, request: int, why: str, agent: int | None = None, name: str = "Undeliverable"
    ) -> None:
        """Ends a request with an error, if it still waits."""
        reply = self._pending.pop(request, None)
        if reply is None:
            return
        try:
            refuse(name, "ask", why, agent)
        except HanseError as error:
            reply.resolve(b"", error)

    def reply_arrived(self, message: Message) -> bool:
        """A reply or failure that came as a message; False: no one waits for it."""
        if message.request not in self._pending:
            return False
        if message.kind == REPLY:
            return self.answer(message.request, message.payload)
        self.fail(message.request, "the agent could not answer", message.sender)
        return True

    def fail_dead_targets(self) -> None:
        """After a revocation: requests to agents that can't answer any more end. Any thread."""
        root = self._core.root()
        for number, reply in list(self._pending.items()):
            try:
                live = self._core.agent(root, reply.to)[6]
            except NotFoundError:
                live = False
            if not live:
                self.fail(number, "the agent was revoked", reply.to)

    def cancel_all(self) -> None:
        """The kernel closes: every request that still waits ends as Cancelled."""
        for number in list(self._pending):
            self.fail(number, "the kernel was closed", None, "Cancelled")
