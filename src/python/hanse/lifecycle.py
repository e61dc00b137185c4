"""What happens to a task between dispatch and verdict, and what people and requesters say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from . import _core
from .acting import Acting
from .people import ApprovalItem
from .reasons import duration_ns, refuse

if TYPE_CHECKING:
    pass

__all__ = ["Conditions", "TaskVerbs"]


class Conditions(TypedDict, total=False):
    """What a dispatch may ask for beyond the usual.

    parent: the task that this one is part of; cancelled with it, and never due later. lease:
    seconds for which a worker that has begun may be silent; then the task goes out again.
    verifier: an agent, or the name of a role, that must verify. role: that the worker must have.
    approval: the rule by which a person must approve first; the task is offered until then.
    approver: that person; else one above the requester or of its tenant. answer_by_ns: silence
    until then is a denial; else one day.
    """

    parent: int
    lease: float
    verifier: int | str
    role: str
    approval: str
    approver: int
    answer_by_ns: int


def add_conditions(terms: _core.Terms, conditions: Conditions) -> None:
    """Puts them into the terms of a dispatch."""
    if unknown := sorted(set(conditions) - set(Conditions.__annotations__)):
        raise TypeError(f"dispatch got an unexpected keyword argument {unknown[0]!r}")
    verifier = conditions.get("verifier")
    lease = conditions.get("lease")
    named = verifier if isinstance(verifier, str) else ""
    terms.more(
        conditions.get("parent"),
        0 if lease is None else duration_ns(lease, "lease"),
        None if isinstance(verifier, str) else verifier,
        named,
        conditions.get("role", ""),
        conditions.get("approval", ""),
        conditions.get("approver"),
        conditions.get("answer_by_ns", 0),
    )


class TaskVerbs(Acting):
    """Mixed into Verbs."""

    __slots__ = ()

    def start(self, task: int) -> int:
        """The worker has begun, or, said again, is still alive: its lease runs anew.

        Returns the journal position. Raises ConflictError (IllegalTransition).
        """
        return self._owner()._core.start_task(self._acting(), task)

    def hand_back(self, task: int) -> int:
        """The worker gives up: the task goes out again, attempt + 1; after 16 it is voided."""
        return self._owner()._core.give_back_task(self._acting(), task)

    def declare_unknown(self, task: int) -> int:
        """No one knows what came of it. Its money stays reserved, and no deadline ends it, until
        the worker completes it after all or the requester voids it.
        """
        return self._owner()._core.declare_unknown(self._acting(), task)

    def verify(self, task: int, good: bool = True) -> int:
        """A verifier's word on completed work; not good: the task is rejected.

        Raises DeniedError (VerifierRequired: another was named; RoleMissing; NotPermitted: its own
        work).
        """
        return self._owner()._core.verify_task(self._acting(), task, good)

    def cancel(self, task: int) -> list[int]:
        """Voids a task and all below it that are not settled, in one record; returns them."""
        return self._owner()._core.cancel(self._acting(), task)

    def rate(self, task: int, good: bool) -> int:
        """The requester's opinion of a settled task, once: it turns the verdict or confirms it.

        Raises NotFoundError (NoReceipt: not settled by a verdict), ConflictError (AlreadyRated),
        DeniedError (SelfDealing: requester and worker are below one group or human).
        """
        return self._owner()._core.rate(self._acting(), task, good)

    def answer(self, item: ApprovalItem, allow: bool) -> list[int]:
        """Answers all requests of an item of the own inbox at once, for one unit of attention.

        Allowed tasks go out, others are voided; returns them. Raises DeniedError (PolicyDenied: no
        approver of it; ApprovalExpired), ConflictError (ApprovalStale), BudgetError
        (InsufficientFunds: no attention left today).
        """
        if not isinstance(item, ApprovalItem):
            refuse("WrongType", "item", f"want an ApprovalItem, have a {type(item).__name__}")
        asked = (item.rule, item.task_class, item.asked_to, item.answer_by_ns)
        return self._owner()._core.answer(self._acting(), *asked, bytes.fromhex(item.hash), allow)
