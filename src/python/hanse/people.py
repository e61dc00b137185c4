"""People: their attention is an account, what waits for them comes in groups, silence denies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["ApprovalItem", "People"]

ATTENTION = "attention"


@dataclass(frozen=True, slots=True)
class ApprovalItem:
    """Requests that one answer settles: those of one rule and one task class.

    budget: of all of them. answer_by_ns: silence until then is a denial. hash: hex, of all that is
    asked; the answer is refused where that has changed.
    """

    rule: str
    task_class: str
    tasks: tuple[int, ...]
    budget: int
    answer_by_ns: int
    asked_to: int
    hash: str

    def __len__(self) -> int:
        return len(self.tasks)


class People:
    """What waits for a person, and how much a person can answer in a day."""

    __slots__ = ("_kernel",)

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def set_attention(self, human: int, per_day: int) -> int:
        """Answers that a day (UTC) brings; what is left of one day is not added to the next.

        They lie in the human's account of the unit "attention". The root's right.
        """
        return self._kernel._core.set_attention(self._kernel._acting(), human, per_day)

    def attention(self, human: int) -> int:
        """What is left of it."""
        return self._kernel.ledger.balance(human, unit=ATTENTION)

    def inbox(self, human: int) -> list[ApprovalItem]:
        """What waits for this person, by (rule, task class)."""
        rows = self._kernel._core.inbox(self._kernel._acting(), human)
        return [ApprovalItem(*row[:6], row[6].hex()) for row in rows]
