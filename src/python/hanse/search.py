"""What a search takes beside its queries: filters, rankings, and how it explains itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import host_array
from .reasons import refuse

__all__ = [
    "Explanation",
    "Ranking",
    "Skills",
    "Where",
    "all_of",
    "any_of",
    "none_of",
    "where",
]

Range = tuple[float | None, float | None]


class Skills(NamedTuple):
    """A test of skill bits; combine with `&`. Made by all_of, any_of and none_of."""

    all: int = 0
    any: int = 0
    none: int = 0

    def __and__(self, other: Skills) -> Skills:
        if self.any and other.any and self.any != other.any:
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


class Where:
    """A filter, compiled once; combine with `&`. Made by hanse.where."""

    __slots__ = ("_core", "_tenant")

    def __init__(self, core: _core.Filter, tenant: int | None) -> None:
        self._core = core
        self._tenant = tenant

    def __and__(self, other: Where) -> Where:
        """What both let pass."""
        tenant = self._tenant if other._tenant is None else other._tenant
        core = self._core.both(other._core)
        if self._tenant is not None and self._tenant != tenant:
            # Of two tenants at once no one is: a bit that must and must not be there says so.
            core = core.both(where(skills=all_of(1) & none_of(1))._core)
        return Where(core, tenant)


def where(
    *,
    max_price: int | None = None,
    min_price: int | None = None,
    tier: int | tuple[int, int] | None = None,
    skills: Skills | int | None = None,
    policy: Skills | int | None = None,
    region: int | None = None,
    tenant: int | None = None,
    max_load: float | None = None,
    min_load: float | None = None,
    min_reputation: float | None = None,
    max_reputation: float | None = None,
    since: int | None = None,
    until: int | None = None,
) -> Where:
    """A filter that all of these must let pass; what is not given is not tested.

    tier: one, or (lowest, highest). skills: all_of, any_of, none_of joined by &; an int means
    all_of. policy: bits that must (all_of) and must not (none_of) be there. tenant: for a kernel an
    agent of it, for a CapabilityIndex the number that was added. since, until: bounds of `updated`.
    All bounds belong to the range. Raises InvalidError.
    """
    if isinstance(tier, tuple):
        if len(tier) != 2:
            refuse("OutOfRange", "tier", f"want one or (lowest, highest), have {len(tier)} numbers")
        tiers: tuple[int | None, int | None] = tier
    else:
        tiers = (tier, tier)
    core = _core.Filter(
        (min_price, max_price),
        tiers,
        as_skills(skills),
        as_skills(policy),
        region,
        None,
        (min_load, max_load),
        (min_reputation, max_reputation),
        (since, until),
    )
    if tenant is not None and (
        isinstance(tenant, bool) or not isinstance(tenant, int | np.integer)
    ):
        refuse("WrongType", "tenant", f"want an integer, have {type(tenant).__name__}")
    return Where(core, None if tenant is None else int(tenant))


def as_skills(skills: Skills | int | None) -> Skills | None:
    """An int means all_of."""
    return skills if skills is None or isinstance(skills, Skills) else Skills(all=skills)


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a match is worth beside its similarity.

    score = similarity - price * its price - load * its load + reputation * its reputation
    - recency * max(0, now - its `updated`), in double precision, in this order. explore, 0 … 1: the
    share of queries whose first place goes to the best feasible offer without a reputation (0),
    whatever its score; which queries these are follows from seed and the query's place in the
    batch.
    """

    price: float = 0
    load: float = 0
    reputation: float = 0
    recency: float = 0
    now: int = 0
    explore: float = 0
    seed: int = 0

    def compiled(self) -> _core.Ranking:
        """As the core takes it. Raises InvalidError."""
        return _core.Ranking(
            self.price,
            self.load,
            self.reputation,
            self.recency,
            self.now,
            self.explore,
            self.seed,
        )


class Explanation(NamedTuple):
    """How one query was answered.

    plan: "nothing" (nothing is feasible), "rows" (the feasible rows one by one), "scan" (an exact
    pass shared by the batch), "codes" (codes of the feasible rows, the best of them exactly) or
    "walk" (through the graph, under the filter) or "device" (candidates of the CUDA device, ranked
    exactly). feasible: rows that the filter lets pass.
    candidates: rows ranked exactly. hops, visits: of the walk. pending: rows not yet in the graph,
    looked at beside it. standing: whether the filter's bitmap was there already.
    """

    plan: str
    feasible: int
    candidates: int
    hops: int
    visits: int
    pending: int
    standing: bool


Filters = Where | Sequence[Where] | None
Rankings = Ranking | Sequence[Ranking] | None


def compiled_filter(filter: Filters, tenant_of: Any = None) -> Any:
    """One core filter, a list of them, or None. tenant_of: a tenant's number in a kernel."""
    if filter is None:
        return None
    if isinstance(filter, Where):
        return _of_tenant(filter, tenant_of)
    if isinstance(filter, list | tuple) and all(isinstance(one, Where) for one in filter):
        return [_of_tenant(one, tenant_of) for one in filter]
    refuse("WrongType", "filter", f"want hanse.where(…) or a list, have {type(filter).__name__}")


def _of_tenant(filter: Where, tenant_of: Any) -> _core.Filter:
    if filter._tenant is None:
        return filter._core
    tenant = filter._tenant if tenant_of is None else tenant_of(filter._tenant)
    return filter._core.with_tenant(tenant)


def compiled_ranking(rank: Rankings) -> Any:
    """One core ranking, a list of them, or None."""
    if rank is None:
        return None
    if isinstance(rank, Ranking):
        return rank.compiled()
    if isinstance(rank, list | tuple) and all(isinstance(one, Ranking) for one in rank):
        return [one.compiled() for one in rank]
    refuse("WrongType", "rank", f"want a hanse.Ranking or a list, have {type(rank).__name__}")


def as_rows(queries: Any, stream: Any = None) -> NDArray[np.float32]:
    """One query [dim] is a matrix of one row; anything else is left to the check behind."""
    vectors = as_float32(queries, "queries", stream)
    if isinstance(vectors, np.ndarray) and vectors.ndim == 1:
        return vectors.reshape(1, -1)
    return vectors


def as_float32(vectors: Any, field: str = "vectors", stream: Any = None) -> NDArray[np.float32]:
    """float16 is widened; uint16 is taken as bfloat16. The rest is left to the check behind.

    What lies on a device comes over on the stream.
    """
    vectors = host_array(vectors, field, stream)
    if isinstance(vectors, np.ndarray) and vectors.flags.c_contiguous:
        if vectors.dtype == np.float16:
            return vectors.astype(np.float32)
        if vectors.dtype == np.uint16:
            return (vectors.astype(np.uint32) << 16).view(np.float32)
    return vectors  # type: ignore[no-any-return]
