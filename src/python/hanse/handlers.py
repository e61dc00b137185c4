"""Who handles which messages, and the turns in which they are handled."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .credit import Credit
from .errors import ConflictError, DeniedError
from .mailbox import FAILURE, REPLY, REQUEST, TASK, Batch, Message, batch_of, batch_of_messages
from .reasons import duration_ns, refuse
from .requests import Requests

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Handlers", "event_loop_runs"]

_ROUTE_NONE, _ROUTE_SINGLE = -1, -2
# What one drain takes out: its messages stay in the cache until their handlers have seen them.
_TURN_MESSAGES = 1_024

Handler = Callable[[Message], Any]
BatchHandler = Callable[[Batch], Any]


def is_async(handler: Callable[..., Any]) -> bool:
    """The handler is a coroutine function, a method or partial of one, or has such a __call__."""
    function = getattr(handler, "func", handler)
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(type(function).__dict__.get("__call__"), "__code__", None)
    return code is not None and bool(code.co_flags & 0x80)  # inspect.CO_COROUTINE


def event_loop_runs() -> bool:
    """This thread is inside a running event loop; without importing asyncio to find out."""
    events = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None


def error_from(error: BaseException | None) -> BaseException | None:
    """What a coroutine raised: one that was cancelled has failed."""
    if error is None or isinstance(error, Exception):
        return error
    return RuntimeError("the handler was cancelled")


def _no_handler(message: Message) -> None:
    raise AssertionError("only agents with a handler are routed to one")


class Handlers:
    """Drives the handlers of one kernel, in the thread that owns its messages."""

    def __init__(self, kernel: Kernel, core: _core.Kernel) -> None:
        self._kernel = kernel
        self._core = core
        self.requests = Requests(core)
        self.credit = Credit(core)
        self._single: list[Handler] = []  # by agent index
        self._groups: list[tuple[int, BatchHandler]] = []
        # Taken out of a box but not handled: no handler yet, or its async handler is at work. The
        # box is paused from then on, so this holds at most one drain's worth of each agent.
        self._kept: dict[int, deque[Message]] = {}
        self._parked: set[int] = set()
        self._busy: set[int] = set()
        self._tasks: set[Any] = set()
        self._has_async = False
        self._done: list[Message] = []  # of durable boxes, acknowledged when the turn ends
        self.failures = 0
        self._shards = core.shard_count()
        # What the core needs of all this; the objects are changed in place alone.
        self.desk = (self._single, self._busy, self._kept, self)

    # --- registration

    def on(self, agents: int | Iterable[int], handler: Handler) -> None:
        """One at a time."""
        if isinstance(agents, np.ndarray):
            self._core.route_singles(agents, self._single, handler, _no_handler)
            agents = ()
        for agent in [agents] if isinstance(agents, (int, np.integer)) else agents:
            self._core.tenant_index(agent)
            if self._shards > 1 and (shard := self._core.shard_of(agent)) != 0:
                refuse("WrongThread", "agents", f"it is on shard {shard}", int(agent))
            index = int(agent) & 0xFFFF_FFFF
            self._single.extend([_no_handler] * (index + 1 - len(self._single)))
            self._single[index] = handler
            self._core.route_single(int(agent))
        self._has_async = self._has_async or is_async(handler)
        self._handlers_changed()

    def on_batch(self, group: int, handler: BatchHandler) -> None:
        """Columns, for a group and all below it."""
        if is_async(handler):
            refuse("WrongType", "handler", "want a plain function: a batch is handled in one go")
        self._core.tenant_index(group)
        slot = self._core.route_group(int(group))
        if slot == len(self._groups):
            self._groups.append((int(group), handler))
        else:
            self._groups[slot] = (int(group), handler)
        self._handlers_changed()

    @property
    def handled(self) -> int:
        """Messages that were given to a handler."""
        return self._core.handled()

    @property
    def any(self) -> bool:
        """There is a handler at all."""
        return bool(self._single or self._groups)

    def _handlers_changed(self) -> None:
        self._unpark()
        if self._kernel._loop is not None:
            self._kernel._loop.schedule()

    # --- messages that no handler took

    def _keep(self, message: Message) -> None:
        self._kept.setdefault(message.to, deque()).append(message)
        if message.to not in self._busy and message.to not in self._parked:
            self._parked.add(message.to)
            self._core.set_paused(message.to, True)

    def _unpark(self) -> None:
        for agent in self._parked:
            self._core.set_paused(agent, False)
        self._parked.clear()
        self._core.unpark()

    def _kept_of(self, agent: int) -> Message | None:
        """The oldest that is kept for it and not cancelled meanwhile."""
        queue = self._kept.get(agent)
        found = None
        while queue and found is None:
            message = queue.popleft()
            if message.kind == REQUEST and message.cancelled:
                self._core.dead(message, True)
            else:
                found = message
        if queue is not None and not queue:
            del self._kept[agent]
        return found

    def drain(self, max_messages: int) -> Batch:
        """What handlers left, else what is in the boxes."""
        kept: list[Message] = []
        for agent in [agent for agent in self._kept if agent not in self._busy]:
            while len(kept) < max_messages and (message := self._kept_of(agent)) is not None:
                kept.append(self._with_latents(message))
        if kept:
            return batch_of_messages(kept)
        self._unpark()
        batch = batch_of(self._core.drain(max_messages))
        self.credit.wake()
        for task in batch.tasks:
            self._with_latents(task)
        return batch

    def receive(self, agent: int) -> Message | None:
        """The oldest of one agent."""
        message = self._kept_of(agent)
        if message is None:
            message = self._core.receive(agent)
            self.credit.wake()
        return None if message is None else self._with_latents(message)

    def wait(self, agent: int, timeout: float) -> Message | None:
        """The oldest of one agent, when there is one; blocks this thread."""
        end = monotonic() + duration_ns(timeout, "timeout") / 1e9
        if event_loop_runs():
            refuse("WrongThread", "receive", "a timeout would block the running event loop")
        self._core.own_wake()
        self._core.rearm()
        while True:
            message = self.receive(agent)
            left = end - monotonic()
            if message is not None or left <= 0:
                return message
            self._core.wait_for_work(left)

    def _with_latents(self, message: Message) -> Message:
        if message.kind == TASK and message.latents:
            from .latent import Latent

            message.latents = tuple(
                Latent(self._kernel, latent, message.to) if isinstance(latent, int) else latent
                for latent in message.latents
            )
        return message

    # --- turns

    def run(self, max_messages: int | None) -> int:
        """Until nothing is left, from plain Python."""
        if max_messages is not None:
            if isinstance(max_messages, bool) or not isinstance(max_messages, int):
                kind = type(max_messages).__name__
                refuse("WrongType", "max_messages", f"want an int, have a {kind}")
            if max_messages < 0:
                refuse("OutOfRange", "max_messages", f"want 0 or more, have {max_messages}")
        if event_loop_runs():
            refuse("WrongThread", "run", "inside a running event loop, which drives the handlers")
        if self._has_async:
            import asyncio

            return asyncio.run(self._serve(max_messages))
        self._core.rearm()
        before = self.handled
        while max_messages is None or self.handled - before < max_messages:
            if self.turn(self._left(max_messages, before)) == 0:
                break
        return self.handled - before

    def _left(self, max_messages: int | None, before: int) -> int:
        if max_messages is None:
            return _TURN_MESSAGES
        return min(_TURN_MESSAGES, max_messages - (self.handled - before))

    async def _serve(self, max_messages: int | None) -> int:
        import asyncio

        bridge = self._kernel._bridge()
        before = self.handled
        try:
            while max_messages is None or self.handled - before < max_messages:
                if self.turn(self._left(max_messages, before)) != 0:
                    await asyncio.sleep(0)
                elif self._tasks:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                else:
                    break
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            bridge.close()
        return self.handled - before

    def turn(self, limit: int) -> int:
        """Takes out at most `limit` messages and handles them; returns how many were taken."""
        try:
            return self._turn(limit)
        finally:
            self.settle_durable()

    def _turn(self, limit: int) -> int:
        taken = self._retry_kept(limit) if self._kept else 0
        batch = self._core.drain_handled(limit - taken)
        self._core.settle_dead_requests()
        self.credit.wake()
        count = batch.count() + batch.task_count()
        if count == 0:
            return taken
        routes = None
        if self._groups:
            routes = batch.routes(self._core)
            first = int(routes[0])
            if first >= 0 and bool((routes == first).all()):
                self._handle_batch(first, batch_of(batch), lambda: batch.messages(self._core))
                return taken + count
            if bool((routes >= 0).any()):
                self._handle_groups(routes, batch)
        self._core.drive(batch, routes, self.desk)
        return taken + count

    def _retry_kept(self, limit: int) -> int:
        taken = 0
        for agent in list(self._kept):
            route = self._core.route(agent)
            if agent in self._busy or route == _ROUTE_NONE or self._core.running(agent):
                continue
            queue = self._kept.pop(agent)
            while queue and taken < limit and agent not in self._busy:
                message = queue.popleft()
                taken += 1
                if route == _ROUTE_SINGLE:
                    self._handle(message)
                else:
                    one = [message]
                    self._handle_batch(route, batch_of_messages(one), one.copy)
            queue.extend(self._kept.pop(agent, ()))
            if queue:
                self._kept[agent] = queue
        return taken

    def _handle_groups(self, routes: NDArray[np.int32], core: _core.Batch) -> None:
        messages, tasks = core.messages(self._core), core.tasks()
        columns = batch_of(core)
        of_messages, of_tasks = routes[: len(messages)], routes[len(messages) :]
        for slot in np.unique(routes[routes >= 0]):
            rows = np.flatnonzero(of_messages == slot)
            own_tasks = [tasks[i] for i in np.flatnonzero(of_tasks == slot)]
            own_messages = [messages[i] for i in rows]
            self._handle_batch(int(slot), columns.select(rows, own_tasks), own_messages.copy)

    def _handle_oddly(self, message: Message, route: int) -> None:
        """What is not just a call."""
        if message.kind in (REPLY, FAILURE) and self.requests.reply_arrived(message):
            self._core.count_handled()
        elif route == _ROUTE_SINGLE:
            self._handle(message)
        else:
            self._keep(message)

    def _keep_all(self, messages: list[Message]) -> None:
        """A handler was interrupted: what was taken out behind its message is not lost."""
        for message in messages:
            self._keep(message)
        self._unpark()

    def _handle(self, message: Message) -> None:
        if message.kind == TASK:
            self._with_latents(message)
        self._core.handle(message, self.desk)

    def _handle_batch(self, slot: int, batch: Batch, messages: Callable[[], list[Message]]) -> None:
        group, handler = self._groups[slot]
        for task in batch.tasks:
            self._with_latents(task)
        count = len(batch) + len(batch.tasks) + len(batch.durable)
        error = self._core.handle_batch(group, handler, batch, count)
        if error is None:
            self._done += batch.durable
        else:
            for message in (*messages(), *batch.tasks, *batch.durable):
                self._bury(message, error)
            self._report(error)

    # --- async handlers

    def _start(self, message: Message, coroutine: Any) -> None:
        if not event_loop_runs():
            coroutine.close()
            error = TypeError("a handler gave a coroutine, but it is not an async function")
            self._failed(message, error)
            return
        from contextvars import copy_context

        from .begun import awaited, begin

        if not hasattr(coroutine, "send"):
            coroutine = awaited(coroutine)
        context = copy_context()
        request = message.request if message.kind == REQUEST else 0
        context.run(_core.acting.set, self._core.acting_token(message.to, request))
        try:
            begun, task = begin(coroutine, context)
        except BaseException:
            self._interrupted(message)
            raise
        if begun.over:
            self._ended(message, error_from(begun.error), begun.result)
            return
        self._busy.add(message.to)
        self._core.set_paused(message.to, True)
        self._tasks.add(task)
        begun.ended = lambda done: self._finished(message, task, done)

    def _interrupted(self, message: Message) -> None:
        if message.durable:
            self._core.return_all([message])
        if message.kind == REQUEST:
            self.requests.fail(message.request, "its handler was interrupted", message.to)

    def _finished(self, message: Message, task: Any, begun: Any) -> None:
        self._tasks.discard(task)
        if self._core.is_closed():
            return
        self._busy.discard(message.to)
        self._core.set_paused(message.to, False)
        self._ended(message, error_from(begun.error), begun.result)
        if self._kernel._loop is not None:
            self._kernel._loop.schedule()

    def _ended(self, message: Message, error: BaseException | None, result: Any) -> None:
        if error is not None and message.cancelled:
            # It was told that no one waits any more: that is an end, not a failure.
            self.requests.fail(message.request, f"its handler raised {error!r}", message.to)
        elif error is not None:
            self._failed(message, error)
        elif message.durable:
            self._core.acknowledge_all([message])
        elif message.kind == REQUEST:
            self._answer(message, b"" if result is None else result)

    # --- results

    def _answer(self, message: Message, result: Any) -> None:
        if isinstance(result, (bytes, bytearray, memoryview)):
            self.requests.answer(message.request, bytes(result))
        else:
            kind = type(result).__name__
            self._failed(message, TypeError(f"a reply is bytes, the handler gave a {kind}"))

    def _durable_done(self, message: Message) -> None:
        self._done.append(message)

    def settle_durable(self) -> None:
        """Acknowledges the durable messages whose handlers have returned."""
        if self._done:
            done, self._done = self._done, []
            self._core.acknowledge_all(done)

    def _failed(self, message: Message, error: BaseException) -> None:
        self._bury(message, error)
        self._report(error)

    def _bury(self, message: Message, error: BaseException) -> None:
        self.failures += 1
        if message.durable:
            self._core.return_all([message])
        elif message.kind == TASK:
            self._give_back(message)
        else:
            self._core.dead(message, False)
        if message.kind == REQUEST:
            self.requests.fail(message.request, f"its handler raised {error!r}", message.to)

    def _give_back(self, message: Message) -> None:
        """A task whose handler failed goes out again, rather than waiting for its deadline."""
        try:
            self._core.give_back_task(message.to, message.task)
        except (ConflictError, DeniedError):
            # The handler had done its part before it raised, or its agent was stopped meanwhile.
            return

    @staticmethod
    def _report(error: BaseException) -> None:
        import logging

        logging.getLogger("hanse").error("a handler failed", exc_info=error)

    # --- observation

    def counters(self) -> dict[str, int]:
        """The core's counts and the handlers' own."""
        counts = self._core.mailbox_counters()
        counts["kept"] = sum(len(kept) for kept in self._kept.values())
        counts["handler_failures"] = self.failures
        counts["waiting_requests"] = len(self.requests)
        return counts
