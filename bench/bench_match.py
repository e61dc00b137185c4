"""match: how fast are the ten best found, among the feasible ones only, while they change?"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

import hanse
from bench import match_change  # noqa: F401  (its cases are part of this bench)
from bench.ann import EFFORTS, PEERS, K, Search, effort_for, present, recall
from bench.case import Contest, Peer, Settings, SetUp, case, p50, peer, rate
from bench.data import Population, clustered, population
from bench.filled import index_of, numpy_top, sized

FLOAT_ROUNDING = 1e-5  # two ways to sum 384 products differ by less
HELD_OUT = 2  # every second query finds the effort, the others are timed
MIN_RECALL = 0.95


@lru_cache(maxsize=8)
def peer_of(name: str, people: int, queries: int) -> Search:
    return PEERS[name][1](population(people, queries).vectors, 2)


def scan_limit(people: Population) -> Callable[[], float]:
    """Queries a second of numpy's product of all rows with a batch."""
    return rate(len(people.queries), lambda: people.queries @ people.vectors.T)


def hop_limit(people: Population, hops: int) -> Callable[[], float]:
    """Queries a second if a walk of so many hops cost nothing but a fetch of a row for each."""
    random = np.random.default_rng(1)
    rows = random.integers(0, len(people.vectors), hops * 1000).astype(np.intp)

    def sample() -> float:
        start = time.perf_counter_ns()
        people.vectors[rows, 0].sum()
        return 1000 / ((time.perf_counter_ns() - start) / 1e9)

    return sample


def tuned_peers(people: Population, wanted: float, single: bool = False) -> list[Peer]:
    """Each of them at the least effort that reaches the recall on the queries that aren't timed."""
    peers = []
    for name, (module, _) in PEERS.items():
        if not present(module):
            peers.append(Peer(name, None))
            continue
        search = peer_of(name, len(people.vectors), len(people.queries))
        tune, timed = (
            np.ascontiguousarray(people.queries[::HELD_OUT]),
            np.ascontiguousarray(people.queries[1::HELD_OUT]),
        )
        effort = effort_for(search, tune, numpy_top(tune, people.vectors, K)[0], wanted)
        if effort is None:
            peers.append(Peer(f"{name}: never reaches it", None))
            continue
        if single:
            one = alone(search, timed, effort)
            peers.append(Peer(name, p50(min(100, len(timed)), one)))
        else:
            peers.append(Peer(name, timing(search, timed, effort)))
    return peers


def alone(search: Search, timed: npt.NDArray[np.float32], effort: int) -> Callable[[int], Any]:
    return lambda i: search(timed[i : i + 1], effort)


def timing(search: Search, timed: npt.NDArray[np.float32], effort: int) -> Callable[[], float]:
    return rate(len(timed), lambda: search(timed, effort))


def tolerance(settings: Settings) -> float:
    """Other queries than those that the effort was found on; in a quick run they are few."""
    return 0.12 if settings.quick else 0.015


def our_effort(people: Population, wanted: float) -> int:
    tune = np.ascontiguousarray(people.queries[::HELD_OUT])
    index = index_of(people)
    found = effort_for(
        lambda queries, effort: index.search(queries, K, effort=effort).ids,
        tune,
        numpy_top(tune, people.vectors, K)[0],
        wanted,
        EFFORTS[1:],
    )
    assert found is not None, f"recall {wanted} is not reached"
    return found


