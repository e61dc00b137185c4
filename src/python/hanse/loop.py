"""The bridge to one event loop: one eventfd, durable receipts, handlers driven in turns."""

from __future__ import annotations

import asyncio
import functools
import heapq
import os
import weakref
from typing import TYPE_CHECKING

from .errors import HanseError
from .reasons import refuse

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Bridge"]

_TURN_MESSAGES = 1024  # a loop's other tasks wait for one turn at most
_POISON_CHECK_S = 0.1


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
        self._watch: asyncio.TimerHandle | None = None
        # From now on sends in this thread go into the boxes, not through the ring before them.
        self._core.own()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        loop.add_reader(self._fd, self._woken)
        # The core outlives this bridge and must not keep it alive.
        self._wake = functools.partial(_schedule, weakref.ref(self))
        self._core.attach_loop(self._wake, self._fd)
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
        self._core.request_flush()
        if self._watch is None:
            self._watch = self.loop.call_later(_POISON_CHECK_S, self._check_poison)
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

    # A poisoned journal never moves its watermark again, so no wake would come.
    def _check_poison(self) -> None:
        self._watch = None
        self._resolve_durable()
        if not self._waiting:
            return
        why = str(self._core.journal_status()["poisoned"])
        if why:
            self._fail("Poisoned", why)
        else:
            self._watch = self.loop.call_later(_POISON_CHECK_S, self._check_poison)

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
        if not handlers.any:
            return
        taken = handlers.turn(_TURN_MESSAGES)
        if taken:
            self.schedule()

    def close(self) -> None:
        """Lets go of the loop. What waits for durability is told so."""
        if self._closed:
            return
        self._closed = True
        if self._kernel._loop is self:
            self._kernel._loop = None
        if not self._core.is_closed():
            self._core.attach_loop(None, -1)
            self._core.set_notify_fd(-1)
        if not self.loop.is_closed():
            self.loop.remove_reader(self._fd)
            if self._watch is not None:
                self._watch.cancel()
            self._fail("Cancelled", "the kernel let go of this event loop")
        os.close(self._fd)
