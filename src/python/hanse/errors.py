"""Everything that can go wrong, each also the builtin that a reader expects.

An error names the field at fault, the limit and the value, and nothing has changed when it is
raised. Codes are pinned: the same number and name in C++, C and Python.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BudgetError",
    "BusyError",
    "ConflictError",
    "DeniedError",
    "DeviceError",
    "HanseError",
    "InternalError",
    "InvalidError",
    "LatentError",
    "NotFoundError",
    "StorageError",
    "TimedOutError",
]


class HanseError(Exception):
    """The base of all errors.

    Attributes:
        code: the pinned number, such as 4001.
        name: the name of the code, such as "InsufficientFunds".
        field: which argument or part is at fault.
        detail: what was wanted and what came.
        id: the agent, task or account concerned, or None.
        position: of the journal's event (a refusal is recorded too), or None.
        reasons: of NoFeasibleAgent: how many offers each test refused; else empty.
    """

    def __init__(
        self,
        code: int,
        name: str,
        field: str = "",
        detail: str = "",
        id: int | None = None,
        position: int | None = None,
    ) -> None:
        self.code = code
        self.name = name
        self.field = field
        self.detail = detail
        self.id = id
        self.position = position
        self.reasons: dict[str, int] = {}
        # One argument only: OSError would read two or more as errno and strerror.
        super().__init__(self._text())

    def _text(self) -> str:
        text = f"{self.name}: {self.field}"
        if self.detail:
            text += f": {self.detail}"
        if self.id is not None:
            text += f" (id {self.id})"
        if self.position is not None:
            text += f" (position {self.position})"
        return text

    def __str__(self) -> str:
        return self._text()

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.code, self.name, self.field, self.detail, self.id, self.position)
        return type(self), arguments, {"reasons": self.reasons}


class InvalidError(HanseError, ValueError):
    """1xxx: wrong type, shape, range, thread; closed, forked, read only."""


class NotFoundError(HanseError, LookupError):
    """20xx: unknown agent, offer, task …, or nothing feasible. A foreign object looks the same."""


class ConflictError(HanseError):
    """21xx: stale version, idempotency conflict, already resolved, illegal transition."""


class DeniedError(HanseError, PermissionError):
    """3xxx: policy denied, revoked, lease expired, not permitted."""


class BudgetError(HanseError):
    """4xxx: insufficient funds, exceeds hold, overflow, budget exceeded."""


class BusyError(HanseError):
    """5xxx: back pressure, quota exceeded, undeliverable, cancelled."""


class TimedOutError(BusyError, TimeoutError):
    """5003: no answer in time; what came of it is not known."""


class StorageError(HanseError, OSError):
    """6xxx: full, failed, corrupt (file, offset, position), locked, poisoned."""


class LatentError(HanseError):
    """70xx: incompatible (field, want, have), corrupt, positions overlap."""


class DeviceError(HanseError):
    """71xx: no device, device failed."""


class InternalError(HanseError):
    """9xxx: a broken invariant. The kernel stops accepting commands and says where."""