def unfiltered(wanted: float, name: str) -> None:
    """Registers a case of walks through the whole index at a recall."""

    @contextlib.contextmanager
    def set_up(settings: Settings) -> Iterator[Contest]:
        people = sized(settings)
        index = index_of(people)
        effort = our_effort(people, wanted)
        timed = np.ascontiguousarray(people.queries[1::HELD_OUT])
        truth = numpy_top(timed, people.vectors, K)[0]

        def check() -> None:
            found = index.search(timed, K, effort=effort)
            assert recall(found.ids, truth) >= wanted - tolerance(settings)

        hops = index.search(timed, K, effort=effort, explain=True).explanations
        mean = max(1, round(sum(one.hops for one in hops) / len(hops)))
        yield Contest(
            hanse=rate(len(timed), lambda: index.search(timed, K, effort=effort)),
            check=check,
            peers=tuned_peers(people, wanted),
            limit=f"{mean} row fetches a query",
            limit_sample=hop_limit(people, mean),
        )

    set_up.__name__ = name
    set_up.__doc__ = f"How many queries a second at recall@10 {wanted} in 60,000 × 384, one thread?"
    register: Callable[[SetUp], SetUp] = case("match", "queries/s", "higher")
    register(set_up)


unfiltered(0.95, "walk_95")
unfiltered(0.99, "walk_99")


@lru_cache(maxsize=1)
def million() -> tuple[hanse.CapabilityIndex, Any, Any]:
    vectors, queries = clustered(1_000_000, 128, 1_000)
    index = hanse.CapabilityIndex(128)
    index.add(np.arange(len(vectors), dtype=np.uint64), vectors, threads=2)
    while index.fold(threads=2):
        pass
    return index, vectors, queries


def clustered_95(settings: Settings) -> contextlib.AbstractContextManager[Contest]:
    """How many queries a second at recall@10 0.95 in 1,000,000 × 128, clustered, one thread?"""

    @contextlib.contextmanager
    def set_up() -> Iterator[Contest]:
        index, vectors, queries = million()
        tune = np.ascontiguousarray(queries[::HELD_OUT])
        timed = np.ascontiguousarray(queries[1::HELD_OUT])

        def search(asked: Any, effort: int) -> Any:
            return index.search(asked, K, effort=effort).ids

        effort = effort_for(search, tune, numpy_top(tune, vectors, K)[0], 0.95, EFFORTS[1:])
        assert effort is not None, "recall 0.95 is not reached"
        truth = numpy_top(timed, vectors, K)[0]

        def check() -> None:
            assert recall(search(timed, effort), truth) >= 0.935

        yield Contest(hanse=timing(search, timed, effort), check=check)

    return set_up()


# Its index takes minutes to build, so it is there only for who asks for it.
if os.environ.get("BENCH_LARGE"):
    case("match", "queries/s", "higher")(clustered_95)


@case("match", "µs p50", "lower")
@contextlib.contextmanager
def single(settings: Settings) -> Iterator[Contest]:
    """How long does one query take, alone, at recall@10 0.95?"""
    people = sized(settings)
    index = index_of(people)
    effort = our_effort(people, 0.95)
    timed = np.ascontiguousarray(people.queries[1::HELD_OUT])
    count = min(settings.size(100, 10), len(timed))
    truth = numpy_top(timed, people.vectors, K)[0]

    def check() -> None:
        ids = [index.search(timed[i : i + 1], K, effort=effort).ids[0] for i in range(len(timed))]
        assert recall(np.array(ids), truth) >= 0.95 - tolerance(settings)

    yield Contest(
        hanse=p50(count, lambda i: index.search(timed[i : i + 1], K, effort=effort)),
        check=check,
        peers=tuned_peers(people, 0.95, single=True),
        limit="numpy's product with one vector alone",
        limit_sample=p50(count, lambda i: people.vectors @ timed[i]),
    )


def exact(threads: int, name: str) -> None:
    """Registers a case of exact search."""

    @contextlib.contextmanager
    def set_up(settings: Settings) -> Iterator[Contest]:
        people = sized(settings)
        index = index_of(people)
        queries = people.queries
        _, expected = numpy_top(queries, people.vectors, K)

        def check() -> None:
            found = index.search(queries, K, recall=1.0, threads=threads)
            np.testing.assert_allclose(found.scores, expected, atol=FLOAT_ROUNDING, rtol=0)

        yield Contest(
            hanse=rate(len(queries), lambda: index.search(queries, K, recall=1.0, threads=threads)),
            check=check,
            peers=[
                peer(
                    "numpy argpartition",
                    rate(len(queries), lambda: numpy_top(queries, people.vectors, K)),
                )
            ],
            limit="numpy's matrix product alone",
            limit_sample=scan_limit(people),
        )

    set_up.__name__ = name
    set_up.__doc__ = f"How many queries a second, exactly, on {threads} thread(s)?"
    register: Callable[[SetUp], SetUp] = case("match", "queries/s", "higher")
    register(set_up)


