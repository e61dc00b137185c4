"""The bridge to one event loop: one eventfd, durable receipts, handlers driven in turns."""

from __future__ import annotations

import asyncio
import functools
import heapq
import os
import weakref
from time import monotonic
from typing import TYPE_CHECKING

from .errors import HanseError
from .reasons import refuse

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Bridge"]

_TURN_MESSAGES = 256
_TURNS_S = 0.001  # the loop's other tasks wait this long at most, and for one turn's handlers


def _schedule(bridge_of: weakref.ref[Bridge]) -> None:
    bridge = bridge_of()
    if bridge is None:
        return
    if bridge.loop.is_closed():
        bridge.close()
    else:
        bridge.loop.call_soon(bridge._pump)


class Bridge:
    """Lives from the first use inside a loop until the kernel closes or another loop takes over."""

    def __init__(self, kernel: Kernel, loop: asyncio.AbstractEventLoop) -> None:
        self._kernel = kernel
        self._core = kernel._core
        self.loop = loop
        self._closed = False
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = 0
        self._deadline: asyncio.TimerHandle | None = None
        # From now on sends in this thread go into the boxes, not through the ring before them.
        self._core.own()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        loop.add_reader(self._fd, self._woken)
        # The core outlives this bridge and must not keep it alive.
        self._wake = functools.partial(_schedule, weakref.ref(self))
        self._core.attach_loop(self._wake, self._fd, loop)
        self._core.set_notify_fd(self._fd)

    def runs_here(self) -> bool:
        """This thread runs the loop that it is bound to."""
        return asyncio._get_running_loop() is self.loop

    async def durable(self, position: int) -> None:
        """Returns when the record at `position` is durable. Raises StorageError (Poisoned)."""
        if self._core.durable_count() > position:
            return
        future = self.loop.create_future()
        self._numbers += 1
        heapq.heappush(self._waiting, (position, self._numbers, future))
        # The flusher wakes this loop after it has flushed, also in vain.
        self._core.request_flush()
        await future

    def _woken(self) -> None:
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return
        self._resolve_durable()
        self._pump()

    def _resolve_durable(self) -> None:
        if not self._waiting:
            return
        durable = self._core.durable_count()
        while self._waiting and self._waiting[0][0] < durable:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)

        if not self._waiting:
            return
        why = str(self._core.journal_status()["poisoned"])
        if why:
            self._fail("Poisoned", why)

    def _fail(self, name: str, why: str) -> None:
        waiting, self._waiting = self._waiting, []
        for position, _, future in waiting:
            if future.done():
                continue
            try:
                refuse(name, "journal", why, None, position)
            except HanseError as error:
                future.set_exception(error)

    def schedule(self) -> None:
        """Work may have arrived: one turn soon."""
        if not self._closed:
            self._core.work_arrived()

    def _pump(self) -> None:
        if self._closed:
            return
        self._core.pump_started()
        handlers = self._kernel._handlers
        self._core.settle_dead_requests()
        if not handlers.any:
            # No turn says that it found nothing: what other shards do must wake this loop again.
            self._core.rest()
            self._core.settle_dead_requests()
            return
        end = monotonic() + _TURNS_S
        while handlers.turn(_TURN_MESSAGES):
            if monotonic() >= end:
                self.schedule()
                break

    # --- deadlines of requests

    def watch_deadlines(self) -> None:
        """A request with a timeout waits: the loop wakes when the earliest one is due."""
        seconds = self._core.expire_requests()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self.watch_deadlines)

    def close(self) -> None:
        """Lets go of the loop. What waits for durability is told so."""
        if self._closed:
            return
        self._closed = True
        if self._kernel._loop is self:
            self._kernel._loop = None
        if not self._core.is_closed():
            self._core.attach_loop(None, -1, None)
            self._core.set_notify_fd(-1)
        if not self.loop.is_closed():
            self.loop.remove_reader(self._fd)
            if self._deadline is not None:
                self._deadline.cancel()
            self._fail("Cancelled", "the kernel let go of this event loop")
        os.close(self._fd)
