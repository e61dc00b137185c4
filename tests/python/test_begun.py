"""Async handlers run up to their first wait where their message is handled, in their own task."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

import hanse
from hanse.begun import begin

seen = contextvars.ContextVar("seen", default="outside")


@pytest.fixture
def kernel():
    with hanse.open() as opened:
        yield opened


def test_an_async_handler_that_awaits_nothing_has_answered_before_the_loop_turns(kernel):
    worker = kernel.agents.add("worker")

    @kernel.on(worker)
    async def answer(message: hanse.Message) -> bytes:
        return message.payload[::-1]

    async def main() -> None:
        reply = kernel.ask(worker, b"abc")
        assert reply.done
        assert reply.result() == b"cba"
        assert await reply == b"cba"

    asyncio.run(main())


def test_what_it_waits_for_and_what_it_raises_come_as_from_any_task(kernel):
    worker = kernel.agents.add("worker")
    steps: list[str] = []

    @kernel.on(worker)
    async def handle(message: hanse.Message) -> bytes:
        steps.append("begun")
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, b"later")
        value = await future
        await asyncio.sleep(0)
        steps.append("ended")
        if message.payload == b"raise":
            raise ValueError("on purpose")
        return value

    async def main() -> None:
        reply = kernel.ask(worker, b"go")
        assert not reply.done
        assert steps == ["begun"]
        assert await reply == b"later"
        with pytest.raises(hanse.BusyError, match="on purpose"):
            await kernel.ask(worker, b"raise")

    asyncio.run(main())
    assert steps == ["begun", "ended"] * 2


def test_inside_of_its_first_step_it_is_its_own_task_and_acts_as_its_agent(kernel):
    worker, other = (int(agent) for agent in kernel.agents.add_many(2))
    tasks: list[object] = []

    @kernel.on(worker)
    async def handle(message: hanse.Message) -> bytes:
        tasks.append(asyncio.current_task())
        kernel.send(other, b"first")
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        tasks.append(asyncio.current_task())
        kernel.send(other, b"second")
        return b""

    async def main() -> None:
        await kernel.ask(worker, b"go")
        assert asyncio.current_task() not in tasks
        assert tasks[0] is tasks[1] is not None
        for payload in (b"first", b"second"):
            message = kernel.receive(other)
            assert message is not None
            assert (message.payload, message.sender) == (payload, worker)

    asyncio.run(main())


def test_a_timeout_of_the_first_step_is_of_the_handler_and_not_of_who_asked(kernel):
    worker = kernel.agents.add("worker")

    @kernel.on(worker)
    async def handle(message: hanse.Message) -> bytes:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        except TimeoutError:
            return b"timed out"
        return b"never"

    async def main() -> bytes:
        return await kernel.ask(worker, b"go")

    assert asyncio.run(main()) == b"timed out"


def test_an_async_handler_is_never_entered_twice_at_once(kernel):
    worker = kernel.agents.add("worker")
    inside = [0]

    @kernel.on(worker)
    async def handle(message: hanse.Message) -> bytes:
        inside[0] += 1
        assert inside[0] == 1
        kernel.send(worker, b"to itself")
        if message.payload == b"wait":
            await asyncio.sleep(0.001)
        inside[0] -= 1
        return b""

    async def main() -> None:
        await asyncio.gather(*[kernel.ask(worker, b"wait") for _ in range(5)])
        kernel.agents.revoke(worker)

    asyncio.run(main())


def test_cancelling_who_asked_reaches_a_handler_that_waits(kernel):
    worker = kernel.agents.add("worker")
    told: list[bool] = []

    @kernel.on(worker)
    async def handle(message: hanse.Message) -> bytes:
        while not message.cancelled:
            await asyncio.sleep(0)
        told.append(True)
        return b""

    async def main() -> None:
        reply = kernel.ask(worker, b"go")
        assert reply.cancel()
        while not told:
            await asyncio.sleep(0)

    asyncio.run(main())


def test_a_handler_that_raises_at_once_leaves_a_dead_letter(kernel, caplog):
    worker = kernel.agents.add("worker")

    @kernel.on(worker)
    async def handle(message: hanse.Message) -> bytes:
        if message.payload == b"cancel":
            raise asyncio.CancelledError
        raise ValueError("on purpose")

    async def main() -> None:
        with pytest.raises(hanse.BusyError, match="on purpose"):
            await kernel.ask(worker, b"go")
        with pytest.raises(hanse.BusyError, match="was cancelled"):
            await kernel.ask(worker, b"cancel")

    asyncio.run(main())
    assert kernel.counters()["dead"] == 2
    assert "on purpose" in caplog.text


def test_an_interrupt_in_the_first_step_passes_through_and_the_request_ends(kernel):
    worker = kernel.agents.add("worker")

    @kernel.on(worker)
    async def handle(message: hanse.Message) -> bytes:
        raise KeyboardInterrupt

    async def main() -> None:
        with pytest.raises(KeyboardInterrupt):
            kernel.ask(worker, b"go")
        assert kernel.counters()["waiting_requests"] == 0

    asyncio.run(main())


def test_two_tasks_may_wait_for_the_future_that_a_first_step_waits_for():
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()

        async def wait() -> str:
            return await future

        _, task = begin(wait(), contextvars.copy_context())
        other = asyncio.create_task(wait())
        asyncio.get_running_loop().call_later(0.005, future.set_result, "both")
        assert await asyncio.gather(task, other) == ["both", "both"]

    asyncio.run(main())


def test_a_task_that_is_cancelled_before_it_steps_on_cancels_its_coroutine():
    ended: list[str] = []

    async def main() -> None:
        async def work() -> None:
            seen.set("inside")
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                ended.append(seen.get())
                raise

        _, task = begin(work(), contextvars.copy_context())
        assert seen.get() == "outside"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended == ["inside"]
