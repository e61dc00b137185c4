"""The index alone, usable without a kernel: ids, vectors and attributes in, nearest ids out."""

from __future__ import annotations

import os
from typing import Any, Literal, NamedTuple, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import host_array
from .reasons import refuse
from .search import (
    Explanation,
    Filters,
    Rankings,
    as_float32,
    as_rows,
    compiled_filter,
    compiled_ranking,
)

__all__ = ["Attributes", "CapabilityIndex", "ExplainedResult", "SearchResult"]

Mask = NDArray[np.bool_] | NDArray[np.uint64]


class SearchResult(NamedTuple):
    """ids uint64[m, k] and scores float32[m, k], padded with 0 and -inf; counts int32[m]."""

    ids: NDArray[np.uint64]
    scores: NDArray[np.float32]
    counts: NDArray[np.int32]


class ExplainedResult(NamedTuple):
    """A SearchResult, how each query was answered, and how many rows each test refused."""

    ids: NDArray[np.uint64]
    scores: NDArray[np.float32]
    counts: NDArray[np.int32]
    explanations: tuple[Explanation, ...]
    reasons: dict[str, int]


class Attributes(TypedDict, total=False):
    """What filters and rankings look at: one value for all rows, or an array of one a row.

    price and updated int64 >= 0; load and reputation float32; skills and policy_bits uint64 masks;
    tenant uint32; region uint16 below 65,535; tier uint8.
    """

    price: int | NDArray[np.int64]
    updated: int | NDArray[np.int64]
    load: float | NDArray[np.float32]
    reputation: float | NDArray[np.float32]
    skills: int | NDArray[np.uint64]
    policy_bits: int | NDArray[np.uint64]
    tenant: int | NDArray[np.uint32]
    region: int | NDArray[np.uint16]
    tier: int | NDArray[np.uint8]


_COLUMNS = frozenset(Attributes.__annotations__)


def _known(attributes: Attributes) -> Attributes:
    for name in attributes:
        if name not in _COLUMNS:
            raise TypeError(f"{name} is no attribute; there are {', '.join(sorted(_COLUMNS))}")
    return attributes


