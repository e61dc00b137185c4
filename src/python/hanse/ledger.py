"""Integer double entry: accounts in a named unit, transfers, holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .outcome import TransferOutcome
from .reasons import refuse, refuse_transfer

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Account", "Ledger", "Totals", "Usage"]

PURPOSES = ("balance", "issuance", "fees", "usage", "escrow")
_SINGLE, _PENDING, _POST, _VOID = range(4)


class Usage(NamedTuple):
    """Tokens of one completion: read fresh, read from a cache, written to a cache, put out."""

    fresh: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """All tokens."""
        return self.fresh + self.cache_read + self.cache_write + self.output


@dataclass(frozen=True, slots=True)
class Account:
    """One account: `available` is what can still be spent. remainder: micro-units of a unit."""

    owner: int
    purpose: str
    unit: str
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int
    remainder: int

    @property
    def available(self) -> int:
        """Posted credits less posted and pending debits; negative for issuance alone."""
        return self.credits_posted - self.debits_posted - self.debits_pending


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all accounts of a unit: debits equal credits, always."""

    debits: int
    credits: int
    debits_pending: int
    credits_pending: int


class Ledger:
    """The accounts of a kernel. Amounts are whole units, 0 … 2^64 - 1."""

    __slots__ = ("_kernel", "_units")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._units: dict[str, int] = {}

    def _unit(self, name: str) -> int:
        known = self._units.get(name)
        if known is None:
            known = self._units[name] = self._kernel._core.unit(name)
        return known

    def fund(self, agent: int, amount: int, *, unit: str = "usd_micro") -> int:
        """Credits an agent out of the unit's issuance account; a new unit is created.

        Returns the journal position. Raises NotFoundError, BudgetError, DeniedError.
        """
        return self._kernel._core.fund(self._kernel._acting(), agent, amount, unit)

    def set_rates(
        self,
        unit: str = "usd_micro",
        tier: int = 0,
        *,
        fresh: int = 0,
        cache_read: int = 0,
        cache_write: int = 0,
        output: int = 0,
    ) -> int:
        """What a tier's tokens cost, in micro-units per million. Returns the journal position."""
        return self._kernel._core.set_rates(
            self._kernel._acting(), unit, tier, fresh, cache_read, cache_write, output
        )

    def _transfer(
        self,
        kind: int,
        debit: int,
        credit: int,
        amount: int,
        unit: int,
        key: int | None,
        hold: int,
        expires_ns: int,
    ) -> tuple[int, int]:
        if key is None:
            key = 0
        elif key == 0:
            refuse("OutOfRange", "key", "want 1 … 2^64 - 1, have 0")
        position, outcome, opened = self._kernel._core.transfer(
            self._kernel._acting(), kind, debit, credit, amount, unit, key, hold, expires_ns
        )
        if outcome > TransferOutcome.exists:
            refuse_transfer(TransferOutcome(outcome), position)
        assert position is not None  # a transfer that took place has its record
        return position, opened

    def transfer(
        self,
        debit: int,
        credit: int,
        amount: int,
        *,
        unit: str = "usd_micro",
        key: int | None = None,
    ) -> int:
        """Moves an amount from one agent's balance to another's.

        key: the caller's id of the transfer, 1 … 2^64 - 1: the same key again moves nothing.
        Returns the journal position. Raises BudgetError, NotFoundError, ConflictError, DeniedError.
        """
        return self._transfer(_SINGLE, debit, credit, amount, self._unit(unit), key, 0, 0)[0]

    def transfer_many(
        self,
        debit: NDArray[np.uint64],
        credit: NDArray[np.uint64] | int,
        amounts: NDArray[np.uint64] | int,
        *,
        unit: str = "usd_micro",
        keys: NDArray[np.uint64] | None = None,
        atomic: bool = False,
    ) -> NDArray[np.uint8]:
        """Many transfers in one record: debit, credit, amounts, keys uint64[n].

        Returns hanse.TransferOutcome numbers, uint8[n]. atomic: all or none.
        """
        return self._kernel._core.transfer_many(
            self._kernel._acting(), debit, credit, amounts, self._unit(unit), keys, atomic
        )

    def hold(
        self,
        debit: int,
        credit: int,
        amount: int,
        *,
        unit: str = "usd_micro",
        expires_ns: int = 0,
        key: int | None = None,
    ) -> int:
        """Reserves an amount for a later `post` or `void`; expires_ns absolute, 0: never.

        Returns the hold's id. Raises as `transfer`.
        """
        number = self._unit(unit)
        return self._transfer(_PENDING, debit, credit, amount, number, key, 0, expires_ns)[1]

    def post(self, hold: int, amount: int | None = None) -> int:
        """Moves `amount` of a hold (None: all), releases the rest. Returns the position."""
        if amount == 0:
            refuse("OutOfRange", "amount", "want 1 or more, have 0; void releases a hold")
        amount = 0 if amount is None else amount
        return self._transfer(_POST, 0, 0, amount, 0, None, hold, 0)[0]

    def void(self, hold: int) -> int:
        """Releases a hold. Returns the journal position."""
        return self._transfer(_VOID, 0, 0, 0, 0, None, hold, 0)[0]

    def balance(self, agent: int, *, unit: str = "usd_micro") -> int:
        """What an agent can still spend."""
        return self.account(agent, unit=unit).available

    def _account(self, row: tuple[int, int, int, int, int, int, int, int]) -> Account:
        unit = self._kernel._core.unit_name(row[2])
        return Account(row[0], PURPOSES[row[1]], unit, *row[3:])

    def account(self, agent: int, *, unit: str = "usd_micro", purpose: str = "balance") -> Account:
        """One account. purpose: balance, or issuance, fees, usage, escrow of the root."""
        if purpose not in PURPOSES:
            refuse("OutOfRange", "purpose", f"want one of {', '.join(PURPOSES)}, have {purpose!r}")
        return self._account(
            self._kernel._core.account(
                self._kernel._acting(), agent, self._unit(unit), PURPOSES.index(purpose)
            )
        )

    def accounts(self) -> list[Account]:
        """All accounts that who acts may see."""
        return [self._account(row) for row in self._kernel._core.accounts(self._kernel._acting())]

    def totals(self, unit: str = "usd_micro") -> Totals:
        """Sums over all accounts of a unit."""
        return Totals(*self._kernel._core.totals(self._unit(unit)))
