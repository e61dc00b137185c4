"""Senders that wait until a full box has room again."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from . import _core
from .outcome import Outcome

if TYPE_CHECKING:
    from .messaging import MessageVerbs

__all__ = ["Credit"]


class Credit:
    """Of one kernel: who waits for room in which box, first come, first served."""

    def __init__(self, core: _core.Kernel) -> None:
        self._core = core
        self._waiting: dict[int, deque[Any]] = {}

    @property
    def waiting(self) -> int:
        """How many sends wait."""
        return sum(len(queue) for queue in self._waiting.values())

    async def send(self, who: MessageVerbs, to: int, payload: bytes, fields: dict[str, Any]) -> int:
        """Sends now, or when it is this one's turn."""
        queue = self._waiting.get(to)
        if not queue:
            outcome = who.send(to, payload, **fields)
            if outcome != Outcome.full or self._core.box(to)[1] != "credit":
                return outcome
        again = False
        while True:
            await self._turn(to, again)
            again = True
            outcome = who.send(to, payload, **fields)
            if outcome != Outcome.full:
                self._next(to)
                return outcome

    async def _turn(self, to: int, again: bool) -> None:
        import asyncio

        queue = self._waiting.setdefault(to, deque())
        future = asyncio.get_running_loop().create_future()
        if again:
            queue.appendleft(future)  # it was the first, and found no room
        else:
            queue.append(future)
        try:
            await future
        except BaseException:
            if future in queue:
                queue.remove(future)
            else:
                self._next(to)  # it was this one's turn already
            raise
        finally:
            if not queue and self._waiting.get(to) is queue:
                del self._waiting[to]

    def _next(self, to: int) -> None:
        queue = self._waiting.get(to)
        while queue:
            future = queue.popleft()
            if not future.done():
                future.set_result(None)
                return

    def wake(self) -> None:
        """Messages were taken out: boxes that gave room are offered to who waits."""
        for agent in self._core.take_credited() if self._waiting else ():
            self._next(agent)

    def cancel_all(self) -> None:
        """The kernel closes: what waits is told so by its next send."""
        for agent in list(self._waiting):
            for future in self._waiting.pop(agent):
                if not future.done() and not future.get_loop().is_closed():
                    future.set_result(None)
