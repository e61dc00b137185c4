"""mailbox: how long does a question wait, what does waiting cost, and whom does one hold up?"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import numpy as np

import hanse
from bench.bench_mailbox import AGENTS, PAYLOAD_BYTES, forwards, owned, population
from bench.case import Contest, Settings, case, peer, rate
from bench.mailbox_peers.contenders import runtimes


async def times(one: Callable[[], Any], count: int) -> float:
    """Median of `count` awaits in microseconds."""
    taken = []
    for _ in range(count):
        start = time.perf_counter_ns()
        await one()
        taken.append(time.perf_counter_ns() - start)
    return float(np.median(taken)) / 1e3


@contextlib.contextmanager
def ask_population(agents: int, settings: Settings) -> Iterator[Contest]:
    """Each request goes to a random one of so many agents."""
    count = settings.size(5_000, 100)
    question = bytes(PAYLOAD_BYTES)
    with owned() as kernel, asyncio.Runner() as runner:
        ids = population(kernel, agents)
        worker = int(ids[0])
        next_worker = cycle(forwards(ids, min(65_536, agents)).tolist()).__next__

        @kernel.on(ids)
        def answer(message: hanse.Message) -> bytes:
            return message.payload[::-1]

        async def asked() -> float:
            return await times(lambda: kernel.ask(next_worker(), question), count)

        async def queued() -> float:
            requests: asyncio.Queue[bytes] = asyncio.Queue()
            replies: asyncio.Queue[bytes] = asyncio.Queue()

            async def serve() -> None:
                while True:
                    replies.put_nowait((await requests.get())[::-1])

            async def one() -> bytes:
                requests.put_nowait(question)
                return await replies.get()

            server = asyncio.create_task(serve())
            value = await times(one, count)
            server.cancel()
            return value

        async def ready() -> bytes:
            return question

        async def bare() -> float:
            return await times(ready, count)

        async def replied() -> bytes:
            return await kernel.ask(worker, b"abc")

        def check() -> None:
            assert runner.run(replied()) == b"cba"

        yield Contest(
            hanse=lambda: runner.run(asked()),
            check=check,
            peers=[
                peer("asyncio.Queue pair", lambda: runner.run(queued())),
                *runtimes("pingpong", settings, 1, count),
            ],
            limit="awaiting a coroutine that is ready",
            limit_sample=lambda: runner.run(bare()),
        )


@case("mailbox", "µs p50", "lower")
@contextlib.contextmanager
def ask(settings: Settings) -> Iterator[Contest]:
    """How long does a request and its reply take inside one event loop?"""
    with ask_population(1, settings) as contest:
        yield contest


@case("mailbox", "µs p50", "lower")
@contextlib.contextmanager
def ask_10k(settings: Settings) -> Iterator[Contest]:
    """To a random one of 10,000 agents? The peers have a pair each, here and below."""
    with ask_population(settings.size(AGENTS, 500), settings) as contest:
        yield contest


@case("mailbox", "µs p50", "lower")
@contextlib.contextmanager
def ask_1m(settings: Settings) -> Iterator[Contest]:
    """To a random one of a million?"""
    with ask_population(settings.size(1_000_000, 1_000), settings) as contest:
        yield contest


@case("mailbox", "µs p50", "lower", long=True)
@contextlib.contextmanager
def ask_10m(settings: Settings) -> Iterator[Contest]:
    """To a random one of ten million?"""
    with ask_population(settings.size(10_000_000, 1_000), settings) as contest:
        yield contest


@case("mailbox", "µs p50", "lower")
@contextlib.contextmanager
def ask_async(settings: Settings) -> Iterator[Contest]:
    """How long does it take where the handler is a coroutine that awaits a turn of the loop?"""
    count = settings.size(5_000, 100)
    question = bytes(PAYLOAD_BYTES)
    with owned() as kernel, asyncio.Runner() as runner:
        at_once, later = (int(agent) for agent in kernel.agents.add_many(2))

        @kernel.on(at_once)
        async def answer(message: hanse.Message) -> bytes:
            return message.payload[::-1]

        @kernel.on(later)
        async def answer_later(message: hanse.Message) -> bytes:
            await asyncio.sleep(0)
            return message.payload[::-1]

        async def asked(worker: int) -> float:
            return await times(lambda: kernel.ask(worker, question), count)

        async def turned() -> float:
            return await times(lambda: asyncio.sleep(0), count)

        async def in_tasks() -> float:
            async def one() -> bytes:
                await asyncio.sleep(0)
                return question[::-1]

            return await times(lambda: asyncio.create_task(one()), count)

        async def replied(worker: int) -> bytes:
            return await kernel.ask(worker, b"abc")

        def check() -> None:
            assert runner.run(replied(at_once)) == runner.run(replied(later)) == b"cba"

        yield Contest(
            hanse=lambda: runner.run(asked(later)),
            check=check,
            peers=[
                peer("the same, awaits nothing", lambda: runner.run(asked(at_once))),
                peer("an asyncio task alone", lambda: runner.run(in_tasks())),
            ],
            limit="a turn of the loop",
            limit_sample=lambda: runner.run(turned()),
        )


@contextlib.contextmanager
def idle_population(agents: int, settings: Settings) -> Iterator[Contest]:
    """What each of so many agents' mailboxes holds."""

    def used() -> float:
        with owned() as kernel:
            before = kernel.memory()["mailboxes"]
            population(kernel, agents)
            kernel.drain()  # the boxes are made by the thread that owns them
            return (kernel.memory()["mailboxes"] - before) / agents

    def check() -> None:
        with owned() as kernel:
            last = int(population(kernel, agents)[-1])
            assert kernel.send(last, b"awake") == hanse.Outcome.ok
            message = kernel.receive(last)
            assert message is not None
            assert message.payload == b"awake"

    yield Contest(
        hanse=used,
        check=check,
        peers=runtimes("idle", settings, agents, 1),
        limit="one cache line",
        limit_sample=64.0,
    )


