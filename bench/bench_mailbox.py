"""mailbox: what does a message between two agents of one process cost?"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import cycle

import numpy as np
import numpy.typing as npt

import hanse
from bench.case import Contest, Sample, Settings, case, each, peer, rate
from bench.mailbox_peers.contenders import runtimes

AGENTS = 10_000
PAYLOAD_BYTES = 64
SEED = 7
Ids = npt.NDArray[np.uint64]


def forwards(ids: Ids, count: int) -> Ids:
    """Where the next `count` messages go: a random agent each, chosen before the clock starts."""
    chosen: Ids = ids[np.random.default_rng(SEED).integers(0, len(ids), count)]
    return chosen


def tokens(count: int) -> npt.NDArray[np.uint8]:
    """`count` payloads of 64 bytes that can be told apart."""
    payloads = np.zeros((count, PAYLOAD_BYTES), np.uint8)
    payloads[:, :8] = np.arange(count, dtype="<u8")[:, None].view(np.uint8)
    return payloads


@contextlib.contextmanager
def owned() -> Iterator[hanse.Kernel]:
    """A kernel in memory whose boxes belong to this thread: its first drain makes it the owner."""
    with hanse.open() as kernel:
        kernel.drain()
        yield kernel


def population(kernel: hanse.Kernel, agents: int) -> Ids:
    """So many agents; one call adds at most a million."""
    step = 1_000_000
    return np.concatenate(
        [kernel.agents.add_many(min(step, agents - i)) for i in range(0, agents, step)]
    )


def put_in(kernel: hanse.Kernel, ids: Ids, payloads: npt.NDArray[np.uint8]) -> None:
    outcomes = kernel.send_many(forwards(ids, len(payloads)), payloads)
    assert not np.any(outcomes), "a token was refused at the start"


def drained(kernel: hanse.Kernel, count_max: int) -> npt.NDArray[np.uint8]:
    """Everything that is queued; fails where more than `count_max` come out."""
    parts: list[npt.NDArray[np.uint8]] = []
    while len(batch := kernel.drain(max_messages=16_384).payload):
        parts.append(np.array(batch))
        assert sum(map(len, parts)) <= count_max, "a message was doubled"
    return np.concatenate(parts) if parts else np.empty((0, PAYLOAD_BYTES), np.uint8)


def check_tokens(kernel: hanse.Kernel, payloads: npt.NDArray[np.uint8]) -> None:
    """Every token is queued once, byte for byte."""
    found = drained(kernel, len(payloads))
    numbers = np.sort(found[:, :8].copy().view("<u8").ravel())
    np.testing.assert_array_equal(numbers, np.arange(len(payloads)))
    np.testing.assert_array_equal(found[:, 8:], 0)


def asyncio_storm(agents: int, in_flight: int, count: int) -> Sample:
    """A queue and a coroutine an agent, each forwarding what it gets: messages a second / 1e6."""

    async def storm() -> float:
        queues: list[asyncio.Queue[bytes]] = [asyncio.Queue() for _ in range(agents)]
        targets = cycle(np.random.default_rng(SEED).integers(0, agents, 65_536).tolist())
        done = asyncio.Event()
        handled = 0

        async def agent(own: asyncio.Queue[bytes]) -> None:
            nonlocal handled
            while True:
                token = await own.get()
                handled += 1
                if handled >= count:
                    done.set()
                queues[next(targets)].put_nowait(token)

        running = [asyncio.create_task(agent(queue)) for queue in queues]
        await asyncio.sleep(0)
        start = time.perf_counter_ns()
        for i in range(in_flight):
            queues[i % agents].put_nowait(bytes(PAYLOAD_BYTES))
        await done.wait()
        taken_ns = time.perf_counter_ns() - start
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return handled / (taken_ns / 1e9) / 1e6

    return lambda: asyncio.run(storm())


@contextlib.contextmanager
def handler_storm(agents: int, count: int, settings: Settings) -> Iterator[Contest]:
    """One Python handler call a message: each forwards its token to a random other agent."""
    in_flight = min(agents, 10_000)
    with owned() as kernel:
        ids = population(kernel, agents)
        next_target = cycle(forwards(ids, 65_536).tolist()).__next__
        send = kernel.send
        handled = 0

        @kernel.on(ids)
        def forward(message: hanse.Message) -> None:
            nonlocal handled
            handled += 1
            send(next_target(), message.payload)

        payloads = tokens(in_flight)
        put_in(kernel, ids, payloads)

        def check() -> None:
            assert kernel.run(max_messages=count) == count == handled

        body = [0]

        def bare() -> None:
            for _ in range(count):
                forward_bare(body)

        def forward_bare(seen: list[int]) -> None:
            seen[0] += 1
            next_target()

        yield Contest(
            hanse=rate(count, lambda: kernel.run(max_messages=count), 1e6),
            check=check,
            peers=runtimes("storm", settings, agents, count, 1e6),
            limit="the handler's body called in a loop",
            limit_sample=rate(count, bare, 1e6),
        )


@case("mailbox", "M messages/s", "higher")
@contextlib.contextmanager
def handler(settings: Settings) -> Iterator[Contest]:
    """How fast do 10,000 agents forward 64-byte tokens, one Python handler call a message?"""
    agents, count = settings.size(AGENTS, 500), settings.size(500_000, 5_000)
    with handler_storm(agents, count, settings) as contest:
        yield contest


@case("mailbox", "M messages/s", "higher")
@contextlib.contextmanager
def handler_100k(settings: Settings) -> Iterator[Contest]:
    """The same with a hundred thousand agents; a peer has as many as it bears."""
    agents, count = settings.size(100_000, 1_000), settings.size(500_000, 5_000)
    with handler_storm(agents, count, settings) as contest:
        yield contest


@case("mailbox", "M messages/s", "higher")
@contextlib.contextmanager
def handler_1m(settings: Settings) -> Iterator[Contest]:
    """The same with a million agents."""
    agents, count = settings.size(1_000_000, 2_000), settings.size(500_000, 5_000)
    with handler_storm(agents, count, settings) as contest:
        yield contest


@case("mailbox", "M messages/s", "higher", long=True)
@contextlib.contextmanager
def handler_10m(settings: Settings) -> Iterator[Contest]:
    """The same with ten million agents."""
    agents, count = settings.size(10_000_000, 5_000), settings.size(500_000, 5_000)
    with handler_storm(agents, count, settings) as contest:
        yield contest


@contextlib.contextmanager
def batch_storm(agents: int, in_flight: int, turns: int, settings: Settings) -> Iterator[Contest]:
    """Numpy batches of 16,384, forwarded to targets that were chosen before the clock starts."""
    batch_max = 16_384
    per_turn = min(batch_max, in_flight)
    with owned() as kernel:
        ids = population(kernel, agents)
        # As many targets as there are messages, so that every agent is meant by some.
        targets = forwards(ids, max(batch_max * 8, in_flight))
        payloads = tokens(in_flight)
        starts = [i * batch_max % (len(targets) - batch_max + 1) for i in range(turns)]

        def put_all_in() -> None:
            for i in range(0, in_flight, batch_max):
                outcomes = kernel.send_many(
                    targets[i : i + len(payloads[i : i + batch_max])], payloads[i : i + batch_max]
                )
                assert not np.any(outcomes), "a token was refused at the start"

        def storm() -> int:
            moved = 0
            for start in starts:
                got = kernel.drain(max_messages=batch_max)
                count = len(got.sender)
                kernel.send_many(targets[start : start + count], got.payload)
                moved += count
            return moved

        def check() -> None:
            assert storm() == turns * per_turn
            check_tokens(kernel, payloads)
            put_all_in()

        put_all_in()
        plain = targets[:in_flight].astype(np.uint32)
        copied = np.empty_like(payloads)
        copy_by_receiver = hanse._core.copy_by_receiver
        copy_by_receiver(plain, len(ids) + 1, payloads, copied)
        np.testing.assert_array_equal(copied, payloads[np.argsort(plain, kind="stable")])
        # As the storm: what is sent was drained just before, and is drained to where it was.
        in_batches = plain[: in_flight // per_turn * per_turn]
        rows, out = payloads[:per_turn].copy(), np.empty((per_turn, PAYLOAD_BYTES), np.uint8)

        def partition() -> None:
            copy_by_receiver(in_batches, len(ids) + 1, rows, out)

        count = turns * per_turn
        few = settings.size(AGENTS, 500)
        yield Contest(
            hanse=rate(count, storm, 1e6),
            check=check,
            peers=[peer("asyncio.Queue", asyncio_storm(few, few, min(count, 100_000)))],
            limit="the rows copied to buckets, sorted by receiver, copied out, in C++",
            limit_sample=rate(len(in_batches), partition, 1e6),
        )


@case("mailbox", "M messages/s", "higher")
@contextlib.contextmanager
def batch(settings: Settings) -> Iterator[Contest]:
    """How fast do 10,000 agents forward 64-byte tokens in numpy batches, targets precomputed?"""
    agents, in_flight = settings.size(AGENTS, 500), settings.size(65_536, 1_000)
    with batch_storm(agents, in_flight, settings.size(128, 4), settings) as contest:
        yield contest


@case("mailbox", "M messages/s", "higher")
@contextlib.contextmanager
def batch_100k(settings: Settings) -> Iterator[Contest]:
    """The same with a hundred thousand agents and as many tokens; the peer has 10,000 of each."""
    agents, in_flight = settings.size(100_000, 2_000), settings.size(131_072, 2_000)
    with batch_storm(agents, in_flight, settings.size(128, 4), settings) as contest:
        yield contest


@case("mailbox", "M messages/s", "higher")
@contextlib.contextmanager
def batch_1m(settings: Settings) -> Iterator[Contest]:
    """The same with a million agents and as many tokens; the peer has 10,000 of each."""
    agents, in_flight = settings.size(1_000_000, 20_000), settings.size(1_048_576, 20_000)
    with batch_storm(agents, in_flight, settings.size(128, 4), settings) as contest:
        yield contest


@case("mailbox", "M messages/s", "higher")
@contextlib.contextmanager
def batch_10m(settings: Settings) -> Iterator[Contest]:
    """The same with ten million agents and two million tokens; the peer has 10,000 of each."""
    agents, in_flight = settings.size(10_000_000, 50_000), settings.size(2_000_000, 20_000)
    with batch_storm(agents, in_flight, settings.size(256, 4), settings) as contest:
        yield contest


@case("mailbox", "ns", "lower")
@contextlib.contextmanager
def send(settings: Settings) -> Iterator[Contest]:
    """What does one `send(to, payload)` of 64 bytes cost from Python?"""
    agents, count = settings.size(AGENTS, 500), settings.size(200_000, 2_000)
    payload = bytes(PAYLOAD_BYTES)
    with owned() as kernel:
        ids = kernel.agents.add_many(agents)
        targets = np.tile(ids, count // agents).tolist()
        one = kernel.send

        def work() -> None:
            for to in targets:
                one(to, payload)

        nothing = hanse._core.nothing

        def bare() -> None:
            for to in targets:
                nothing(to, payload)

        def emptied(sample: Sample) -> Sample:
            def run() -> float:
                value = sample()
                drained(kernel, len(targets))
                return value

            return run

        def check() -> None:
            assert all(one(to, payload) == hanse.Outcome.ok for to in targets)
            assert len(drained(kernel, len(targets))) == len(targets)

        boxes: dict[int, deque[bytes]] = {}
        queues: dict[int, asyncio.Queue[bytes]] = {}

        def fill(put: Callable[[int], Callable[[bytes], None]]) -> Callable[[], None]:
            def run() -> None:
                for to in targets:
                    put(to)(payload)

            return run

        def cleared(sample: Sample) -> Sample:
            def run() -> float:
                queues.update({int(to): asyncio.Queue() for to in ids})
                boxes.update({int(to): deque() for to in ids})
                return sample()

            return run

        queue_work = fill(lambda to: queues[to].put_nowait)
        box_work = fill(lambda to: boxes[to].append)
        yield Contest(
            hanse=emptied(each(len(targets), work)),
            check=check,
            peers=[
                peer("asyncio.Queue", cleared(each(len(targets), queue_work))),
                peer("dict of deque", cleared(each(len(targets), box_work))),
            ],
            limit="an empty METH_FASTCALL function, same loop",
            limit_sample=each(len(targets), bare),
        )
