"""What `ask` gives back: an awaitable that is ready at once where the handler ran inline."""

from __future__ import annotations

from collections.abc import Generator
from threading import get_ident
from typing import TYPE_CHECKING, Any

from .errors import HanseError
from .reasons import refuse

if TYPE_CHECKING:
    import asyncio

__all__ = ["Reply"]


class Reply:
    """A reply to come; await it once or more. It ends exactly once."""

    __slots__ = (
        "_error",
        "_loop",
        "_number",
        "_pending",
        "_thread",
        "_timer",
        "_value",
        "_waiter",
        "done",
        "to",
    )

    def __init__(
        self,
        pending: dict[int, Reply],
        number: int,
        to: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._pending = pending
        self._number = number
        self._loop = loop
        self._thread = get_ident()
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._value = b""
        self._error: HanseError | None = None
        self.done = False
        self.to = to

    def __await__(self) -> Generator[Any, None, bytes]:
        if not self.done:
            if self._waiter is None:
                self._waiter = self._loop.create_future()
            try:
                yield from self._waiter
            except BaseException:
                self._pending.pop(self._number, None)
                self._stop_timer()
                raise
        if self._error is not None:
            raise self._error
        return self._value

    def expires_in(self, seconds: float) -> None:
        """Ends it as TimedOut unless it ends before."""
        self._timer = self._loop.call_later(seconds, self._expire, seconds)

    def _expire(self, seconds: float) -> None:
        if self._pending.pop(self._number, None) is None:
            return
        try:
            refuse("TimedOut", "timeout", f"no reply within {seconds} s", self.to)
        except HanseError as error:
            self._settle(b"", error)

    def resolve(self, value: bytes, error: HanseError | None) -> None:
        """Ends it. Any thread; the caller has taken it out of the pending ones."""
        if get_ident() == self._thread:
            self._settle(value, error)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle, value, error)

    def _settle(self, value: bytes, error: HanseError | None) -> None:
        self._value, self._error, self.done = value, error, True
        self._stop_timer()
        if self._waiter is not None and not self._waiter.done() and not self._loop.is_closed():
            self._waiter.set_result(None)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
