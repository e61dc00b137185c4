"""Event loops that are not asyncio's own, uvloop and trio, and threads without one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import hanse
from hanse import Outcome


@pytest.fixture
def kernel() -> Iterator[hanse.Kernel]:
    with hanse.open() as opened:
        yield opened


def send_from_threads(kernel: hanse.Kernel, agent: int, count: int) -> list[threading.Thread]:
    def send(first: int) -> None:
        for i in range(count):
            assert kernel.send(agent, b"%d" % (first + i)) == Outcome.ok

    threads = [threading.Thread(target=send, args=(k * count,)) for k in range(4)]
    for thread in threads:
        thread.start()
    return threads


# --- uvloop


def test_uvloop_drives_handlers_and_requests(kernel: hanse.Kernel) -> None:
    uvloop = pytest.importorskip("uvloop")
    plain, slow = kernel.agents.add("plain"), kernel.agents.add("slow")

    @kernel.on(plain)
    def answer(message: hanse.Message) -> bytes:
        return message.payload[::-1]

    @kernel.on(slow)
    async def answer_later(message: hanse.Message) -> bytes:
        await asyncio.sleep(0.001)
        return (await kernel.ask(plain, message.payload)) + b"!"

    async def main() -> list[bytes]:
        assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        replies = await kernel.ask_many([plain, slow, plain], [b"ab", b"cd", b"ef"], timeout=20)
        return [payload or b"" for payload in replies.payloads]

    assert uvloop.run(main()) == [b"ba", b"dc!", b"fe"]


def test_uvloop_is_woken_by_other_threads_and_loses_nothing(kernel: hanse.Kernel) -> None:
    uvloop = pytest.importorskip("uvloop")
    agent = kernel.agents.add("one")
    got: list[int] = []

    async def main() -> None:
        done = asyncio.Event()

        @kernel.on(agent)
        def take(message: hanse.Message) -> None:
            got.append(int(message.payload))
            if len(got) == 400:
                done.set()

        kernel.attach()
        threads = send_from_threads(kernel, agent, 100)
        await asyncio.wait_for(done.wait(), 20)
        for thread in threads:
            thread.join()

    uvloop.run(main())
    assert sorted(got) == list(range(400))
    for first in range(0, 400, 100):  # in order for each sender
        own = [number for number in got if first <= number < first + 100]
        assert own == sorted(own)


def test_a_request_expires_under_uvloop(kernel: hanse.Kernel) -> None:
    uvloop = pytest.importorskip("uvloop")
    agent = kernel.agents.add("mute")

    async def main() -> None:
        with pytest.raises(hanse.TimedOutError):
            await kernel.ask(agent, b"x", timeout=0.02)

    uvloop.run(main())
    assert kernel.mailboxes.counters().requests["expired"] == 1


# --- trio


def test_trio_waits_for_the_kernels_descriptor(kernel: hanse.Kernel) -> None:
    trio = pytest.importorskip("trio")
    agent = kernel.agents.add("one")
    got: list[int] = []
    ticks = 0

    @kernel.on(agent)
    def take(message: hanse.Message) -> None:
        got.append(int(message.payload))

    async def drive() -> None:
        fd = kernel.fileno()
        while len(got) < 400:
            kernel.run(max_messages=64)
            if len(got) < 400:
                await trio.lowlevel.wait_readable(fd)

    async def tick() -> None:
        nonlocal ticks
        while len(got) < 400:
            ticks += 1
            await trio.sleep(0)

    async def main() -> None:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drive)
                nursery.start_soon(tick)
                await trio.to_thread.run_sync(
                    lambda: [one.join() for one in send_from_threads(kernel, agent, 100)]
                )

    trio.run(main)
    assert sorted(got) == list(range(400))
    assert ticks > 1


def test_trio_is_told_of_what_another_shard_sends() -> None:
    trio = pytest.importorskip("trio")
    with hanse.open(shards=2) as kernel:
        kernel.drain()
        group = kernel.agents.add("there", kind="group")
        kernel.shards.place(group, 1)
        there, here = kernel.agents.add("echo", parent=group), kernel.agents.add("here")

        def echo(batch: hanse.Batch) -> None:
            kernel.send_many(np.full(len(batch), here, np.uint64), batch.payload)

        thread = threading.Thread(target=lambda: kernel.shards.run(1, echo))
        thread.start()

        async def main() -> list[bytes]:
            got = []
            fd = kernel.fileno()
            with trio.fail_after(20):
                for i in range(20):
                    kernel.send(there, bytes([i]))
                    while (message := kernel.receive(here)) is None:
                        await trio.lowlevel.wait_readable(fd)
                        kernel.run()
                    got.append(message.payload[:1])
            return got

        assert trio.run(main) == [bytes([i]) for i in range(20)]
        kernel.shards.stop()
        thread.join()


# --- no loop at all


def test_a_plain_thread_receives_as_messages_come(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    kernel.drain()
    threads = send_from_threads(kernel, agent, 50)
    got = []
    while len(got) < 200:
        message = kernel.receive(agent, timeout=20)
        assert message is not None
        got.append(int(message.payload))
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(200))
    assert kernel.receive(agent, timeout=0.01) is None