@case("mailbox", "bytes an agent", "lower")
@contextlib.contextmanager
def idle_10k(settings: Settings) -> Iterator[Contest]:
    """What does an agent's mailbox hold of memory while it has nothing to do, of 10,000?"""
    with idle_population(settings.size(AGENTS, 1_000), settings) as contest:
        yield contest


@case("mailbox", "bytes an agent", "lower", long=True)
@contextlib.contextmanager
def idle_100k(settings: Settings) -> Iterator[Contest]:
    """Of a hundred thousand?"""
    with idle_population(settings.size(100_000, 1_000), settings) as contest:
        yield contest


@case("mailbox", "bytes an agent", "lower")
@contextlib.contextmanager
def idle(settings: Settings) -> Iterator[Contest]:
    """Of a million?"""
    with idle_population(settings.size(1_000_000, 2_000), settings) as contest:
        yield contest


@case("mailbox", "bytes an agent", "lower", long=True)
@contextlib.contextmanager
def idle_10m(settings: Settings) -> Iterator[Contest]:
    """Of ten million?"""
    with idle_population(settings.size(10_000_000, 2_000), settings) as contest:
        yield contest


@contextlib.contextmanager
def slow_population(agents: int, settings: Settings) -> Iterator[Contest]:
    """All but one agent handle what comes round robin; that one handles nothing."""
    capacity = 64
    count = settings.size(max(500_000, min(agents, 1_000_000)), 5_000)
    payload = bytes(PAYLOAD_BYTES)
    with owned() as kernel:
        ids = population(kernel, agents)
        kernel.mailboxes.configure(ids[:1], capacity=capacity, policy="reject")
        handled = 0

        @kernel.on(ids[1:])
        def count_one(message: hanse.Message) -> None:
            nonlocal handled
            handled += 1

        targets = np.resize(ids, count).tolist()
        wanted = count - len(range(0, count, agents))

        def work() -> int:
            send, refused = kernel.send, 0
            for first in range(0, count, 1024):
                for to in targets[first : first + 1024]:
                    refused += send(to, payload) == hanse.Outcome.full
                kernel.run()
            while kernel.receive(int(ids[0])) is not None:
                pass
            return refused

        def check() -> None:
            refused = work()
            assert handled == wanted
            assert refused >= count - wanted - capacity - 1024 // agents - 1

        yield Contest(
            hanse=rate(wanted, work, 1e6),
            check=check,
            peers=runtimes("slow", settings, agents, count, 1e6),
        )


@case("mailbox", "M messages/s", "higher")
@contextlib.contextmanager
def slow(settings: Settings) -> Iterator[Contest]:
    """How fast do 1,000 others handle what comes round robin while one agent handles nothing?"""
    with slow_population(settings.size(1_000, 100), settings) as contest:
        yield contest


@case("mailbox", "M messages/s", "higher")
@contextlib.contextmanager
def slow_10k(settings: Settings) -> Iterator[Contest]:
    """Ten thousand others?"""
    with slow_population(settings.size(AGENTS, 200), settings) as contest:
        yield contest


@case("mailbox", "M messages/s", "higher", long=True)
@contextlib.contextmanager
def slow_100k(settings: Settings) -> Iterator[Contest]:
    """A hundred thousand others?"""
    with slow_population(settings.size(100_000, 200), settings) as contest:
        yield contest


@case("mailbox", "M messages/s", "higher", long=True)
@contextlib.contextmanager
def slow_1m(settings: Settings) -> Iterator[Contest]:
    """A million others?"""
    with slow_population(settings.size(1_000_000, 200), settings) as contest:
        yield contest


@case("mailbox", "M messages/s", "higher", long=True)
@contextlib.contextmanager
def slow_10m(settings: Settings) -> Iterator[Contest]:
    """Ten million others?"""
    with slow_population(settings.size(10_000_000, 200), settings) as contest:
        yield contest
