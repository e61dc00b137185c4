"""Routing that learns: the cheapest way to an accepted artifact, from what the journal says.

For a task class, tiers are tried from one of them upwards until an artifact is accepted. With c the
mean cost of an attempt and p the odds of acceptance of each tier, starting at tier t is expected to
cost C(t) = c(t) + (1 - p(t)) C(t + 1) and to be accepted with P(t) = 1 - prod(1 - p); the start
with the least C / P is taken. Against always taking the largest: saving =
1 / (1 / ratio + escalation share), where ratio is what the large tier costs of the small one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from .reasons import refuse

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Router", "RouterReport"]

_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


@dataclass(frozen=True, slots=True)
class RouterReport:
    """What routing came to. saving: against sending all to the largest tier, as measured; law:
    1 / (1 / ratio + escalation share). None where nothing is known yet.
    """

    tasks: int
    accepted: int
    spend: int
    escalations: int
    saving: Fraction | None
    law: Fraction | None

    @property
    def escalation_share(self) -> Fraction:
        """Escalations of tasks."""
        return Fraction(self.escalations, self.tasks) if self.tasks else Fraction(0)


class Router:
    """Chooses the tier of a task, and where it goes when a verifier says no.

    tiers: ascending, the numbers of offers' tiers. prices: what an attempt costs in each where the
    journal does not know yet. explore: share of choices that start at the smallest tier whatever
    the odds say, by `seed`. evidence_min: verdicts of a class and tier before its odds count.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        tiers: Sequence[int],
        prices: Sequence[int],
        explore: float = 0.0,
        seed: int = 0,
        evidence_min: int = 20,
    ) -> None:
        if not tiers or list(tiers) != sorted(set(tiers)):
            refuse("UnknownTier", "tiers", f"want different ones, ascending, have {list(tiers)}")
        if len(prices) != len(tiers) or min(prices) <= 0:
            refuse("OutOfRange", "prices", f"want {len(tiers)} above 0, have {list(prices)}")
        if not 0 <= explore <= 1:
            refuse("OutOfRange", "explore", f"want 0 … 1, have {explore}")
        self._kernel = kernel
        self.tiers = tuple(tiers)
        self.prices = dict(zip(tiers, prices, strict=True))
        self._explore = int(explore * (1 << 32))
        self._seed = seed
        self._evidence_min = evidence_min
        self._choices = 0

    def _estimate(self, task_class: str, tier: int) -> tuple[Fraction, Fraction]:
        """(mean cost of an attempt, odds of acceptance with the prior (1, 1))."""
        odds = self._kernel.tasks.odds(task_class, tier)
        judged = odds.accepted + odds.rejected
        if judged < self._evidence_min:
            # Nothing is known against it, so it is tried.
            return Fraction(self.prices[tier]), Fraction(1)
        cost = Fraction(odds.spend, odds.attempts) if odds.spend else Fraction(self.prices[tier])
        return cost, Fraction(odds.accepted + 1, judged + 2)

    def expected(self, task_class: str, tier: int) -> Fraction:
        """Cost per accepted artifact that starting at this tier is expected to have.

        Raises InvalidError (UnknownTier).
        """
        at = self._at(tier)
        cost, failing = Fraction(0), Fraction(1)
        for each in self.tiers[at:]:
            attempt, odds = self._estimate(task_class, each)
            cost += failing * attempt
            failing *= 1 - odds
        return cost / (1 - failing)

    def _at(self, tier: int) -> int:
        if tier not in self.prices:
            refuse("UnknownTier", "tier", f"want one of {list(self.tiers)}, have {tier}")
        return self.tiers.index(tier)

    def choose(self, task_class: str, *, need: int | None = None) -> int:
        """The tier to start at. need: declared by the task; it starts there. The same sequence of
        calls over the same journal makes the same choices. Raises InvalidError (UnknownTier).
        """
        if need is not None:
            return self.tiers[self._at(need)]
        self._choices += 1
        if _mix(self._seed ^ _mix(self._choices)) >> 32 < self._explore:
            return self.tiers[0]
        best = min(self.tiers, key=lambda tier: (self.expected(task_class, tier), tier))
        return best

    def above(self, tier: int) -> int | None:
        """Where a task goes that was rejected in this tier; None: nowhere."""
        at = self._at(tier) + 1
        return self.tiers[at] if at < len(self.tiers) else None

    def report(self, task_classes: Sequence[str]) -> RouterReport:
        """Over all work of these classes so far."""
        tasks = accepted = spend = escalations = 0
        for name in task_classes:
            cost = self._kernel.tasks.cost(task_class=name)
            tasks, accepted = tasks + cost.tasks, accepted + cost.accepted
            spend += cost.spend
            escalations += cost.attempts - cost.tasks
        if not tasks or not spend:
            return RouterReport(tasks, accepted, spend, escalations, None, None)
        smallest, largest = self.prices[self.tiers[0]], self.prices[self.tiers[-1]]
        ratio = Fraction(largest, smallest)
        law = 1 / (1 / ratio + Fraction(escalations, tasks))
        return RouterReport(
            tasks, accepted, spend, escalations, Fraction(largest * tasks, spend), law
        )
