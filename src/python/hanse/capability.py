"""Who can do what: versioned offers with vectors and attributes, found by similarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .errors import NotFoundError
from .search import (
    Explanation,
    Filters,
    Rankings,
    as_rows,
    compiled_filter,
    compiled_ranking,
)

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Capabilities", "Matches", "Space"]


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
    zeros; counts int32[m]. With explain, else empty: reasons, how many offers each test refused
    (added up over the filters of a batch), and explanations, how each query was answered.
    """

    agents: NDArray[np.uint64]
    offers: NDArray[np.uint32]
    versions: NDArray[np.uint32]
    scores: NDArray[np.float32]
    counts: NDArray[np.int32]
    reasons: dict[str, int]
    explanations: tuple[Explanation, ...] = ()

    def __len__(self) -> int:
        return len(self.counts)


def matches_of(
    core: _core.Kernel,
    actor: int,
    terms: _core.Terms,
    queries: Any,
    k: int,
    threads: int,
    filter: Filters,
    rank: Rankings,
    limits: tuple[NDArray[np.int64] | None, float, int | None, bool],
    place: tuple[str | None, Any],
) -> Matches:
    """Asks the core. limits: max_price a query, recall, effort, explain. place: device, stream."""
    max_price, recall, effort, explain = limits
    device, stream = place
    agents, offers, versions, scores, counts, reasons, explanations = core.match(
        actor,
        terms,
        as_rows(queries, stream),
        k,
        threads,
        compiled_filter(filter, core.tenant_index),
        max_price,
        compiled_ranking(rank),
        recall,
        effort,
        explain,
        device,
    )
    how = tuple(map(Explanation._make, explanations))
    return Matches(agents, offers, versions, scores, counts, reasons, how)


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
            core = self._kernel._core
            if lenient and name == "default" and core.space_find(name) == _core.SPACE_NONE:
                return _core.SPACE_NONE
            known = self._spaces[name] = core.space(name)
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
