"""A coroutine whose first step runs where it was made, before the event loop's next turn."""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import TracebackType
from typing import Any

__all__ = ["Begun", "begin"]


class Begun(Coroutine[Any, Any, Any]):
    """What an asyncio task steps on with: the first step's future, then the coroutine itself.

    So a handler that awaits nothing has ended before its task ever runs, as with the eager tasks of
    Python 3.12, and inside of its first step it is in its own task, too. One that waits is told to
    `ended` in the step in which it ends: a turn of the loop before its task is done.
    """

    __slots__ = ("_coroutine", "_first", "_held", "ended", "error", "over", "result")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._held = False
        self._first: Any = None
        self.over = False  # it ended, as result and error say
        self.result: Any = None
        self.error: BaseException | None = None
        self.ended: Callable[[Begun], None] | None = None

    def step(self) -> None:
        """The first one."""
        try:
            self._first = self._coroutine.send(None)
            self._held = True
        except StopIteration as stop:
            self.over, self.result = True, stop.value
        except (Exception, asyncio.CancelledError) as error:
            self.over, self.error = True, error

    def send(self, value: Any) -> Any:
        """As a task steps: what the first step waits for is handed on once, if it is not there."""
        if self.over:
            raise StopIteration
        if self._held:
            self._held = False
            first, self._first = self._first, None
            if first is not None:
                blocking = getattr(first, "_asyncio_future_blocking", None)
                if blocking is None or not first.done():
                    if blocking is False:  # another task has begun to wait for it since
                        first._asyncio_future_blocking = True
                    return first
                first._asyncio_future_blocking = False
        return self._on(self._coroutine.send, value)

    def _on(self, go: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return go(*arguments)
        except StopIteration as stop:
            self.over, self.result = True, stop.value
        except (Exception, asyncio.CancelledError) as error:
            self.over, self.error = True, error
        if self.ended is not None:
            self.ended(self)
        if isinstance(self.error, asyncio.CancelledError):
            raise self.error
        if self.error is not None and self.ended is None:
            raise self.error
        raise StopIteration(self.result)

    def throw(
        self,
        kind: Any,
        value: BaseException | object = None,
        trace: TracebackType | None = None,
    ) -> Any:
        """Into the coroutine, which waits for something."""
        if self.over:
            raise StopIteration
        self._held, self._first = False, None
        if value is None and trace is None:
            return self._on(self._coroutine.throw, kind)
        return self._on(self._coroutine.throw, kind, value, trace)

    def close(self) -> None:
        """Lets go of the coroutine."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()


def begin(coroutine: Coroutine[Any, Any, Any], context: Context) -> tuple[Begun, asyncio.Task[Any]]:
    """Its task, and how far it came in its first step. In a running event loop.

    What is no Exception (an interrupt) passes through.
    """
    loop = asyncio.get_running_loop()
    begun = Begun(coroutine)
    task: asyncio.Task[Any] = loop.create_task(begun, context=context)
    outer = asyncio.current_task(loop)
    if outer is not None:
        _leave_task(loop, outer)
    _enter_task(loop, task)
    try:
        context.run(begun.step)
    except BaseException:
        begun.over = True
        raise
    finally:
        _leave_task(loop, task)
        if outer is not None:
            _enter_task(loop, outer)
    return begun, task


async def awaited(value: Any) -> Any:
    """What is awaitable without being a coroutine."""
    return await value
