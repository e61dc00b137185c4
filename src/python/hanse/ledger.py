"""Integer double entry: accounts in a named unit, transfers, holds."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .history import History
from .outcome import TransferOutcome
from .reasons import refuse, refuse_transfer
from .settlement import Settlements
from .transfer import (
    Budget,
    Moves,
    TransferFlag,
    TransferKind,
    key_words,
    releasers,
    time_keys,
    wide,
)

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Account", "Ledger", "Totals", "Usage"]

PURPOSES = ("balance", "issuance", "fees", "usage", "escrow")
LIMITS = {None: 0, "debits": 1, "credits": 2}
_CLOSED = 4
Column = int | NDArray[np.uint64]


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
    """One account: `available` is what can still be spent. remainder: micro-units of a unit.

    limit: "debits" must not exceed credits, "credits" not debits, or None.
    """

    owner: int
    purpose: str
    unit: str
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int
    remainder: int
    limit: str | None = "debits"
    closed: bool = False
    code: int = 0
    user_data_128: int = 0
    user_data_64: int = 0
    user_data_32: int = 0

    @property
    def available(self) -> int:
        """Posted credits less posted and pending debits; negative where debits have no limit."""
        return self.credits_posted - self.debits_posted - self.debits_pending


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all accounts of a unit: debits equal credits, always."""

    debits: int
    credits: int
    debits_pending: int
    credits_pending: int


def _count_of(column: Any, field: str) -> int:
    """The rows of a batch, by the array that it can't do without."""
    if not isinstance(column, np.ndarray):
        refuse("WrongType", field, f"want an array, have a {type(column).__name__}")
    if column.ndim != 1:
        refuse("DimensionMismatch", field, f"want 1 dimension, have {column.ndim}")
    return len(column)


