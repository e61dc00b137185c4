"""match, second half: how fast does the index take changes, and what do they cost searches?"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import numpy as np

import hanse
from bench.ann import K
from bench.case import Contest, Settings, case, peer, rate
from bench.data import Population
from bench.filled import index_of, numpy_top, sized


@case("match", "M writes/s", "higher")
@contextlib.contextmanager
def attribute_writes(settings: Settings) -> Iterator[Contest]:
    """How many prices a second are written, seen by the next search?"""
    people = sized(settings)
    index = index_of(people)
    count = settings.size(1_000_000, 20_000)
    random = np.random.default_rng(2)
    ids = random.integers(0, len(people.price), count).astype(np.uint64)
    prices = random.permutation(count) + 1

    def check() -> None:
        index.update(ids[:1], price=0)
        found = index.search(people.queries[0], 1, filter=hanse.where(max_price=0))
        assert found.ids[0, 0] == ids[0]
        index.update(ids[:1], price=people.price[ids[:1].astype(np.intp)])

    target = people.price.copy()
    rows = ids.astype(np.intp)

    def scatter() -> None:
        target[rows] = prices

    yield Contest(
        hanse=rate(count, lambda: index.update(ids, price=prices), scale=1e6),
        check=check,
        peers=[
            peer(
                "a dict of prices",
                rate(count, lambda: dict(zip(ids, prices, strict=True)), scale=1e6),
            )
        ],
        limit="numpy's scatter into one column",
        limit_sample=rate(count, scatter, scale=1e6),
    )
    index.update(np.arange(len(people.price), dtype=np.uint64), price=people.price)


def changing(people: Population, rows: int) -> hanse.CapabilityIndex:
    index = hanse.CapabilityIndex(people.vectors.shape[1], background=False)
    index.add(np.arange(rows, dtype=np.uint64), people.vectors[:rows], threads=2)
    return index


@case("match", "replacements/s", "higher")
@contextlib.contextmanager
def replacements(settings: Settings) -> Iterator[Contest]:
    """How many vectors a second are replaced, into the graph, while another thread searches?"""
    people = sized(settings)
    rows = settings.size(20_000, 4_200)
    index = changing(people, rows)
    count = settings.size(2_000, 600)
    random = np.random.default_rng(3)
    present = people.vectors[:rows].copy()

    def replace() -> float:
        ids = random.permutation(rows)[:count]
        vectors = present[random.permutation(ids)]
        present[ids] = vectors
        stop = threading.Event()

        def search() -> None:
            while not stop.is_set():
                index.search(people.queries[:8], K)

        searcher = threading.Thread(target=search)
        searcher.start()
        start = time.perf_counter_ns()
        index.upsert(ids.astype(np.uint64), vectors)
        taken = time.perf_counter_ns() - start
        stop.set()
        searcher.join()
        return count / (taken / 1e9)

    def check() -> None:
        for _ in range(rows // count // 2):
            replace()
        truth = numpy_top(people.queries, present, K)[1]
        found = index.search(people.queries, K, recall=0.99)
        assert np.mean(found.scores >= truth[:, -1:] - 1e-5) >= 0.93
        assert index.stats()["pending"] == 0

    yield Contest(hanse=replace, check=check)


@case("match", "vectors/s", "higher")
@contextlib.contextmanager
def build(settings: Settings) -> Iterator[Contest]:
    """How many vectors a second go into an empty index and its graph, on two threads?"""
    people = sized(settings)
    rows = settings.size(20_000, 4_200)

    def make() -> hanse.CapabilityIndex:
        index = hanse.CapabilityIndex(people.vectors.shape[1])
        index.add(np.arange(rows, dtype=np.uint64), people.vectors[:rows], threads=2)
        while index.fold(threads=2):
            pass
        return index

    def check() -> None:
        index = make()
        assert index.stats()["pending"] == 0
        truth = numpy_top(people.queries, people.vectors[:rows], K)[1]
        found = index.search(people.queries, K, recall=0.99)
        assert np.mean(found.scores >= truth[:, -1:] - 1e-5) >= 0.93

    yield Contest(hanse=rate(rows, make), check=check)
