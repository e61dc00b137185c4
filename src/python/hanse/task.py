"""Units of work: receipts of their dispatch, their state, what accepted work costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .costs import Cost, Odds
from .ledger import Usage
from .outcome import Outcome

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Economics", "LatentManifest", "Receipt", "Receipts", "Task", "TaskConditions", "Tasks"]

DURABILITIES = ("memory", "batch", "each")
_NO_POSITION = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a dispatch came to. `position` is its event and Merkle leaf, a refusal's too.

    version 0: addressed directly. price: the worker's fee on acceptance. reserved: held of the
    requester's balance. reason: of a refusal, for people.
    """

    outcome: Outcome
    durability: str
    task: int
    agent: int
    offer: int
    version: int
    attempt: int
    score: float
    price: int
    reserved: int
    epoch: int
    position: int | None
    reason: str

    @property
    def ok(self) -> bool:
        """There is a task: dispatched now or, by the same key, before."""
        return self.task != 0


def receipt_of(row: tuple[Any, ...]) -> Receipt:
    """From the core's row."""
    return Receipt(Outcome(row[0]), DURABILITIES[row[1]], *row[2:])


@dataclass(frozen=True, slots=True, eq=False)
class Receipts:
    """The receipts of a batch as columns; `receipts[i]` is one Receipt.

    status uint8[n] (hanse.Outcome), tasks, agents uint64[n] (0: none), offers, versions uint32[n],
    attempts uint16[n], scores float32[n], prices, reserved, epochs, positions uint64[n]
    (2^64 - 1: none). reasons: of the refused rows.
    """

    durability: str
    status: NDArray[np.uint8]
    tasks: NDArray[np.uint64]
    agents: NDArray[np.uint64]
    offers: NDArray[np.uint32]
    versions: NDArray[np.uint32]
    attempts: NDArray[np.uint16]
    scores: NDArray[np.float32]
    prices: NDArray[np.uint64]
    reserved: NDArray[np.uint64]
    epochs: NDArray[np.uint64]
    positions: NDArray[np.uint64]
    reasons: dict[int, str]

    def __len__(self) -> int:
        return len(self.status)

    def __getitem__(self, i: int) -> Receipt:
        row = range(len(self))[i]
        position = int(self.positions[row])
        return Receipt(
            Outcome(int(self.status[row])),
            self.durability,
            int(self.tasks[row]),
            int(self.agents[row]),
            int(self.offers[row]),
            int(self.versions[row]),
            int(self.attempts[row]),
            float(self.scores[row]),
            int(self.prices[row]),
            int(self.reserved[row]),
            int(self.epochs[row]),
            None if position == _NO_POSITION else position,
            self.reasons.get(row, ""),
        )

    def __iter__(self) -> Iterator[Receipt]:
        return (self[i] for i in range(len(self)))


def receipts_of(row: tuple[Any, ...]) -> Receipts:
    """From the core's columns."""
    return Receipts(DURABILITIES[row[0]], *row[1:])


@dataclass(frozen=True, slots=True)
class LatentManifest:
    """A latent as a record names it; content and fingerprint as hex."""

    content: str
    fingerprint: str
    tokens: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work. state: offered, dispatched, running, completed, verified, accepted,
    rejected, voided, expired, unknown.

    artifact: SHA-256 as hex, zeros until completed. usage: summed over attempts. verifier, hold: 0
    where there is none. dispatched_at and changed_at are journal positions.
    """

    id: int
    requester: int
    worker: int
    verifier: int
    state: str
    task_class: str
    space: int
    offer: int
    version: int
    tier: int
    attempt: int
    unit: str
    price: int
    budget: int
    spent: int
    hold: int
    dispatched_ns: int
    deadline_ns: int
    dispatched_at: int
    changed_at: int
    epoch: int
    score: float
    artifact: str
    usage: Usage
    payload: bytes
    latents: tuple[LatentManifest, ...]
    verifier_required: bool


@dataclass(frozen=True, slots=True)
class TaskConditions:
    """What was asked for beyond the usual; 0 or empty where it was not.

    lease_until_ns: while it runs. rule: that asks for approval. answered_at: the event, or None.
    """

    parent: int
    children: tuple[int, ...]
    lease_ns: int
    lease_until_ns: int
    verifier: int
    verifier_role: str
    role: str
    rule: str
    approver: int
    answer_by_ns: int
    answered_at: int | None


@dataclass(frozen=True, slots=True)
class Economics:
    """What work came to. spend: everything posted, in the unit's smallest part."""

    dispatched: int
    completed: int
    accepted: int
    rejected: int
    escalated: int
    voided: int
    expired: int
    spend: int
    usage: Usage

    @property
    def reads_share(self) -> float:
        """Tokens read from a cache, of all tokens, put out ones too; 0 where there were none."""
        return self.usage.cache_read / self.usage.total if self.usage.total else 0.0

    @property
    def cost_per_accepted(self) -> int | None:
        """All spend, of rejected work too, divided by accepted tasks, rounded down; None: none."""
        return self.spend // self.accepted if self.accepted else None

    @property
    def cost_remainder(self) -> int:
        """What that division leaves: spend = cost_per_accepted * accepted + cost_remainder."""
        return self.spend % self.accepted if self.accepted else self.spend


class Tasks:
    """The tasks of a kernel."""

    __slots__ = ("_kernel",)

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def get(self, task: int) -> Task:
        """Raises NotFoundError: unknown, or of another tenant."""
        fields = self._kernel._core.task(self._kernel._acting(), task)
        fields["artifact"] = fields["artifact"].hex()
        fields["usage"] = Usage(*fields["usage"])
        fields["latents"] = tuple(
            LatentManifest(content.hex(), fingerprint.hex(), tokens, size_bytes)
            for content, fingerprint, tokens, size_bytes in fields["latents"]
        )
        return Task(**fields)

    def count(self) -> int:
        """All tasks ever dispatched."""
        return self._kernel._core.task_count()

    def __len__(self) -> int:
        return self.count()

    def economics(self, *, task_class: str | None = None, tier: int | None = None) -> Economics:
        """Of all tasks, of one class, or of one tier. An unknown class has done nothing yet."""
        if task_class is not None and tier is not None:
            from .reasons import refuse

            refuse("OutOfRange", "tier", "want one of task_class and tier, have both")
        row = self._kernel._core.economics(task_class, tier)
        if row is None:
            return Economics(0, 0, 0, 0, 0, 0, 0, 0, Usage())
        counts, usage = row
        return Economics(*counts, Usage(*usage))

    def conditions(self, task: int) -> TaskConditions:
        """Parent, lease, verifier, approval. Raises NotFoundError."""
        return TaskConditions(**self._kernel._core.task_more(self._kernel._acting(), task))

    def odds(self, task_class: str, tier: int, *, agent: int | None = None) -> Odds:
        """How attempts of that class and tier ended, of one agent or of all."""
        return Odds(*self._kernel._core.odds(task_class, tier, agent))

    def cost(
        self,
        *,
        task_class: str | None = None,
        tier: int | None = None,
        agent: int | None = None,
        team: int | None = None,
        since_ns: int = 0,
        until_ns: int | None = None,
    ) -> Cost:
        """What work came to that was dispatched in [since_ns, until_ns).

        agent: who did it. team: who asked for it, it or anyone below. What was spent on rejected
        attempts counts, for the tier and agent that spent it.
        """
        who = (task_class, tier, agent, team)
        row = self._kernel._core.cost(self._kernel._acting(), *who, since_ns, until_ns)
        return Cost(*row, since_ns, until_ns)
