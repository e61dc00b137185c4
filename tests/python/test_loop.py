"""Inside an event loop: asks end exactly once, dispatches wait for the disk without blocking."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import hanse
from hanse import Outcome


def pair(kernel: hanse.Kernel) -> tuple[hanse.AgentView, int]:
    a, b = (int(id) for id in kernel.agents.add_many(2))
    return kernel.as_agent(a), b


def test_a_sync_handler_answers_at_once() -> None:
    with hanse.open() as kernel:
        me, worker = pair(kernel)

        @kernel.on(worker)
        def handle(message: hanse.Message) -> bytes:
            return message.payload + b"!"

        async def main() -> None:
            reply = me.ask(worker, b"hi", timeout=5)
            assert reply.done  # type: ignore[attr-defined]
            assert await reply == b"hi!"
            assert await asyncio.gather(*(me.ask(worker, b"%d" % i) for i in range(10))) == [
                b"%d!" % i for i in range(10)
            ]
            assert await asyncio.wait_for(me.ask(worker, b""), 5) == b"!"

        asyncio.run(main())
        counts = kernel.counters()
        assert counts["accepted"] == counts["handled"] == 12
        assert counts["waiting_requests"] == 0


def test_what_was_sent_before_is_handled_before() -> None:
    with hanse.open() as kernel:
        me, worker = pair(kernel)
        order: list[bytes] = []

        @kernel.on(worker)
        def handle(message: hanse.Message) -> bytes:
            order.append(message.payload)
            return b""

        async def main() -> None:
            me.send(worker, b"1")
            reply = me.ask(worker, b"2", timeout=5)
            assert not reply.done  # type: ignore[attr-defined]
            await reply

        asyncio.run(main())
        assert order == [b"1", b"2"]


def test_an_async_handler_never_runs_twice_at_once_and_acts_as_its_agent() -> None:
    with hanse.open() as kernel:
        me, worker = pair(kernel)
        running = 0
        senders: list[int] = []

        @kernel.on(worker)
        async def handle(message: hanse.Message) -> bytes:
            nonlocal running
            assert running == 0
            running += 1
            await asyncio.sleep(0.001)
            kernel.send(message.sender, b"note")
            running -= 1
            return message.payload

        async def main() -> None:
            replies = [me.ask(worker, b"%d" % i, timeout=10) for i in range(20)]
            assert await asyncio.gather(*replies) == [b"%d" % i for i in range(20)]

        asyncio.run(main())
        while (message := kernel.receive(me.id)) is not None:
            senders.append(message.sender)
        assert senders == [worker] * 20


def test_agents_that_ask_each_other_come_to_an_end() -> None:
    with hanse.open() as kernel:
        ids = [int(id) for id in kernel.agents.add_many(3)]
        a, b, c = ids

        @kernel.on(a)
        async def ask_b(message: hanse.Message) -> bytes:
            return b"a" + await kernel.ask(b, message.payload, timeout=5)

        @kernel.on(b)
        async def ask_c(message: hanse.Message) -> bytes:
            return b"b" + await kernel.ask(c, message.payload, timeout=5)

        kernel.on(c)(lambda message: b"c" + message.payload)

        async def main() -> bytes:
            return await kernel.ask(a, b"!", timeout=5)

        assert asyncio.run(main()) == b"abc!"


def test_run_drives_async_handlers_from_plain_python() -> None:
    with hanse.open() as kernel:
        a, b = (int(id) for id in kernel.agents.add_many(2))
        got: list[bytes] = []

        @kernel.on(a)
        async def handle(message: hanse.Message) -> None:
            got.append(await kernel.ask(b, message.payload, timeout=5))

        kernel.on(b)(lambda message: message.payload.upper())
        for word in (b"x", b"y"):
            kernel.send(a, word)
        assert kernel.run() == 4
        assert got == [b"X", b"Y"]


def test_run_inside_a_loop_is_refused() -> None:
    with hanse.open() as kernel:

        async def main() -> None:
            with pytest.raises(hanse.InvalidError) as caught:
                kernel.run()
            assert caught.value.name == "WrongThread"

        asyncio.run(main())


def test_an_ask_without_an_answer_times_out_once() -> None:
    with hanse.open() as kernel:
        me, worker = pair(kernel)

        async def main() -> None:
            with pytest.raises(hanse.TimedOutError) as caught:
                await me.ask(worker, b"anyone?", timeout=0.02)
            assert isinstance(caught.value, TimeoutError)
            assert caught.value.id == worker
            message = kernel.receive(worker)
            assert message is None or not kernel.reply(message, b"late")
            with pytest.raises(hanse.InvalidError):
                me.ask(worker, b"", timeout=0)

        asyncio.run(main())
        assert kernel.counters()["waiting_requests"] == 0


def test_a_pulled_request_is_answered_by_reply() -> None:
    with hanse.open() as kernel:
        me, worker = pair(kernel)

        async def main() -> bytes:
            reply = asyncio.ensure_future(me.ask(worker, b"q", timeout=5))
            message = kernel.receive(worker)
            assert message is not None
            assert message.kind == 1
            assert kernel.reply(message, b"a")
            assert not kernel.reply(message, b"again")
            return await reply

        assert asyncio.run(main()) == b"a"


def test_every_way_to_fail_ends_the_request(caplog: pytest.LogCaptureFixture) -> None:
    with hanse.open() as kernel:
        me, worker = pair(kernel)
        silent = kernel.agents.add("silent")
        answers: list[object] = [ValueError("bad"), "text"]

        @kernel.on(worker)
        def handle(message: hanse.Message) -> object:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        async def main() -> None:
            with caplog.at_level(logging.CRITICAL, "hanse"):
                for _ in range(2):
                    with pytest.raises(hanse.BusyError) as caught:
                        await me.ask(worker, b"", timeout=5)
                    assert caught.value.name == "Undeliverable"
            with pytest.raises(hanse.BusyError) as caught:
                me.ask(1 << 32 | 999, b"")
            assert caught.value.name == "Undeliverable"
            waiting = me.ask(silent, b"")
            kernel.agents.revoke(silent)
            with pytest.raises(hanse.BusyError) as caught:
                await waiting
            assert caught.value.name == "Undeliverable"
            late = me.ask(kernel.agents.add("late"), b"")
            kernel.close()
            with pytest.raises(hanse.BusyError) as caught:
                await late
            assert caught.value.name == "Cancelled"

        asyncio.run(main())


def test_a_cancelled_ask_is_forgotten() -> None:
    with hanse.open() as kernel:
        me, worker = pair(kernel)

        async def main() -> None:
            task = asyncio.ensure_future(me.ask(worker, b"", timeout=5))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert kernel.counters()["waiting_requests"] == 0

        asyncio.run(main())


def test_sends_inside_a_loop_reach_handlers_without_help() -> None:
    with hanse.open() as kernel:
        me, worker = pair(kernel)
        seen = []
        kernel.on(worker)(lambda message: seen.append(message.payload))

        async def main() -> None:
            kernel.attach()
            for i in range(3_000):
                if me.send(worker, b"%d" % i) == Outcome.full:
                    await asyncio.sleep(0)
                    assert me.send(worker, b"%d" % i) == Outcome.ok
            while len(seen) < 3_000:
                await asyncio.sleep(0)

        asyncio.run(main())
        assert seen == [b"%d" % i for i in range(3_000)]


def test_a_send_from_another_thread_wakes_the_loop() -> None:
    with hanse.open() as kernel:
        _, worker = pair(kernel)

        async def main() -> bytes:
            arrived = asyncio.get_running_loop().create_future()
            kernel.on(worker)(lambda message: arrived.set_result(message.payload))
            kernel.attach()
            await asyncio.sleep(0.01)
            await asyncio.to_thread(kernel.send, worker, b"from afar")
            return await asyncio.wait_for(arrived, 10)

        assert asyncio.run(main()) == b"from afar"


@pytest.mark.parametrize("durability", ["each", "batch", "memory"])
def test_dispatch_async_gives_durable_receipts_in_loop_after_loop(
    tmp_path: Path, durability: str
) -> None:
    directory = None if durability == "memory" else tmp_path
    with hanse.open(directory, durability=durability) as kernel:
        team = kernel.agents.add("team", kind="group")
        worker = kernel.agents.add("worker", parent=team)
        kernel.ledger.fund(team, 1_000)
        me = kernel.as_agent(team)

        async def main() -> None:
            receipts = await asyncio.gather(
                *(me.dispatch_async(to=worker, budget=1) for _ in range(50))
            )
            assert len({receipt.task for receipt in receipts}) == 50
            last = max(receipt.position or 0 for receipt in receipts)
            assert kernel.journal.durable_count > last

        for _ in range(3):
            asyncio.run(main())
        assert kernel.tasks.count() == 150


def test_a_refused_dispatch_async_raises_its_error(tmp_path: Path) -> None:
    with hanse.open(tmp_path) as kernel:
        me, worker = pair(kernel)
        kernel.ledger.fund(me.id, 5)

        async def main() -> None:
            with pytest.raises(hanse.BudgetError) as caught:
                await me.dispatch_async(to=worker, budget=10)
            assert caught.value.position is not None
            assert kernel.journal.durable_count > caught.value.position

        asyncio.run(main())


def test_a_task_dispatched_in_the_loop_reaches_an_async_worker(tmp_path: Path) -> None:
    with hanse.open(tmp_path) as kernel:
        me, worker = pair(kernel)
        kernel.ledger.fund(me.id, 100)
        done: list[int] = []

        @kernel.on(worker)
        async def work(message: hanse.Message) -> None:
            await asyncio.sleep(0)
            kernel.complete(message.task, artifact=message.payload.ljust(32, b"."))
            done.append(message.task)

        async def main() -> None:
            receipts = [
                await me.dispatch_async(to=worker, budget=5, payload=b"%d" % i) for i in range(5)
            ]
            while len(done) < 5:
                await asyncio.sleep(0.001)
            assert done == [receipt.task for receipt in receipts]
            assert me.accept_many(np.array(done, np.uint64)).tolist() == [0] * 5

        asyncio.run(asyncio.wait_for(main(), 20))


def test_two_loops_in_two_threads_dispatch_at_once(tmp_path: Path) -> None:
    with hanse.open(tmp_path) as kernel:
        me, worker = pair(kernel)
        kernel.ledger.fund(me.id, 1_000)

        async def main() -> list[hanse.Receipt]:
            return [await me.dispatch_async(to=worker, budget=1) for _ in range(20)]

        def run() -> list[hanse.Receipt]:
            return asyncio.run(main())

        with ThreadPoolExecutor(2) as pool:
            receipts = [r for part in pool.map(lambda _: run(), range(2)) for r in part]
        assert len({receipt.task for receipt in receipts}) == 40
        assert kernel.journal.durable_count == kernel.journal.count
