"""embedding: what does a call cost from each runtime, over what the library does?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np

import hanse
from bench import embedded
from bench.case import Contest, Peer, Sample, Settings, case, each

AGENTS, DIM = 1000, 8


def vectors_of(first: int, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """As the programs of tests/embedding have them."""
    numbers = np.arange(first, first + count)[:, None] + 1 + 10 * np.arange(DIM)[None, :]
    made: np.ndarray[tuple[int, int], np.dtype[np.float32]] = np.sin(numbers).astype(np.float32)
    return made


@contextlib.contextmanager
def binding(operation: str) -> Iterator[Callable[[], None]]:
    """The same operation by the Python package itself; each call checks its answer."""
    with hanse.open() as kernel:
        agents = kernel.agents.add_many([f"agent {i}" for i in range(AGENTS)])
        kernel.capabilities.publish(agents, vectors_of(0, AGENTS), price=1)
        sender = kernel.as_agent(int(agents[0]))
        kernel.ledger.fund(int(agents[0]), 1000)
        query, payload, one = vectors_of(5, 1), bytes(64), agents[5:6]
        to = int(agents[1])

        def open_one() -> None:
            hanse.open().close()

        def publish() -> None:
            kernel.capabilities.publish(one, query)

        def match() -> None:
            found = kernel.match(query, 3)
            assert found.agents[0, 0] == agents[5]

        def talk() -> None:
            sender.send(to, payload)
            assert kernel.receive(to) is not None

        def dispatch() -> None:
            receipt = sender.dispatch(to=to, payload=payload, budget=1)
            assert kernel.receive(to) is not None
            sender.void(receipt.task)

        yield {
            "open": open_one,
            "publish": publish,
            "match": match,
            "talk": talk,
            "dispatch": dispatch,
        }[operation]


def timed(call: Callable[[], None], count: int) -> Sample:
    """Nanoseconds of one of `count` calls."""

    def work() -> None:
        for _ in range(count):
            call()

    return each(count, work)


@contextlib.contextmanager
def contest(operation: str, count: int) -> Iterator[Contest]:
    """The Python package against the other runtimes; C, which only calls, is the floor."""
    with binding(operation) as call:
        found = embedded.programs()

        def sample_of(name: str) -> Sample:
            return lambda: embedded.nanoseconds(found[name], operation, count)

        peers = [
            Peer(name, sample_of(name) if name in found else None)
            for name in embedded.PROGRAMS
            if name != "C"
        ]
        floor = sample_of("C") if "C" in found else None
        yield Contest(timed(call, count), call, peers, "the same from C", floor)


@case("embedding", "ns/kernel", "lower")
@contextlib.contextmanager
def open_and_close(settings: Settings) -> Iterator[Contest]:
    """What does a kernel in memory cost to open and close, from Python?"""
    with contest("open", settings.size(300, 20)) as ready:
        yield ready


@case("embedding", "ns/offer", "lower")
@contextlib.contextmanager
def publish_one(settings: Settings) -> Iterator[Contest]:
    """What does publishing one offer of 8 dimensions cost, from Python?"""
    with contest("publish", settings.size(20_000, 200)) as ready:
        yield ready


@case("embedding", "ns/query", "lower")
@contextlib.contextmanager
def match_three(settings: Settings) -> Iterator[Contest]:
    """What does a match of 3 among 1,000 offers cost, from Python?"""
    with contest("match", settings.size(20_000, 200)) as ready:
        yield ready


@case("embedding", "ns/message", "lower")
@contextlib.contextmanager
def send_and_receive(settings: Settings) -> Iterator[Contest]:
    """What do sending and receiving 64 bytes cost, from Python?"""
    with contest("talk", settings.size(100_000, 500)) as ready:
        yield ready


@case("embedding", "ns/task", "lower")
@contextlib.contextmanager
def dispatch_and_void(settings: Settings) -> Iterator[Contest]:
    """What do dispatching a task, taking it and withdrawing it cost, from Python?"""
    with contest("dispatch", settings.size(10_000, 100)) as ready:
        yield ready
