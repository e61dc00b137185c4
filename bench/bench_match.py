"""match: how fast are the ten best of 60,000 found, exactly, and only among the feasible ones?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import hanse
from bench.case import Contest, Settings, SetUp, case, p50, peer, rate
from bench.data import ROWS, Population, population

K = 10
FLOAT_ROUNDING = 1e-5  # two ways to sum 384 products differ by less


def sized(settings: Settings) -> Population:
    return population(settings.size(ROWS, 3_000), settings.size(500, 20))


@contextlib.contextmanager
def published(people: Population) -> Iterator[tuple[hanse.Kernel, npt.NDArray[np.uint64]]]:
    """A kernel in memory in which every row is an offer."""
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(len(people.vectors))
        kernel.capabilities.publish(ids, people.vectors, price=people.price)
        yield kernel, ids


def numpy_top(
    queries: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Rows and scores of the k best, best first."""
    scores = queries @ vectors.T
    k = min(k, len(vectors))
    best = np.argpartition(scores, -k, axis=1)[:, -k:]
    found = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    rows: npt.NDArray[np.intp] = np.take_along_axis(best, order, axis=1)
    return rows, np.take_along_axis(found, order, axis=1)


def numpy_filtered(
    people: Population, price_max: int, k: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """The faster of two ways at each share: gather the feasible rows, or score all and mask."""
    feasible = people.price <= price_max
    if feasible.mean() <= 0.2:
        rows = np.flatnonzero(feasible)
        best, scores = numpy_top(people.queries, people.vectors[rows], k)
        return rows[best], scores
    scores = people.queries @ people.vectors.T
    scores[:, ~feasible] = -np.inf
    best = np.argpartition(scores, -k, axis=1)[:, -k:]
    found = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(found, order, axis=1)


def check_recall(
    found: Any, ids: npt.NDArray[np.uint64], expected: npt.NDArray[np.float32]
) -> None:
    """Recall is 1.0: each score is that of a full sort, and no agent is found twice."""
    k = expected.shape[1]
    assert np.all(found.counts == k)
    np.testing.assert_allclose(found.scores[:, :k], expected, atol=FLOAT_ROUNDING, rtol=0)
    assert np.all(np.isin(found.agents[:, :k], ids))
    assert all(len(set(row.tolist())) == k for row in found.agents[:, :k])


@case("match", "queries/s", "higher")
@contextlib.contextmanager
def batch(settings: Settings) -> Iterator[Contest]:
    """How many of 500 queries a second find their exact top 10 of 60,000 × 384, on one thread?"""
    people = sized(settings)
    with published(people) as (kernel, ids):
        count = len(people.queries)
        _, expected = numpy_top(people.queries, people.vectors, K)
        yield Contest(
            hanse=rate(count, lambda: kernel.match(people.queries, K)),
            check=lambda: check_recall(kernel.match(people.queries, K), ids, expected),
            peers=[
                peer(
                    "numpy argpartition",
                    rate(count, lambda: numpy_top(people.queries, people.vectors, K)),
                )
            ],
            limit="numpy's matrix product alone",
            limit_sample=rate(count, lambda: people.queries @ people.vectors.T),
        )


@case("match", "µs p50", "lower")
@contextlib.contextmanager
def single(settings: Settings) -> Iterator[Contest]:
    """How long does one query take, alone?"""
    people = sized(settings)
    count = settings.size(100, 10)
    with published(people) as (kernel, ids):
        queries = people.queries
        _, expected = numpy_top(queries, people.vectors, K)

        def check() -> None:
            for i in range(min(count, len(queries))):
                check_recall(kernel.match(queries[i : i + 1], K), ids, expected[i : i + 1])

        def one(i: int) -> Any:
            return kernel.match(queries[i % len(queries)][None], K)

        def peer_one(i: int) -> Any:
            return numpy_top(queries[i % len(queries)][None], people.vectors, K)

        yield Contest(
            hanse=p50(count, one),
            check=check,
            peers=[peer("numpy argpartition", p50(count, peer_one))],
            limit="numpy's product with one vector alone",
            limit_sample=p50(count, lambda i: people.vectors @ queries[i % len(queries)]),
        )


def filtered(share: float, name: str, words: str) -> None:
    """Registers a case in which `share` of the rows are feasible by price."""

    @contextlib.contextmanager
    def set_up(settings: Settings) -> Iterator[Contest]:
        people = sized(settings)
        # A rank below k leaves fewer results than asked for, which the check would have to excuse.
        rank = max(K, int(share * len(people.price)))
        price_max = int(np.sort(people.price)[rank - 1])
        feasible = people.price <= price_max
        with published(people) as (kernel, ids):
            count = len(people.queries)
            _, expected = numpy_filtered(people, price_max, K)

            def search() -> Any:
                return kernel.match(people.queries, K, max_price=price_max)

            alone = np.ascontiguousarray(people.vectors[feasible])
            yield Contest(
                hanse=rate(count, search),
                check=lambda: check_recall(search(), ids[feasible], expected),
                peers=[
                    peer("numpy", rate(count, lambda: numpy_filtered(people, price_max, K))),
                ],
                limit="numpy's product with the feasible rows alone",
                limit_sample=rate(count, lambda: people.queries @ alone.T),
            )

    set_up.__name__ = name
    set_up.__doc__ = f"How many queries a second, when {words} of the offers are feasible by price?"
    register: Callable[[SetUp], SetUp] = case("match", "queries/s", "higher")
    register(set_up)


filtered(0.5, "filtered_50", "50 %")
filtered(0.1, "filtered_10", "10 %")
filtered(0.01, "filtered_1", "1 %")
filtered(0.001, "filtered_0_1", "0.1 %")
