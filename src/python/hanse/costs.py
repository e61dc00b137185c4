"""What accepted work costs: by class, tier, agent, team and window."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from .reasons import refuse

__all__ = ["Cost", "Odds"]


@dataclass(frozen=True, slots=True)
class Odds:
    """How attempts of one class and tier (and agent) ended. lost: voided or expired unjudged."""

    accepted: int
    rejected: int
    lost: int
    spend: int

    @property
    def attempts(self) -> int:
        """Those that have ended."""
        return self.accepted + self.rejected + self.lost


@dataclass(frozen=True, slots=True)
class Cost:
    """Tasks dispatched in [since_ns, until_ns), the attempts at them, and what these came to.

    Spend and accepted artifacts are of the same tasks, so they can't be of different windows.
    """

    tasks: int
    attempts: int
    accepted: int
    rejected: int
    lost: int
    spend: int
    since_ns: int
    until_ns: int | None

    @property
    def per_accepted(self) -> int | None:
        """All spend divided by accepted artifacts, rounded down; None where there are none."""
        return self.spend // self.accepted if self.accepted else None

    @property
    def remainder(self) -> int:
        """What that division leaves."""
        return self.spend % self.accepted if self.accepted else self.spend

    def _same_window(self, other: Cost) -> None:
        if (self.since_ns, self.until_ns) != (other.since_ns, other.until_ns):
            refuse(
                "WindowMismatch",
                "window",
                f"[{self.since_ns}, {self.until_ns}) against [{other.since_ns}, {other.until_ns})",
            )

    def __add__(self, other: Cost) -> Cost:
        """Of both together. Raises InvalidError (WindowMismatch)."""
        self._same_window(other)
        return Cost(
            self.tasks + other.tasks,
            self.attempts + other.attempts,
            self.accepted + other.accepted,
            self.rejected + other.rejected,
            self.lost + other.lost,
            self.spend + other.spend,
            self.since_ns,
            self.until_ns,
        )

    def share_of(self, whole: Cost) -> Fraction:
        """This spend of the whole's; 0 of nothing. Raises InvalidError (WindowMismatch)."""
        self._same_window(whole)
        return Fraction(self.spend, whole.spend) if whole.spend else Fraction(0)

    def saving_over(self, other: Cost) -> Fraction | None:
        """How many times the cost per accepted artifact the other has; None without artifacts.

        Raises InvalidError (WindowMismatch).
        """
        self._same_window(other)
        if not self.accepted or not other.accepted or not self.spend:
            return None
        return Fraction(other.spend * self.accepted, other.accepted * self.spend)
