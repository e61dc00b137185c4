"""Who can do what: versioned offers with vectors and attributes, found by similarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _core
from .errors import NotFoundError

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = [
    "Capabilities",
    "CapabilityIndex",
    "Matches",
    "SearchResult",
    "Skills",
    "Space",
    "all_of",
    "any_of",
    "none_of",
]


class Skills(NamedTuple):
    """A test of skill bits; combine with `&`. Made by all_of, any_of and none_of."""

    all: int = 0
    any: int = 0
    none: int = 0

    def __and__(self, other: Skills) -> Skills:
        if self.any and other.any and self.any != other.any:
            from .reasons import refuse

            refuse("OutOfRange", "skills", "one any_of at most can be in a conjunction")
        return Skills(self.all | other.all, self.any | other.any, self.none | other.none)


def all_of(mask: int) -> Skills:
    """Offers that have every bit of the mask."""
    return Skills(all=mask)


def any_of(mask: int) -> Skills:
    """Offers that have at least one bit of the mask."""
    return Skills(any=mask)


def none_of(mask: int) -> Skills:
    """Offers that have no bit of the mask."""
    return Skills(none=mask)


@dataclass(frozen=True, slots=True)
class Space:
    """A space of vectors: dim numbers of one embedding model, under one metric."""

    name: str
    dim: int
    metric: str
    model: str


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """The k best feasible offers of each query, best first.

    agents uint64[m, k], offers and versions uint32[m, k], scores float32[m, k], padded with
    zeros; counts int32[m]. reasons: with explain, how many offers each test refused, else empty.
    """

    agents: NDArray[np.uint64]
    offers: NDArray[np.uint32]
    versions: NDArray[np.uint32]
    scores: NDArray[np.float32]
    counts: NDArray[np.int32]
    reasons: dict[str, int]

    def __len__(self) -> int:
        return len(self.counts)


class Capabilities:
    """The offers of a kernel's agents."""

    __slots__ = ("_kernel", "_spaces")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._spaces: dict[str, int] = {}

    def _space(self, name: str, lenient: bool = False) -> int:
        """The number of a space. lenient: "default" need not be there yet."""
        known = self._spaces.get(name)
        if known is None:
            try:
                known = self._spaces[name] = self._kernel._core.space(name)
            except NotFoundError:
                if not lenient or name != "default":
                    raise
                return _core.SPACE_NONE
        return known

    def create_space(self, name: str, dim: int, *, metric: str = "cosine", model: str = "") -> int:
        """Creates a space: dim 1 … 4096, metric cosine or inner_product.

        Returns its number. Raises ConflictError (NameTaken), InvalidError, DeniedError.
        """
        return self._kernel._core.create_space(self._kernel._acting(), name, dim, metric, model)

    def spaces(self) -> list[Space]:
        """All spaces, in the order in which they were created."""
        found: list[Space] = []
        while True:
            try:
                found.append(Space(*self._kernel._core.space_spec(len(found))))
            except NotFoundError:
                return found

    def publish(
        self,
        ids: NDArray[np.uint64],
        vectors: NDArray[np.float32],
        *,
        price: int | NDArray[np.int64] = 0,
        tier: int | NDArray[np.uint8] = 0,
        skills: int | NDArray[np.uint64] = 0,
        region: int | NDArray[np.uint16] = 0,
        policy_bits: int | NDArray[np.uint64] = 0,
        slots: int | NDArray[np.uint16] = 0,
        offer: int = 0,
        space: str = "default",
        versions: NDArray[np.uint32] | None = None,
    ) -> NDArray[np.uint32]:
        """Publishes one offer of each agent, or a new version of it, in one record.

        ids uint64[n]; vectors float32[n, dim], finite, not zero. price in micro-units per task, as
        int64[n] or one for all; tier uint8; skills and policy_bits uint64 masks; region uint16;
        slots uint16, open tasks at most, 0: no limit. versions uint32[n]: what each must become
        (StaleVersion otherwise). The first publish creates the space "default".
        Returns the versions, uint32[n]. Raises InvalidError, NotFoundError, ConflictError,
        DeniedError; nothing is published then.
        """
        number = self._space(space, lenient=True)
        return self._kernel._core.publish(
            self._kernel._acting(),
            number,
            ids,
            vectors,
            price,
            tier,
            skills,
            region,
            policy_bits,
            slots,
            offer,
            versions,
        )

    def withdraw(self, agent: int, *, offer: int = 0, space: str = "default") -> int:
        """The offer can no longer be found. Returns the journal position."""
        core = self._kernel._core
        return core.withdraw(self._kernel._acting(), agent, offer, self._space(space))


class SearchResult(NamedTuple):
    """ids uint64[m, k] and scores float32[m, k], padded with 0 and -inf; counts int32[m]."""

    ids: NDArray[np.uint64]
    scores: NDArray[np.float32]
    counts: NDArray[np.int32]


class CapabilityIndex:
    """The index alone: ids and vectors in, nearest ids out. Exact; any thread.

    dim: 1 … 4096. metric: cosine or inner_product.
    """

    __slots__ = ("_core",)

    def __init__(self, dim: int, metric: str = "cosine") -> None:
        self._core = _core.CapabilityIndex(dim, metric)

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return self._core.dim()

    def add(self, ids: NDArray[np.uint64], vectors: NDArray[np.float32]) -> None:
        """Adds uint64[n] ids with float32[n, dim] vectors.

        Raises ConflictError if one is there already, InvalidError; nothing is added then.
        """
        self._core.put(ids, vectors, False)

    def upsert(self, ids: NDArray[np.uint64], vectors: NDArray[np.float32]) -> None:
        """Adds or replaces."""
        self._core.put(ids, vectors, True)

    def remove(self, ids: NDArray[np.uint64]) -> int:
        """Removes uint64[n] ids. Returns how many of them were there."""
        return self._core.remove(ids)

    def search(
        self, queries: NDArray[np.float32], k: int = 10, *, threads: int = 1
    ) -> SearchResult:
        """The k nearest of each query, float32[m, dim] or float32[dim]; k 1 … 1024.

        Ties go to the id that was added first.
        """
        rows = as_rows(queries)
        return SearchResult(*self._core.search(rows, k, threads))

    def get(self, id: int) -> NDArray[np.float32]:
        """The vector as stored: normalised for cosine. Raises NotFoundError."""
        return self._core.get(id)

    def memory(self) -> int:
        """Bytes in use."""
        return self._core.memory_bytes()

    def __len__(self) -> int:
        return self._core.count()

    def __contains__(self, id: object) -> bool:
        if not isinstance(id, (int, np.integer)) or not 0 <= id < 1 << 64:
            return False
        return self._core.contains(int(id))


def as_rows(queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """One query [dim] is a matrix of one row; anything else is left to the check behind."""
    if isinstance(queries, np.ndarray) and queries.ndim == 1:
        return queries.reshape(1, -1)
    return queries
