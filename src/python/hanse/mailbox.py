"""Messages between agents: what a drain takes out, handlers, and requests that wait for replies."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._core import Message
from .errors import HanseError, NotFoundError
from .outcome import Outcome
from .reasons import refuse, refuse_outcome
from .reply import Reply

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Batch", "DeadLetter", "Message", "TaskDelivery"]

TaskDelivery = Message

DATA, REQUEST, REPLY, FAILURE, TASK = range(5)
_ROUTE_NONE, _ROUTE_SINGLE = -1, -2
_TURN_MESSAGES = 16_384

Handler = Callable[[Message], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What a drain took out of the boxes, as columns; `tasks` on their way to their workers.

    to, sender, request, sequence uint64[n]; kind uint8[n] (0 data, 1 request); payload uint8[n, w],
    read only, rows padded with zeros; size uint32[n]. payload may view the kernel's memory, which
    lives as long as it does.
    """

    to: NDArray[np.uint64]
    sender: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    request: NDArray[np.uint64]
    sequence: NDArray[np.uint64]
    payload: NDArray[np.uint8]
    size: NDArray[np.uint32]
    tasks: list[Message]

    def __len__(self) -> int:
        """Messages, tasks not counted."""
        return len(self.to)

    def select(self, rows: NDArray[Any], tasks: list[Message]) -> Batch:
        """Some rows of it, copied."""
        return Batch(
            self.to[rows],
            self.sender[rows],
            self.kind[rows],
            self.request[rows],
            self.sequence[rows],
            self.payload[rows],
            self.size[rows],
            tasks,
        )


def batch_of(core: _core.Batch) -> Batch:
    """From the core's batch."""
    return Batch(*core.columns(), core.tasks() if core.task_count() else [])


