"""Requests: each ends in exactly one way, and cancelling reaches what was asked for its sake."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import hanse
from hanse import Outcome


@pytest.fixture
def kernel() -> Iterator[hanse.Kernel]:
    with hanse.open() as opened:
        yield opened


def ends(kernel: hanse.Kernel) -> dict[str, int]:
    counts = kernel.mailboxes.counters().requests
    assert counts["opened"] == sum(n for name, n in counts.items() if name != "opened")
    return counts


def test_a_reply_tells_how_it_stands(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")

    async def main() -> None:
        reply = kernel.ask(agent, b"q")
        assert isinstance(reply, hanse.Reply)
        assert (reply.done, reply.status, reply.to) == (False, "waiting", agent)
        with pytest.raises(RuntimeError):
            reply.result()
        message = kernel.receive(agent)
        assert message is not None
        assert (message.request, message.cancelled) == (reply.number, False)
        assert kernel.reply(message, b"a")
        assert message.cancelled
        assert (reply.done, reply.status, reply.result()) == (True, "reply", b"a")
        assert await reply == await reply == b"a"
        assert not reply.cancel()

    asyncio.run(main())
    assert ends(kernel)["replies"] == 1


def test_numbers_follow_from_the_seed_and_can_not_be_guessed() -> None:
    def numbers(seed: int) -> list[int]:
        async def main() -> list[int]:
            agent = kernel.agents.add("one")
            return [kernel.ask(agent, b"").number for _ in range(50)]

        with hanse.open(seed=seed) as kernel:
            return asyncio.run(main())

    assert numbers(5) == numbers(5)
    assert not set(numbers(5)) & set(numbers(6))
    assert not set(numbers(0)) & set(numbers(0))


def test_a_number_is_answered_once_and_a_made_up_one_never(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")

    async def main() -> None:
        reply = kernel.ask(agent, b"q")
        for wrong in (reply.number ^ 1 << 40, reply.number + 1, 0, 1, (1 << 64) - 1):
            assert not kernel.reply(wrong, b"forged")
        assert kernel.reply(reply.number, b"true")
        assert not kernel.reply(reply.number, b"again")
        assert await reply == b"true"
        for bad in (-1, "x", None, 1.5):
            with pytest.raises(hanse.InvalidError):
                kernel.reply(bad, b"")  # type: ignore[arg-type]
        with pytest.raises(hanse.InvalidError) as caught:
            kernel.reply(1, bytes((16 << 20) + 1))
        assert caught.value.name == "PayloadTooLarge"

    asyncio.run(main())


def test_cancelling_who_waits_takes_the_message_out_of_the_box(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")

    async def main() -> None:
        task = asyncio.ensure_future(kernel.ask(agent, b"q"))
        await asyncio.sleep(0)
        assert kernel.mailboxes.box(agent).queued == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert kernel.receive(agent) is None

    asyncio.run(main())
    counts = kernel.mailboxes.counters()
    assert (counts.accepted, counts.cancelled) == (1, 1)
    assert ends(kernel)["cancelled"] == 1


def test_one_of_two_that_wait_may_be_cancelled(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")

    async def main() -> None:
        reply = kernel.ask(agent, b"q")
        first, second = asyncio.ensure_future(reply), asyncio.ensure_future(reply)
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        assert reply.status == "waiting"
        message = kernel.receive(agent)
        assert message is not None
        kernel.reply(message, b"a")
        assert await second == b"a"

    asyncio.run(main())


def test_cancelling_travels_to_what_handlers_asked(kernel: hanse.Kernel) -> None:
    a, b, c = (int(id) for id in kernel.agents.add_many(3))
    held: list[hanse.Message] = []
    ended: list[str] = []

    def passing_on(to: int):  # type: ignore[no-untyped-def]
        async def handle(message: hanse.Message) -> bytes:
            held.append(message)
            try:
                return await kernel.ask(to, message.payload)
            except hanse.BusyError as error:
                ended.append(error.name)
                assert message.cancelled
                raise

        return handle

    kernel.on(a)(passing_on(b))
    kernel.on(b)(passing_on(c))

    async def main() -> None:
        reply = kernel.ask(a, b"q")
        while len(held) < 2:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)  # c has no handler: what it was asked is kept for receive
        assert not any(message.cancelled for message in held)
        assert reply.cancel()
        assert reply.status == "cancelled"
        assert kernel.receive(c) is None
        with pytest.raises(hanse.BusyError) as caught:
            await reply
        assert caught.value.name == "Cancelled"
        while len(ended) < 2:
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert ended == ["Cancelled", "Cancelled"]
    assert ends(kernel)["cancelled"] == 3
    counts = kernel.mailboxes.counters()
    assert counts.cancelled + counts.dead_by_reason.get(Outcome.cancelled, 0) == 1
    assert counts.handled == 2


def test_a_timeout_travels_too(kernel: hanse.Kernel) -> None:
    a, b = (int(id) for id in kernel.agents.add_many(2))

    @kernel.on(a)
    async def handle(message: hanse.Message) -> bytes:
        return await kernel.ask(b, b"")

    async def main() -> None:
        with pytest.raises(hanse.TimedOutError):
            await kernel.ask(a, b"q", timeout=0.02)
        await asyncio.sleep(0)
        assert kernel.receive(b) is None

    asyncio.run(main())
    assert ends(kernel)["expired"] == 2


def test_an_ask_inside_a_plain_handler_belongs_to_its_request(kernel: hanse.Kernel) -> None:
    a, b = (int(id) for id in kernel.agents.add_many(2))
    inner: list[hanse.Reply] = []

    @kernel.on(a)
    async def outer(message: hanse.Message) -> bytes:
        relay = kernel.as_agent(a)
        inner.append(relay.ask(b, b""))
        await asyncio.sleep(60)
        return b""

    async def main() -> None:
        reply = kernel.ask(a, b"q")
        while not inner:
            await asyncio.sleep(0)
        reply.cancel()
        assert inner[0].status == "cancelled"

    asyncio.run(main())


def test_a_dropped_request_is_undeliverable(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    kernel.mailboxes.configure(agent, capacity=1, policy="drop_oldest")

    async def main() -> None:
        first = kernel.ask(agent, b"1")
        second = kernel.ask(agent, b"2")
        with pytest.raises(hanse.BusyError) as caught:
            await asyncio.wait_for(first, 10)
        assert caught.value.name == "Undeliverable"
        assert kernel.reply(second.number, b"")
        kernel.mailboxes.configure(agent, policy="drop_newest")
        with pytest.raises(hanse.BusyError):
            await kernel.ask(agent, b"3")

    asyncio.run(main())
    assert ends(kernel)["undeliverable"] == 2


@pytest.mark.parametrize("timeout", [0, -1, "1", True, float("nan"), float("inf"), 1 << 2000])
def test_a_timeout_that_is_none_is_refused(kernel: hanse.Kernel, timeout: float) -> None:
    agent = kernel.agents.add("one")

    async def main() -> None:
        with pytest.raises(hanse.InvalidError):
            kernel.ask(agent, b"", timeout=timeout)

    asyncio.run(main())
    assert kernel.counters()["accepted"] == 0


def test_ask_outside_of_a_loop_is_refused(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    with pytest.raises(hanse.InvalidError) as caught:
        kernel.ask(agent, b"")
    assert caught.value.name == "WrongThread"
    assert ends(kernel)["opened"] == 0


def test_many_are_asked_at_once(kernel: hanse.Kernel) -> None:
    ids = kernel.agents.add_many(20)
    kernel.on(ids[:10])(lambda message: message.payload + b"!")

    @kernel.on(ids[10:])
    async def slowly(message: hanse.Message) -> bytes:
        await asyncio.sleep(0)
        return message.payload + b"?"

    async def main() -> None:
        replies = await kernel.ask_many(ids, [b"%d" % i for i in range(20)], timeout=10)
        assert replies.outcomes.dtype == np.uint8
        assert replies.outcomes.tolist() == [Outcome.ok] * 20
        assert replies.payloads == [b"%d%c" % (i, b"!?"[i >= 10]) for i in range(20)]
        same = await kernel.ask_many(ids, b"x")
        assert same.ok_count == len(same) == 20

    asyncio.run(main())
    assert ends(kernel)["replies"] == 40


def test_a_quorum_is_enough_and_the_rest_is_cancelled(kernel: hanse.Kernel) -> None:
    ids = kernel.agents.add_many(10)
    kernel.on(ids[:3])(lambda message: b"yes")

    async def main() -> None:
        replies = await kernel.ask_many(ids, b"vote", quorum=3)
        assert replies.ok_count == 3
        assert replies.outcomes.tolist() == [Outcome.ok] * 3 + [Outcome.cancelled] * 7
        assert (await kernel.ask_many(ids, b"vote", quorum=0)).ok_count == 3
        assert all(kernel.mailboxes.box(int(id)).queued == 0 for id in ids)

    asyncio.run(main())


def test_a_quorum_that_can_not_be_reached_ends_early(
    kernel: hanse.Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    ids = kernel.agents.add_many(4)
    revoked = kernel.agents.add("revoked")
    kernel.agents.revoke(revoked)

    @kernel.on(ids[:2])
    def fail(message: hanse.Message) -> bytes:
        raise ValueError("no")

    async def main() -> None:
        to = np.array([*ids, revoked, 1 << 32 | 999], np.uint64)
        with caplog.at_level(logging.CRITICAL, "hanse"):
            replies = await asyncio.wait_for(kernel.ask_many(to, b"", quorum=3), 10)
        gone = [Outcome.undeliverable] * 2
        assert replies.outcomes.tolist() == [Outcome.aborted] * 2 + [Outcome.cancelled] * 2 + gone
        assert replies.payloads == [None] * 6

    asyncio.run(main())


def test_some_of_many_time_out(kernel: hanse.Kernel) -> None:
    ids = kernel.agents.add_many(3)
    kernel.on(int(ids[1]))(lambda message: b"here")

    async def main() -> None:
        replies = await kernel.ask_many(ids, b"", timeout=0.02)
        assert replies.outcomes.tolist() == [Outcome.expired, Outcome.ok, Outcome.expired]

    asyncio.run(main())


def test_bad_arguments_of_ask_many_ask_no_one(kernel: hanse.Kernel) -> None:
    ids = kernel.agents.add_many(3)

    async def main() -> None:
        for payloads, quorum in (([b""] * 2, None), (b"", 4), (b"", -1), (b"", "x"), (b"", True)):
            with pytest.raises(hanse.InvalidError):
                kernel.ask_many(ids, payloads, quorum=quorum)  # type: ignore[arg-type]

    asyncio.run(main())
    assert ends(kernel)["opened"] == 0


def test_cancelling_who_waits_for_many_cancels_all(kernel: hanse.Kernel) -> None:
    ids = kernel.agents.add_many(5)

    async def main() -> None:
        task = asyncio.ensure_future(kernel.ask_many(ids, b""))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ends(kernel)["cancelled"] == 5
    assert kernel.counters()["queued"] == 0


def test_a_reply_from_another_thread_wakes_the_loop(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")

    async def main() -> bytes:
        reply = kernel.ask(agent, b"q")
        with ThreadPoolExecutor(1) as pool:
            waiting = asyncio.ensure_future(reply)
            await asyncio.sleep(0)
            pool.submit(kernel.reply, reply.number, b"from afar")
            return await asyncio.wait_for(waiting, 10)

    assert asyncio.run(main()) == b"from afar"


def test_an_interrupted_handler_ends_its_request(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    replies: list[hanse.Reply] = []

    @kernel.on(agent)
    def interrupt(message: hanse.Message) -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        kernel.send(agent, b"first in line, so that the request waits for a turn")
        replies.append(kernel.ask(agent, b""))
        await replies[0]

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert ends(kernel)["waiting"] <= 1
    kernel.close()
    assert replies[0].done


@pytest.mark.parametrize("seed", range(8))
def test_every_request_ends_once_whatever_happens(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(seed)
    caplog.set_level(logging.CRITICAL, "hanse")
    with hanse.open(seed=seed + 1) as kernel:
        ids = [int(id) for id in kernel.agents.add_many(8)]
        for agent in ids[:2]:
            kernel.mailboxes.configure(agent, capacity=2, policy="drop_oldest")

        def plain(message: hanse.Message) -> bytes:
            if rng.random() < 0.2:
                raise ValueError("no")
            return message.payload

        async def passing_on(message: hanse.Message) -> bytes:
            if rng.random() < 0.3:
                await asyncio.sleep(0)
            if rng.random() < 0.5:
                return await kernel.ask(rng.choice(ids), message.payload, timeout=0.05)
            return b""

        kernel.on(ids[2:4])(plain)
        kernel.on(ids[4:7])(passing_on)
        seen: dict[int, str] = {}

        async def one() -> None:
            try:
                reply = kernel.ask(rng.choice(ids), b"x", timeout=rng.choice([0.01, 0.05]))
            except hanse.BusyError:
                return
            try:
                await reply
            except hanse.BusyError:
                pass
            finally:
                assert seen.setdefault(reply.number, reply.status) == reply.status
                assert reply.done

        async def main() -> None:
            tasks = [asyncio.create_task(one()) for _ in range(300)]
            for task in rng.sample(tasks, 60):
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
            kernel.agents.revoke(ids[7])
            while (
                ends(kernel)["waiting"]
                or kernel._handlers._tasks
                or kernel.counters()["kept"]
                or any(kernel.mailboxes.box(agent).queued for agent in ids[2:7])
            ):
                await asyncio.sleep(0.01)

        asyncio.run(main())
        counts = ends(kernel)
        assert counts["waiting"] == 0
        assert set(seen.values()) <= {"reply", "error", "cancelled", "expired", "undeliverable"}
        total = kernel.mailboxes.counters()
        assert total.accepted == (
            total.handled + total.expired + total.cancelled + total.dead + total.queued
        )
