"""Vectors and attributes to search in: real ones where they are at hand, else made by seed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROWS, QUERIES, DIM = 60_000, 500, 384
CLUSTERS = 400
SEED = 20_261_122

_made_only = False


@dataclass(frozen=True)
class Population:
    """`vectors` [n, 384] and `queries` [m, 384] are float32 of unit length; prices are >= 1.

    The filters of `skills` and `price` are as selective as in a real population: common bits and
    rare ones, prices of all sizes.
    """

    vectors: npt.NDArray[np.float32]
    queries: npt.NDArray[np.float32]
    price: npt.NDArray[np.int64]
    skills: npt.NDArray[np.uint64]
    load: npt.NDArray[np.float32]
    reputation: npt.NDArray[np.float32]
    tenant: npt.NDArray[np.uint32]


def use_made_data(made_only: bool) -> None:
    """Whether to make the vectors even where real ones are at hand."""
    global _made_only
    _made_only = made_only
    population.cache_clear()


def folder() -> Path | None:
    """HANSE_DATA, or ../shared/data beside the checkout; None where neither holds the files."""
    if _made_only:
        return None
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    for candidate in (os.environ.get("HANSE_DATA"), beside):
        if candidate and (Path(candidate) / "capabilities-60k-384-f16.npy").is_file():
            return Path(candidate)
    return None


def source() -> str:
    """Where the vectors come from, for the report."""
    return "made by seed" if folder() is None else "real descriptions (60,000 × 384)"


@lru_cache(maxsize=1)
def population(rows: int = ROWS, queries: int = QUERIES) -> Population:
    """The first `rows` capabilities and `queries` queries."""
    found = folder()
    return _made(rows, queries) if found is None else _loaded(found, rows, queries)


def _unit(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    wide = vectors.astype(np.float32)
    unit: npt.NDArray[np.float32] = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit


def _loaded(found: Path, rows: int, queries: int) -> Population:
    attributes = np.load(found / "attributes-60k.npy")[:rows]
    return Population(
        vectors=_unit(np.load(found / "capabilities-60k-384-f16.npy")[:rows]),
        queries=_unit(np.load(found / "queries-500-384-f16.npy")[:queries]),
        price=np.maximum(1, (attributes["price"] * 1000).astype(np.int64)),
        skills=np.ascontiguousarray(attributes["tags"]),
        load=np.ascontiguousarray(attributes["load"]),
        reputation=np.ascontiguousarray(attributes["reputation"]),
        tenant=attributes["tenant"].astype(np.uint32),
    )


def _made(rows: int, queries: int) -> Population:
    """Clusters of unequal size, queries near members: what embeddings of descriptions look like."""
    random = np.random.default_rng(SEED)
    centres = random.standard_normal((CLUSTERS, DIM), dtype=np.float32)
    weights = 1 / np.arange(1, CLUSTERS + 1)
    cluster = random.choice(CLUSTERS, size=rows + queries, p=weights / weights.sum())
    noise = random.standard_normal((rows + queries, DIM), dtype=np.float32)
    vectors = _unit(centres[cluster] + 0.7 * noise)
    return Population(
        vectors=vectors[:rows],
        queries=vectors[rows:],
        price=np.maximum(1, random.lognormal(7, 1, rows).astype(np.int64)),
        skills=random.integers(0, 1 << 63, rows, dtype=np.uint64),
        load=random.random(rows, dtype=np.float32),
        reputation=random.beta(5, 2, rows).astype(np.float32),
        tenant=np.minimum(random.zipf(1.5, rows), 1000).astype(np.uint32),
    )


def clustered(rows: int, dim: int, queries: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Vectors and queries of unit length in many clusters."""
    random = np.random.default_rng(SEED + 1)
    centres = random.standard_normal((max(16, rows // 250), dim), dtype=np.float32)
    vectors = centres[random.integers(0, len(centres), rows + queries)]
    vectors += 0.6 * random.standard_normal(vectors.shape, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[:rows], vectors[rows:]