def batch_of_messages(messages: Sequence[Message]) -> Batch:
    """From single messages."""
    plain = [message for message in messages if message.kind != TASK]
    width = max((len(message.payload) for message in plain), default=0)
    payload = np.zeros((len(plain), width), np.uint8)
    for row, message in enumerate(plain):
        payload[row, : len(message.payload)] = np.frombuffer(message.payload, np.uint8)

    def column(name: str, dtype: type[Any]) -> NDArray[Any]:
        return np.array([getattr(message, name) for message in plain], dtype)

    return Batch(
        column("to", np.uint64),
        column("sender", np.uint64),
        column("kind", np.uint8),
        column("request", np.uint64),
        column("sequence", np.uint64),
        payload,
        np.array([len(message.payload) for message in plain], np.uint32),
        [message for message in messages if message.kind == TASK],
    )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that no one handled, and why; at most 64 bytes of its payload."""

    to: int
    sender: int
    kind: int
    request: int
    reason: Outcome
    payload: bytes


def is_async(handler: Callable[..., Any]) -> bool:
    """The handler is a coroutine function (or an object whose __call__ is one)."""
    function = getattr(handler, "func", handler)  # functools.partial
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)
    return code is not None and bool(code.co_flags & 0x80)  # inspect.CO_COROUTINE


def event_loop_runs() -> bool:
    """This thread is inside a running event loop; without importing asyncio to find out."""
    events = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None


class Mailbox:
    """Drives the handlers of one kernel. Owner thread only, except `fail_dead_targets`."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._core = kernel._core
        self._handlers: dict[int, Handler] = {}
        self._group_handlers: list[Callable[[Batch], Any]] = []
        # Taken out of a box but not handled: no handler yet, or its async handler is at work. The
        # box is paused from then on, so this holds at most one drain's worth of each agent.
        self._kept: dict[int, deque[Message]] = {}
        self._parked: set[int] = set()
        self._busy: set[int] = set()
        self._tasks: set[Any] = set()
        self._pending: dict[int, Reply] = {}
        self._next_request = 1
        self.has_async = False
        self.failures = 0

    # --- registration

    def on(self, agents: int | Iterable[int], handler: Handler) -> None:
        ids = [agents] if isinstance(agents, (int, np.integer)) else agents
        for agent in ids:
            self._core.tenant_index(agent)
            self._handlers[int(agent)] = handler
            self._core.route_single(int(agent))
        self.has_async = self.has_async or is_async(handler)
        self._unpark()

    def on_batch(self, group: int, handler: Callable[[Batch], Any]) -> None:
        if is_async(handler):
            refuse("WrongType", "handler", "want a plain function: a batch is handled in one go")
        self._core.tenant_index(group)
        slot = self._core.route_group(int(group))
        if slot == len(self._group_handlers):
            self._group_handlers.append(handler)
        else:
            self._group_handlers[slot] = handler
        self._unpark()

    @property
    def has_handlers(self) -> bool:
        return bool(self._handlers or self._group_handlers)

    def _unpark(self) -> None:
        for agent in self._parked:
            self._core.set_paused(agent, False)
        self._parked.clear()
        if self._kernel._loop is not None:
            self._kernel._loop.schedule()

    def _keep(self, message: Message, *, first: bool = False) -> None:
        kept = self._kept.setdefault(message.to, deque())
        if first:
            kept.appendleft(message)
        else:
            kept.append(message)
        if message.to not in self._busy and message.to not in self._parked:
            self._parked.add(message.to)
            self._core.set_paused(message.to, True)

    # --- pulling

    def drain(self, max_messages: int) -> Batch:
        kept: list[Message] = []
        for agent in [agent for agent in self._kept if agent not in self._busy]:
            queue = self._kept[agent]
            while queue and len(kept) < max_messages:
                kept.append(self._with_latents(queue.popleft()))
            if not queue:
                del self._kept[agent]
        if kept:
            return batch_of_messages(kept)
        self._unpark()
        batch = batch_of(self._core.drain(max_messages))
        for task in batch.tasks:
            self._with_latents(task)
        return batch

    def receive(self, agent: int) -> Message | None:
        kept = self._kept.get(agent)
        if kept:
            message: Message | None = kept.popleft()
            if not kept:
                del self._kept[agent]
        else:
            message = self._core.receive(agent)
        return None if message is None else self._with_latents(message)

    def _with_latents(self, message: Message) -> Message:
        if message.kind == TASK and message.latents:
            from .latent import Latent

            message.latents = tuple(
                latent
                if latent is None or isinstance(latent, Latent)
                else Latent(self._kernel, latent, message.to)
                for latent in message.latents
            )
        return message

    # --- driving

    def run(self, max_messages: int | None) -> int:
        if event_loop_runs():
            refuse("WrongThread", "run", "inside a running event loop, which drives the handlers")
        if self.has_async:
            import asyncio

            return asyncio.run(self._serve(max_messages))
        handled = 0
        while max_messages is None or handled < max_messages:
            left = _TURN_MESSAGES if max_messages is None else max_messages - handled
            taken, done = self.turn(min(left, _TURN_MESSAGES))
            handled += done
            if taken == 0:
                break
        return handled

    async def _serve(self, max_messages: int | None) -> int:
        import asyncio

        bridge = self._kernel._bridge(drive=False)
        handled = 0
        while max_messages is None or handled < max_messages:
            left = _TURN_MESSAGES if max_messages is None else max_messages - handled
            taken, done = self.turn(min(left, _TURN_MESSAGES))
            handled += done
            if taken == 0:
                if not self._tasks:
                    break
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        if self._tasks:
            await asyncio.wait(self._tasks)
        bridge.close()
        return handled

    def turn(self, limit: int) -> tuple[int, int]:
        """Takes out at most `limit` messages and handles them: (taken, handled)."""
        taken = handled = 0
        if self._kept:
            taken, handled = self._retry_kept(limit)
        core = self._core.drain(limit - taken)
        count = core.count() + core.task_count()
        if count == 0:
            return taken, handled
        routes = core.routes(self._core)
        first = int(routes[0])
        if first >= 0 and bool((routes == first).all()):
            done = self._handle_batch(first, batch_of(core))
        elif not bool((routes >= 0).any()):
            done = self._handle_singles(routes, core.messages() + core.tasks())
        else:
            done = self._handle_mixed(routes, core)
        return taken + count, handled + done

    def _retry_kept(self, limit: int) -> tuple[int, int]:
        taken = handled = 0
        for agent in list(self._kept):
            route = self._core.route(agent)
            if agent in self._busy or route == _ROUTE_NONE:
                continue
            queue = self._kept.pop(agent)
            while queue and taken < limit and agent not in self._busy:
                message = queue.popleft()
                taken += 1
                if route == _ROUTE_SINGLE:
                    handled += self._handle(self._handlers[agent], message)
                else:
                    handled += self._handle_batch(route, batch_of_messages([message]))
            if queue:
                self._kept[agent] = queue
        return taken, handled

    def _handle_mixed(self, routes: NDArray[np.int32], core: _core.Batch) -> int:
        handled = 0
        messages = core.messages()
        tasks = core.tasks()
        everything = batch_of(core)
        of_messages, of_tasks = routes[: len(messages)], routes[len(messages) :]
        for slot in np.unique(routes[routes >= 0]):
            rows = np.flatnonzero(of_messages == slot)
            own = [tasks[i] for i in np.flatnonzero(of_tasks == slot)]
            handled += self._handle_batch(int(slot), everything.select(rows, own))
        alone = np.flatnonzero(routes < 0)
        both = messages + tasks
        return handled + self._handle_singles(routes[alone], [both[i] for i in alone])

    def _handle_singles(self, routes: NDArray[np.int32], messages: list[Message]) -> int:
        handlers = self._handlers
        handled = 0
        i = 0
        try:
            for i, route in enumerate(routes.tolist()):
                message = messages[i]
                if message.kind in (REPLY, FAILURE) and self._reply_arrived(message):
                    handled += 1
                elif route == _ROUTE_SINGLE:
                    handled += self._handle(handlers[message.to], message)
                else:
                    self._keep(message)
        except BaseException:
            # What was taken out behind the interrupted message is not lost.
            for message in messages[i + 1 :]:
                self._keep(message)
            self._unpark()
            raise
        return handled

    def _handle(self, handler: Handler, message: Message) -> int:
        agent = message.to
        if agent in self._busy or agent in self._kept:
            self._keep(message)
            return 0
        if message.kind == TASK:
            self._with_latents(message)
        kernel = self._kernel
        before = kernel._current
        kernel._current = agent
        try:
            result = handler(message)
        except Exception as error:
            self._failed(message, error)
            return 1
        finally:
            kernel._current = before
        if result is None:
            if message.kind == REQUEST:
                self._answer(message.request, b"")
        elif hasattr(result, "__await__"):
            self._start(message, result)
        elif message.kind == REQUEST:
            self._answer_checked(message, result)
        return 1

    def _handle_batch(self, slot: int, batch: Batch) -> int:
        count = len(batch) + len(batch.tasks)
        for task in batch.tasks:
            self._with_latents(task)
        kernel = self._kernel
        before = kernel._current
        try:
            self._group_handlers[slot](batch)
        except Exception as error:
            self.failures += count
            self._report(error)
            for i in range(len(batch)):
                payload = batch.payload[i, : batch.size[i]].tobytes()
                self._core.dead_row(
                    int(batch.to[i]),
                    int(batch.sender[i]),
                    int(batch.kind[i]),
                    int(batch.request[i]),
                    int(batch.sequence[i]),
                    payload,
                    Outcome.invalid,
                )
                if batch.kind[i] == REQUEST:
                    self._fail(int(batch.request[i]), f"its handler raised {error!r}")
        finally:
            kernel._current = before
        return count

    def _start(self, message: Message, coroutine: Any) -> None:
        if not event_loop_runs():
            coroutine.close()
            error = TypeError("a handler gave a coroutine, but it is not an async function")
            self._failed(message, error)
            return
        import asyncio
        import contextvars

        from .kernel import acting_agent

        agent = message.to
        self._busy.add(agent)
        self._core.set_paused(agent, True)
        context = contextvars.copy_context()
        context.run(acting_agent.set, (id(self._kernel), agent))
        task = asyncio.get_running_loop().create_task(coroutine, context=context)
        self._tasks.add(task)

        def finished(task: Any) -> None:
            self._tasks.discard(task)
            self._finished(message, task)

        task.add_done_callback(finished)

    def _finished(self, message: Message, task: Any) -> None:
        if self._core.is_closed():
            return
        self._busy.discard(message.to)
        self._core.set_paused(message.to, False)
        if task.cancelled():
            self._failed(message, RuntimeError("the handler was cancelled"))
        elif task.exception() is not None:
            self._failed(message, task.exception())
        elif message.kind == REQUEST:
            result = task.result()
            if result is None:
                self._answer(message.request, b"")
            else:
                self._answer_checked(message, result)
        if self._kernel._loop is not None:
            self._kernel._loop.schedule()

    # --- failures

    def _failed(self, message: Message, error: BaseException) -> None:
        self.failures += 1
        self._report(error)
        if message.kind != TASK:
            self._core.dead(message, Outcome.invalid)
        if message.kind == REQUEST:
            self._fail(message.request, f"its handler raised {error!r}", message.to)

    @staticmethod
    def _report(error: BaseException) -> None:
        import logging

        logging.getLogger("hanse").error("a handler failed", exc_info=error)

    # --- requests

    def ask(self, sender: int, to: int, payload: bytes, timeout: float | None) -> Reply:
        bridge = self._kernel._bridge()
        core = self._core
        number = self._next_request
        self._next_request = number + 1
        deadline_ns = 0 if timeout is None else core.now_ns() + max(int(timeout * 1e9), 1)
        reply = self._pending[number] = Reply(self._pending, number, int(to), bridge.loop)
        try:
            outcome = core.send_request(sender, to, payload, number, deadline_ns)
        except BaseException:
            del self._pending[number]
            raise
        if outcome:
            del self._pending[number]
            if outcome in (Outcome.unknown, Outcome.revoked):
                refuse("Undeliverable", "to", Outcome(outcome).name, int(to))
            refuse_outcome(Outcome(outcome), "to", "", int(to))
        handler = self._handlers.get(reply.to)
        if handler is not None and self._can_run_here(reply.to):
            self._run_inline(handler, reply.to)
        if not reply.done:
            bridge.schedule()
            if timeout is not None:
                reply.expires_in(timeout)
        return reply

    def _can_run_here(self, agent: int) -> bool:
        return (
            agent not in self._busy
            and agent not in self._kept
            and agent != self._kernel._current
            and self._core.owned_here()
            and self._core.queued(agent) == 1
        )

    def _run_inline(self, handler: Handler, agent: int) -> None:
        """Handles what is in an agent's box now, inside of the caller."""
        # The one that asks is inside of its own handler: it must not be entered again from here.
        outer = self._kernel._current
        shield = outer is not None and outer not in self._busy
        if shield and outer is not None:
            self._busy.add(outer)
        try:
            message = self._core.receive(agent)
            while message is not None:
                self._handle(handler, message)
                if agent in self._busy:
                    return
                message = self._core.receive(agent)
        finally:
            if shield and outer is not None:
                self._busy.discard(outer)

    def answer(self, message: Message, payload: bytes) -> bool:
        """Replies to a request that was pulled; False where no one waits for it any more."""
        return self._answer(message.request, bytes(payload))

    def _answer_checked(self, message: Message, result: Any) -> None:
        if isinstance(result, (bytes, bytearray, memoryview)):
            self._answer(message.request, bytes(result))
        else:
            kind = type(result).__name__
            self._failed(message, TypeError(f"a reply is bytes, the handler gave a {kind}"))

    def _answer(self, request: int, value: bytes) -> bool:
        reply = self._pending.pop(request, None)
        if reply is not None:
            reply.resolve(value, None)
        return reply is not None

    def _fail(
        self, request: int, why: str, agent: int | None = None, name: str = "Undeliverable"
    ) -> None:
        reply = self._pending.pop(request, None)
        if reply is None:
            return
        try:
            refuse(name, "ask", why, agent)
        except HanseError as error:
            reply.resolve(b"", error)

    def _reply_arrived(self, message: Message) -> bool:
        if message.request not in self._pending:
            return False
        if message.kind == REPLY:
            return self._answer(message.request, message.payload)
        self._fail(message.request, "the agent could not answer", message.sender)
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
                self._fail(number, "the agent was revoked", reply.to)

    def close(self) -> None:
        """Every request that still waits ends as Cancelled."""
        for number in list(self._pending):
            self._fail(number, "the kernel was closed", None, "Cancelled")

    # --- counts

    def counters(self) -> dict[str, int]:
        counts = self._core.mailbox_counters()
        counts["kept"] = sum(len(kept) for kept in self._kept.values())
        counts["handler_failures"] = self.failures
        counts["waiting_requests"] = len(self._pending)
        return counts