exact(1, "exact_1")
exact(2, "exact_2")


def numpy_filtered(
    people: Population, most: npt.NDArray[np.int64], k: int
) -> tuple[list[npt.NDArray[np.intp]], list[npt.NDArray[np.float32]]]:
    """One query after the other: its filter, its rows, its best ones."""
    ids, scores = [], []
    for query, price_max in zip(people.queries, most, strict=True):
        feasible = people.price <= price_max
        rows = np.flatnonzero(feasible)
        if len(rows) * 5 <= len(feasible):
            best, found = numpy_top(query[None], people.vectors[rows], k)
            ids.append(rows[best[0]])
            scores.append(found[0])
            continue
        values = people.vectors @ query
        values[~feasible] = -np.inf
        best = np.argpartition(values, -k)[-k:]
        order = np.argsort(-values[best], kind="stable")
        ids.append(best[order])
        scores.append(values[best[order]])
    return ids, scores


def filtered(share: float, name: str, words: str, cached: bool) -> None:
    """Registers a case in which `share` of the rows are feasible by price."""

    @contextlib.contextmanager
    def set_up(settings: Settings) -> Iterator[Contest]:
        people = sized(settings)
        index = index_of(people)
        count = len(people.queries)
        # A rank below k leaves fewer results than asked for; that is right, and checked.
        rank = max(1, int(share * len(people.price)))
        price_max = int(np.sort(people.price)[rank - 1])
        most = np.full(count, price_max, np.int64)
        # Another predicate for each query, of the same share: no load is as high as its bound.
        filters = (
            hanse.where(max_price=price_max)
            if cached
            else [hanse.where(max_price=price_max, max_load=1e6 + i) for i in range(count)]
        )

        def check() -> None:
            found = index.search(people.queries, K, filter=filters)
            good, wanted = 0, 0
            for i, (_, scores) in enumerate(zip(*numpy_filtered(people, most, K), strict=True)):
                want = min(K, len(scores))
                assert found.counts[i] == want
                assert np.all(people.price[found.ids[i, :want].astype(np.intp)] <= most[i])
                good += int(np.sum(found.scores[i, :want] >= scores[want - 1] - FLOAT_ROUNDING))
                wanted += want
            assert good >= MIN_RECALL * wanted

        part = np.ascontiguousarray(people.vectors[people.price <= price_max])
        yield Contest(
            hanse=rate(count, lambda: index.search(people.queries, K, filter=filters)),
            check=check,
            peers=[peer("numpy", rate(count, lambda: numpy_filtered(people, most, K)))],
            limit="numpy's product with the feasible rows alone",
            limit_sample=rate(count, lambda: people.queries @ part.T),
        )

    set_up.__name__ = name
    kind = "one filter for all" if cached else "another filter for each"
    set_up.__doc__ = f"How many queries a second, {kind}, when {words} of the rows are feasible?"
    register: Callable[[SetUp], SetUp] = case("match", "queries/s", "higher")
    register(set_up)


for _share, _name, _words in (
    (0.5, "50", "50 %"),
    (0.1, "10", "10 %"),
    (0.01, "1", "1 %"),
    (0.001, "0_1", "0.1 %"),
    (0.0001, "0_01", "0.01 %"),
):
    filtered(_share, f"filtered_{_name}", _words, cached=False)
filtered(0.01, "cached_1", "1 %", cached=True)
filtered(0.001, "cached_0_1", "0.1 %", cached=True)