class CapabilityIndex:
    """Ids, vectors and attributes in; the nearest feasible ids out. Any thread.

    dim: 1 … 4096. metric: cosine or inner_product. Up to 4,096 rows, and below 16 dimensions, every
    search is exact. A larger index keeps codes and a graph beside the vectors. background: a thread
    of the index's own takes new rows into the graph; until then searches look at them one by one,
    so they are found at once. Without it each change does that itself, and the same calls give the
    same answers every time.
    """

    __slots__ = ("__weakref__", "_core")

    def __init__(self, dim: int, metric: str = "cosine", *, background: bool = True) -> None:
        self._core = _core.CapabilityIndex(dim, metric, background)

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return self._core.dim()

    @property
    def metric(self) -> str:
        """cosine or inner_product."""
        return self._core.metric()

    def add(
        self,
        ids: Any,
        vectors: Any,
        *,
        threads: int = 1,
        stream: Any = None,
        **attributes: Unpack[Attributes],
    ) -> None:
        """Adds uint64[n] ids with float32[n, dim] vectors; attributes not given are 0.

        float16 vectors and, as uint16, bfloat16 ones are widened. Both may lie on a CUDA device, by
        DLPack or __cuda_array_interface__: then they are copied on `stream`, by default CuPy's or
        torch's current one. Raises ConflictError if an id is there already, InvalidError,
        DeviceError; nothing is added then.
        """
        self._put(ids, vectors, attributes, False, threads, stream)

    def upsert(
        self,
        ids: Any,
        vectors: Any,
        *,
        threads: int = 1,
        stream: Any = None,
        **attributes: Unpack[Attributes],
    ) -> None:
        """Adds or replaces; attributes not given stay as they are."""
        self._put(ids, vectors, attributes, True, threads, stream)

    def _put(
        self,
        ids: Any,
        vectors: Any,
        attributes: Attributes,
        replace: bool,
        threads: int,
        stream: Any,
    ) -> None:
        columns = dict(_known(attributes))
        numbers = host_array(ids, "ids", stream)
        self._core.put(numbers, as_float32(vectors, "vectors", stream), columns, replace, threads)

    def update(self, ids: NDArray[np.uint64], **attributes: Unpack[Attributes]) -> None:
        """Changes attributes alone, seen by the next search.

        An id that is there twice gets its last values. Raises NotFoundError if an id is not there,
        InvalidError; nothing is changed then.
        """
        self._core.update(ids, dict(_known(attributes)))

    def remove(self, ids: NDArray[np.uint64]) -> int:
        """Removes uint64[n] ids. Returns how many of them were there."""
        return self._core.remove(ids)

    @overload
    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        filter: Filters | Mask = None,
        max_price: int | NDArray[np.int64] | None = None,
        mask: Mask | None = None,
        rank: Rankings = None,
        recall: float = 0.95,
        effort: int | None = None,
        threads: int = 1,
        device: str | None = None,
        stream: Any = None,
        explain: Literal[False] = False,
    ) -> SearchResult: ...

    @overload
    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        filter: Filters | Mask = None,
        max_price: int | NDArray[np.int64] | None = None,
        mask: Mask | None = None,
        rank: Rankings = None,
        recall: float = 0.95,
        effort: int | None = None,
        threads: int = 1,
        device: str | None = None,
        stream: Any = None,
        explain: Literal[True],
    ) -> ExplainedResult: ...

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        filter: Filters | Mask = None,
        max_price: int | NDArray[np.int64] | None = None,
        mask: Mask | None = None,
        rank: Rankings = None,
        recall: float = 0.95,
        effort: int | None = None,
        threads: int = 1,
        device: str | None = None,
        stream: Any = None,
        explain: bool = False,
    ) -> SearchResult | ExplainedResult:
        """The k nearest feasible ids of each query, float32[m, dim] or float32[dim]; k 1 … 1024.

        filter: hanse.where(…), or a list of one a query; or a mask. mask: by place (see places),
        bool[n] or bool[m, n], or the same as bits, uint64[ceil(n / 64)] or uint64[m, …], the lowest
        bit first. max_price: one, or int64[m]. All of them must let an id pass. rank: a
        hanse.Ranking, or a list of one a query. recall: the share of the true k best that is
        wanted on average; 1: exactly these. Selective filters are exact whatever it says. effort:
        the width of a walk instead, 16 … 4096. threads: over which a batch is split. explain: also
        say how, and count why rows were refused.
        device: "cuda" keeps the vectors on the device, brought up to date by each search, and takes
        candidates from there; k is at most 64 then, and the order is that of the CPU. queries may
        lie on a device, too (see add): they come over on `stream`. Raises DeviceError.
        Always min(k, feasible) results; ties go to the id that was added first.
        """
        if not isinstance(explain, bool):
            refuse("WrongType", "explain", f"want a bool, have a {type(explain).__name__}")
        if isinstance(filter, np.ndarray):
            if mask is not None:
                refuse("OutOfRange", "mask", "is given twice: as mask and as filter")
            mask, filter = filter, None
        found = self._core.search(
            as_rows(queries, stream),
            k,
            threads,
            compiled_filter(filter),
            max_price,
            mask,
            compiled_ranking(rank),
            recall,
            effort,
            explain,
            device,
        )
        if not explain:
            return SearchResult(*found)
        ids, scores, counts, explanations, reasons = found
        how = tuple(map(Explanation._make, explanations))
        return ExplainedResult(ids, scores, counts, how, reasons)

    def get(self, id: int) -> NDArray[np.float32]:
        """The vector as stored: normalised for cosine. Raises NotFoundError."""
        return self._core.get(id)

    def ids(self) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """The id at each place, and whether there is one: uint64[n], bool[n]."""
        return self._core.ids()

    def places(self, ids: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """Where a mask has the bits of these ids: uint32[n]; 2**32 - 1 where one is not there.

        Ids that are added take free places first, else the next ones, in order.
        """
        return self._core.places(ids)

    def fold(self, rows: int = 2**32 - 1, *, threads: int = 1) -> int:
        """Takes up to so many pending rows into the graph now. Returns how many it was."""
        return self._core.fold(rows, threads)

    def audit(self, queries: int = 64) -> int:
        """Runs up to so many sampled queries again, exactly, for stats()["recall_estimate"].

        Searches without a mask are sampled, one query in 64. Returns how many were run.
        """
        return self._core.audit(queries)

    def stats(self) -> dict[str, Any]:
        """Sizes, memory, work of the graph, queries by plan, and the audited recall (or None)."""
        return self._core.stats()

    def memory(self) -> int:
        """Bytes in use."""
        return self._core.memory_bytes()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes everything to a file, which replaces what was there only when it is complete.

        Raises StorageError.
        """
        self._core.save(os.fspath(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, background: bool = True) -> CapabilityIndex:
        """Reads a saved index. Raises StorageError for a torn, changed or foreign file."""
        return cls._of(_core.load_index(os.fspath(path), False, background))

    @classmethod
    def view(cls, path: str | os.PathLike[str], *, background: bool = True) -> CapabilityIndex:
        """As load, but vectors stay in the file and are read as they are needed.

        Changes are made in memory alone. The file must stay as it is.
        """
        return cls._of(_core.load_index(os.fspath(path), True, background))

    @classmethod
    def _of(cls, core: _core.CapabilityIndex) -> CapabilityIndex:
        index = cls.__new__(cls)
        index._core = core
        return index

    def __reduce__(self) -> tuple[Any, tuple[bytes, bool]]:
        return _unpickled, (self._core.to_bytes(), self._core.background())

    def __len__(self) -> int:
        return self._core.count()

    def __contains__(self, id: object) -> bool:
        if not isinstance(id, int | np.integer) or not 0 <= id < 1 << 64:
            return False
        return self._core.contains(int(id))


def _unpickled(data: bytes, background: bool) -> CapabilityIndex:
    return CapabilityIndex._of(_core.index_from_bytes(data, background))