class Ledger(Settlements, History):
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

    # --- one transfer

    def _one(self, kind: TransferKind, unit: int, columns: dict[str, Any]) -> tuple[int, int]:
        """Position and hold of one transfer; raises where it did not take place."""
        for name in ("keys", "chain_keys"):
            if name in columns:
                columns[name] = np.array([key_words(columns[name])], np.uint64)
        if columns.get("user_data_128"):
            columns["user_data_128"] = wide(columns["user_data_128"], "user_data_128")
        else:
            columns.pop("user_data_128", None)
        position, outcomes, holds, _ = self._kernel._core.move_many(
            self._kernel._acting(), 1, int(kind), unit, False, columns
        )
        outcome = TransferOutcome(int(outcomes[0]))
        if outcome > TransferOutcome.exists:
            refuse_transfer(outcome, position)
        assert position is not None  # a transfer that took place has its record
        return position, int(holds[0])

    def transfer(
        self,
        debit: int,
        credit: int,
        amount: int,
        *,
        unit: str = "usd_micro",
        key: int | uuid.UUID | None = None,
        flags: int = 0,
        code: int = 0,
        user_data_128: int = 0,
        user_data_64: int = 0,
        user_data_32: int = 0,
    ) -> int:
        """Moves an amount from one agent's balance to another's.

        key: the caller's id of the transfer, 1 … 2^128 - 1: the same key again moves nothing. With
        a time in its top 48 bits (UUIDv7) it is kept for 24 hours, then refused; below 2^64, for
        good. flags: hanse.TransferFlag balancing_*. code, user_data_*: the caller's own.
        Returns the journal position. Raises BudgetError, NotFoundError, ConflictError, DeniedError.
        """
        columns: dict[str, Any] = {"debit": debit, "credit": credit, "amounts": amount, "keys": key}
        columns |= {"flags": flags, "code": code, "user_data_128": user_data_128}
        columns |= {"user_data_64": user_data_64, "user_data_32": user_data_32}
        return self._one(TransferKind.single, self._unit(unit), columns)[0]

    def hold(
        self,
        debit: int,
        credit: int,
        amount: int,
        *,
        unit: str = "usd_micro",
        expires_ns: int = 0,
        key: int | uuid.UUID | None = None,
        flags: int = 0,
        code: int = 0,
        user_data_128: int = 0,
        user_data_64: int = 0,
        user_data_32: int = 0,
    ) -> int:
        """Reserves an amount for a later `post` or `void`; expires_ns absolute, 0: never.

        flags: hanse.TransferFlag balancing_*, closing_*. Returns the hold's id. Raises as
        `transfer`.
        """
        columns: dict[str, Any] = {"debit": debit, "credit": credit, "amounts": amount, "keys": key}
        columns |= {"flags": flags, "code": code, "user_data_128": user_data_128}
        columns |= {"user_data_64": user_data_64, "user_data_32": user_data_32}
        columns["expires_ns"] = expires_ns
        return self._one(TransferKind.pending, self._unit(unit), columns)[1]

    def escrow(
        self,
        buyer: int,
        seller: int,
        amount: int,
        *,
        arbiter: int | None = None,
        post_by: str | tuple[str, ...] = ("buyer", "arbiter"),
        void_by: str | tuple[str, ...] = ("seller", "arbiter"),
        fee: bool = True,
        unit: str = "usd_micro",
        expires_ns: int = 0,
        key: int | uuid.UUID | None = None,
        code: int = 0,
    ) -> int:
        """A hold that only those named may post or void: buyer, seller, arbiter (if there is one).

        fee: when posted, the house takes the basis points given at open. Returns the hold's id.
        Raises as `transfer`, and NotFoundError where the arbiter can't be seen.
        """
        if not isinstance(fee, bool):
            refuse("WrongType", "fee", f"want a bool, have a {type(fee).__name__}")
        mask = 7 if arbiter is not None else 3
        columns: dict[str, Any] = {
            "debit": buyer,
            "credit": seller,
            "amounts": amount,
            "keys": key,
            "expires_ns": expires_ns,
            "code": code,
            "flags": int(TransferFlag.fee) if fee else 0,
            "arbiter": 0 if arbiter is None else arbiter,
            "post_by": releasers(post_by, "post_by") & mask,
            "void_by": releasers(void_by, "void_by") & mask,
        }
        for field in ("post_by", "void_by"):
            if not columns[field]:
                refuse("OutOfRange", field, "names no one who is there")
        return self._one(TransferKind.pending, self._unit(unit), columns)[1]

    def post(
        self, hold: int, amount: int | None = None, *, key: int | uuid.UUID | None = None
    ) -> int:
        """Moves `amount` of a hold (None: all), releases the rest. Returns the position."""
        if amount == 0:
            refuse("OutOfRange", "amount", "want 1 or more, have 0; void releases a hold")
        columns: dict[str, Any] = {
            "holds": hold,
            "amounts": 0 if amount is None else amount,
            "keys": key,
        }
        return self._one(TransferKind.post, 0, columns)[0]

    def void(self, hold: int, *, key: int | uuid.UUID | None = None) -> int:
        """Releases a hold. Returns the journal position."""
        return self._one(TransferKind.void, 0, {"holds": hold, "keys": key})[0]

    # --- batches: one record, one flush

    def _many(
        self, kinds: Any, count: int, unit: int, atomic: bool, columns: dict[str, Any]
    ) -> Moves:
        return Moves(
            *self._kernel._core.move_many(
                self._kernel._acting(), count, kinds, unit, atomic, columns
            )
        )

    def transfer_many(
        self,
        debit: NDArray[np.uint64],
        credit: Column,
        amounts: Column,
        *,
        unit: str = "usd_micro",
        keys: NDArray[np.uint64] | None = None,
        atomic: bool = False,
    ) -> NDArray[np.uint8]:
        """Many transfers in one record: debit, credit, amounts uint64[n]; keys uint64[n] or [n, 2].

        Returns hanse.TransferOutcome numbers, uint8[n]. atomic: all or none.
        """
        columns: dict[str, Any] = {
            "debit": debit,
            "credit": credit,
            "amounts": amounts,
            "keys": keys,
        }
        unit_number = self._unit(unit)
        return self._many(0, _count_of(debit, "debit"), unit_number, atomic, columns).outcomes

    def hold_many(
        self,
        debit: NDArray[np.uint64],
        credit: Column,
        amounts: Column,
        *,
        unit: str = "usd_micro",
        expires_ns: Column = 0,
        keys: NDArray[np.uint64] | None = None,
        flags: int | NDArray[np.uint8] = 0,
        atomic: bool = False,
    ) -> Moves:
        """Many holds in one record, at most 8,190: arrays as in `transfer_many`."""
        columns: dict[str, Any] = {
            "debit": debit,
            "credit": credit,
            "amounts": amounts,
            "keys": keys,
        }
        columns |= {"expires_ns": expires_ns, "flags": flags}
        return self._many(
            int(TransferKind.pending), _count_of(debit, "debit"), self._unit(unit), atomic, columns
        )

    def post_many(
        self,
        holds: NDArray[np.uint64],
        amounts: Column = 0,
        *,
        keys: NDArray[np.uint64] | None = None,
        atomic: bool = False,
    ) -> Moves:
        """Posts many holds in one record: holds uint64[n]; amounts 0: all of it."""
        columns: dict[str, Any] = {"holds": holds, "amounts": amounts, "keys": keys}
        count = _count_of(holds, "holds")
        return self._many(int(TransferKind.post), count, 0, atomic, columns)

    def void_many(
        self,
        holds: NDArray[np.uint64],
        *,
        keys: NDArray[np.uint64] | None = None,
        atomic: bool = False,
    ) -> Moves:
        """Releases many holds in one record: holds uint64[n]."""
        columns: dict[str, Any] = {"holds": holds, "keys": keys}
        return self._many(int(TransferKind.void), _count_of(holds, "holds"), 0, atomic, columns)

    def move_many(
        self,
        kinds: NDArray[np.uint8],
        *,
        debit: Column = 0,
        credit: Column = 0,
        amounts: Column = 0,
        holds: Column = 0,
        unit: str = "usd_micro",
        expires_ns: Column = 0,
        flags: int | NDArray[np.uint8] = 0,
        keys: NDArray[np.uint64] | None = None,
        chain_keys: NDArray[np.uint64] | None = None,
        code: int | NDArray[np.uint16] = 0,
        user_data_128: NDArray[np.uint64] | None = None,
        user_data_64: Column = 0,
        user_data_32: int | NDArray[np.uint32] = 0,
        atomic: bool = False,
    ) -> Moves:
        """Transfers of any kinds (hanse.TransferKind, uint8[n]) in one record, chains among them.

        flags: hanse.TransferFlag, uint8[n]. A chain is a run of `linked` ones and the one behind
        it; chain_keys (of its first) make it safe to send again. keys, chain_keys, user_data_128:
        uint64[n], or [n, 2] with the high half first.
        """
        columns: dict[str, Any] = {
            "debit": debit,
            "credit": credit,
            "amounts": amounts,
            "holds": holds,
            "expires_ns": expires_ns,
            "flags": flags,
            "keys": keys,
            "chain_keys": chain_keys,
            "code": code,
            "user_data_128": user_data_128,
            "user_data_64": user_data_64,
            "user_data_32": user_data_32,
        }
        return self._many(kinds, _count_of(kinds, "kinds"), self._unit(unit), atomic, columns)

    def new_keys(self, count: int) -> NDArray[np.uint64]:
        """Fresh keys with the kernel's time in them (UUIDv7): uint64[count, 2]."""
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 1 << 20:
            refuse("OutOfRange", "count", f"want 1 … 2^20, have {count!r}")
        return time_keys(count, self._kernel.now_ns)

    def find(self, key: int | uuid.UUID) -> tuple[TransferOutcome, int, int]:
        """What a key was used for: outcome, amount that moved, hold (0: none).

        Raises NotFoundError (never used), ConflictError (KeyExpired).
        """
        outcome, amount, hold = self._kernel._core.find_key(self._kernel._acting(), *key_words(key))
        return TransferOutcome(outcome), amount, hold

    # --- accounts and budgets

    def open_account(
        self,
        agent: int,
        *,
        unit: str = "usd_micro",
        limit: str | None = "debits",
        code: int = 0,
        user_data_128: int = 0,
        user_data_64: int = 0,
        user_data_32: int = 0,
    ) -> int | None:
        """Opens an account before its first credit. limit: "debits" must not exceed credits,
        "credits" not debits, or None; without the limit on debits it may owe: the root's right.

        Returns the journal position, None where it was opened so before. Raises ConflictError
        (AccountExistsDifferent), DeniedError.
        """
        if limit not in LIMITS:
            refuse("OutOfRange", "limit", f'want "debits", "credits" or None, have {limit!r}')
        high, low = wide(user_data_128, "user_data_128")[0].tolist()
        data = (high, low, user_data_64, user_data_32)
        return self._kernel._core.open_account(
            self._kernel._acting(), agent, unit, LIMITS[limit], code, data
        )

    def set_budget(self, agent: int, limit: int, *, unit: str = "usd_micro") -> int:
        """How much may leave an agent and those below it, from now on; for whoever is above it.

        Payments between two below it do not leave it. Returns the journal position.
        """
        return self._kernel._core.set_budget(self._kernel._acting(), agent, limit, unit)

    def budget(self, agent: int, *, unit: str = "usd_micro") -> Budget | None:
        """The budget of an agent, or None."""
        row = self._kernel._core.budget(self._kernel._acting(), agent, self._unit(unit))
        return None if row is None else Budget(*row)

    def balance(self, agent: int, *, unit: str = "usd_micro", at: int | None = None) -> int:
        """What an agent can still spend, or could after the record at position `at`."""
        return self.account(agent, unit=unit, at=at).available

    def _account(self, row: tuple[Any, ...]) -> Account:
        unit = self._kernel._core.unit_name(row[2])
        limit = {number: name for name, number in LIMITS.items()}[row[8] & ~_CLOSED]
        closed = bool(row[8] & _CLOSED)
        return Account(
            row[0],
            PURPOSES[row[1]],
            unit,
            row[3],
            row[4],
            row[5],
            row[6],
            row[7],
            limit,
            closed,
            *row[9:],
        )

    def account(
        self,
        agent: int,
        *,
        unit: str = "usd_micro",
        purpose: str = "balance",
        at: int | None = None,
    ) -> Account:
        """One account. purpose: balance, or issuance, fees, usage, escrow of the root.

        at: as it was after the record at that position, without remainder and `closed`; raises as
        `entries`.
        """
        if purpose not in PURPOSES:
            refuse("OutOfRange", "purpose", f"want one of {', '.join(PURPOSES)}, have {purpose!r}")
        core, which = self._kernel._core, PURPOSES.index(purpose)
        who, unit_number = self._kernel._acting(), self._unit(unit)
        if at is None:
            return self._account(core.account(who, agent, unit_number, which))
        return self._account(core.account_at(who, agent, unit_number, which, at, None))

    def accounts(self, *, at: int | None = None) -> list[Account]:
        """All accounts that who acts may see; at: as in `account`."""
        core, who = self._kernel._core, self._kernel._acting()
        rows = core.accounts(who) if at is None else core.accounts_at(who, at, None)
        return [self._account(row) for row in rows]

    def totals(self, unit: str = "usd_micro") -> Totals:
        """Sums over all accounts of a unit."""
        return Totals(*self._kernel._core.totals(self._unit(unit)))
