"""What `ask` gives back, where its answer is not there at once."""

from __future__ import annotations

from collections.abc import Generator
from threading import get_ident
from typing import Any

from ._core import Reply

__all__ = ["Reply"]


def wait(reply: Reply) -> Generator[Any, None, bytes]:
    """Until it has ended. When the last one that waits is cancelled, so is the request."""
    future = reply._loop.create_future()
    if reply._waiters is None:
        reply._waiters = []
    reply._waiters.append(future)
    try:
        if not reply.done:  # another shard's thread may have answered since it was asked about
            yield from future
    except BaseException:
        if reply._waiters is not None and future in reply._waiters:
            reply._waiters.remove(future)
        if not reply._waiters:
            reply.cancel()
        raise
    return reply.result()


def wake(reply: Reply) -> None:
    """It has ended: whoever waits goes on. From any thread."""
    waiters, reply._waiters = reply._waiters or [], None
    if reply._loop.is_closed():
        return
    if get_ident() == reply._thread:
        _set(waiters)
    else:
        reply._loop.call_soon_threadsafe(_set, waiters)


def _set(waiters: list[Any]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
