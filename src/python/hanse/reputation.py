"""What settled work says of an agent, and the roles that it earns.

A verdict is one success or failure of its worker, with the prior (1, 1), halved every half-life:
decayed Beta counts in integers (after Jøsang and Ismail, 2002). Work inside of one party, that is
below one group or human, counts nothing; two parties that work for each other both ways count at
most what the house took as its fee.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from .reasons import duration_ns, refuse

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Reputation", "Role", "Standing"]

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Standing:
    """Counts of one task class. success and failure: millionths of a verdict, decayed to at_ns.

    accepted, rejected: verdicts that counted; they don't fade.
    """

    success: int
    failure: int
    accepted: int
    rejected: int
    at_ns: int

    @property
    def mean(self) -> float:
        """(success + 1) / (success + failure + 2)."""
        return float(self.exact)

    @property
    def exact(self) -> Fraction:
        """The mean, exactly."""
        return Fraction(self.success + _MILLION, self.success + self.failure + 2 * _MILLION)

    @property
    def count(self) -> float:
        """Verdicts, decayed."""
        return (self.success + self.failure) / _MILLION


@dataclass(frozen=True, slots=True)
class Role:
    """Who fulfils all of this has the role. mean: of the standing in task_class ("": none asked).

    count: verdicts at least, decayed. permissions: all of these bits.
    """

    name: str
    task_class: str
    mean: float
    count: float
    permissions: int


def _millionths(value: float, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, Fraction)):
        refuse("WrongType", field, f"want a number, have a {type(value).__name__}")
    if not 0 <= value <= 1 << 40:
        refuse("OutOfRange", field, f"want 0 or more, have {value}")
    return int(Fraction(value) * _MILLION)


class Reputation:
    """Standing and roles of a kernel's agents."""

    __slots__ = ("_kernel",)

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def set_terms(self, *, half_life: float | None = None, fee_per_verdict: int = _MILLION) -> int:
        """half_life: seconds; None: nothing fades. fee_per_verdict: the house's fee that buys one
        whole verdict where two parties work for each other both ways. The root's right.
        """
        half = 0 if half_life is None else duration_ns(half_life, "half_life")
        kernel = self._kernel
        return kernel._core.set_reputation_terms(kernel._acting(), half, fee_per_verdict)

    def of(self, agent: int, task_class: str) -> Standing:
        """As of now. An agent without work in that class has the prior alone."""
        kernel = self._kernel
        return Standing(*kernel._core.standing(kernel._acting(), agent, task_class))

    def all_of(self, agent: int) -> dict[str, Standing]:
        """By task class."""
        kernel = self._kernel
        rows = kernel._core.standings(kernel._acting(), agent)
        return {task_class: Standing(*row) for task_class, row in rows}

    def set_role(
        self,
        name: str,
        *,
        task_class: str = "",
        mean: float = 0.0,
        count: float = 0,
        permissions: int = 0,
    ) -> int:
        """Defines a role, or defines it anew. The root's right. Returns the journal position."""
        kernel = self._kernel
        limits = (_millionths(mean, "mean"), _millionths(count, "count"))
        return kernel._core.set_role(kernel._acting(), name, task_class, *limits, permissions)

    def roles(self) -> list[Role]:
        """All that are defined."""
        rows = self._kernel._core.roles()
        return [Role(row[0], row[1], row[2] / 1e6, row[3] / 1e6, row[4]) for row in rows]

    def has_role(self, agent: int, role: str) -> bool:
        """Now. Raises NotFoundError (UnknownRole)."""
        return self._kernel._core.has_role(self._kernel._acting(), agent, role)

    def roles_of(self, agent: int) -> list[str]:
        """The names of those it has now."""
        return [role.name for role in self.roles() if self.has_role(agent, role.name)]
