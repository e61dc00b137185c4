"""mailbox: what does a message cost without Python, and what does a second shard bring?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from bench.case import Contest, Settings, case, peer
from hanse import _core


@case("mailbox", "ns", "lower")
@contextlib.contextmanager
def native(settings: Settings) -> Iterator[Contest]:
    """How long does a message to a native handler and its answer take, on one thread?"""
    count = settings.size(5_000_000, 50_000)

    def check() -> None:
        assert _core.native_round_trip_ns(1_000) > 0  # it counts the messages itself

    yield Contest(
        hanse=lambda: _core.native_round_trip_ns(count),
        check=check,
        limit="a cache line to another core and back",
        limit_sample=settings.limits.cache_line_round_trip_ns,
    )


@contextlib.contextmanager
def shards(agents: int, settings: Settings) -> Iterator[Contest]:
    """Native handlers forward tokens to random others; every second message changes the shard."""
    tokens, count = settings.size(16_384, 1_000), settings.size(20_000_000, 100_000)

    def storm(shard_count: int) -> Callable[[], float]:
        return lambda: _core.native_storm_per_s(agents, tokens, count, shard_count) / 1e6

    def check() -> None:
        for shard_count in (1, 2):  # it counts the tokens itself
            assert _core.native_storm_per_s(100, 100, 10_000, shard_count) > 0

    yield Contest(
        hanse=storm(2),
        check=check,
        peers=[peer("one shard", storm(1))],
        limit="twice one shard",
        limit_sample=lambda: 2 * storm(1)(),
    )


@case("mailbox", "M messages/s", "higher")
@contextlib.contextmanager
def shards_10k(settings: Settings) -> Iterator[Contest]:
    """How fast is a storm of 10,000 agents on two shards, beside one, with native handlers?"""
    with shards(settings.size(10_000, 500), settings) as contest:
        yield contest


@case("mailbox", "M messages/s", "higher")
@contextlib.contextmanager
def shards_1m(settings: Settings) -> Iterator[Contest]:
    """The same with a million agents."""
    with shards(settings.size(1_000_000, 2_000), settings) as contest:
        yield contest
