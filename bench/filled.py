"""One and the same index for all cases of match: it is filtered, searched and changed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

import hanse
from bench.case import Settings
from bench.data import ROWS, Population, population


def sized(settings: Settings) -> Population:
    return population(settings.size(ROWS, 5_000), settings.size(500, 80))


@lru_cache(maxsize=1)
def filled(people: int, queries: int) -> hanse.CapabilityIndex:
    """All rows, all attributes, all in the graph."""
    everyone = population(people, queries)
    index = hanse.CapabilityIndex(everyone.vectors.shape[1])
    index.add(
        np.arange(people, dtype=np.uint64),
        everyone.vectors,
        threads=2,
        price=everyone.price,
        skills=everyone.skills,
        load=everyone.load,
        reputation=everyone.reputation,
        tenant=everyone.tenant,
    )
    while index.fold(threads=2):
        pass
    return index


def index_of(people: Population) -> hanse.CapabilityIndex:
    return filled(len(people.vectors), len(people.queries))


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
