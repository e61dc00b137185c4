"""What a transfer can say beside its amount, and what a batch of them answers."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from enum import IntEnum, IntFlag

import numpy as np
from numpy.typing import NDArray

from .outcome import TransferOutcome
from .reasons import refuse

__all__ = ["Budget", "Hold", "HoldState", "Moves", "TransferFlag", "TransferKind"]

KEY_MAX = (1 << 128) - 1
_WORD = (1 << 64) - 1


class TransferKind(IntEnum):
    """At once, reserved for later, or the end of a reservation."""

    single = 0
    pending = 1
    post = 2
    void = 3


class TransferFlag(IntFlag):
    """linked: the next transfer belongs to the same chain, all or nothing.

    balancing_debit, balancing_credit: at most what the account has, or owes. closing_debit,
    closing_credit (a hold): closes the account; voiding the hold reopens it. fee (a hold): when
    posted, the house takes its basis points.
    """

    linked = 1
    balancing_debit = 2
    balancing_credit = 4
    closing_debit = 8
    closing_credit = 16
    fee = 32


class HoldState(IntEnum):
    """unknown: the world outside was asked to settle and has not answered; funds stay pending."""

    open = 0
    posted = 1
    voided = 2
    expired = 3
    unknown = 4


RELEASERS = {"buyer": 1, "seller": 2, "arbiter": 4}


@dataclass(frozen=True, slots=True)
class Hold:
    """A reservation. left: neither posted nor released yet. post_by, void_by: who may end it."""

    id: int
    state: HoldState
    debit: int
    credit: int
    arbiter: int
    unit: str
    amount: int
    left: int
    expires_ns: int
    code: int
    post_by: tuple[str, ...]
    void_by: tuple[str, ...]
    flags: TransferFlag
    of_task: bool


@dataclass(frozen=True, slots=True)
class Budget:
    """What may leave an agent and those below it; pending + posted never pass a limit upwards."""

    limit: int
    pending: int
    posted: int

    @property
    def left(self) -> int:
        """What may still leave; 0 where the limit was set below what is used."""
        return max(0, self.limit - self.pending - self.posted)


@dataclass(frozen=True, slots=True)
class Moves:
    """What a batch did: outcomes uint8[n], holds uint64[n] (0: none), amounts uint64[n] moved.

    position: of its record in the journal; None where an atomic batch failed.
    """

    position: int | None
    outcomes: NDArray[np.uint8]
    holds: NDArray[np.uint64]
    amounts: NDArray[np.uint64]

    @property
    def ok(self) -> bool:
        """Every element took place, now or before."""
        return bool(np.all(self.outcomes <= TransferOutcome.exists))


def key_words(key: int | uuid.UUID | None, field: str = "key") -> tuple[int, int]:
    """The halves of a key, high and low; (0, 0) for None."""
    if key is None:
        return 0, 0
    number = key.int if isinstance(key, uuid.UUID) else key
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
        refuse("WrongType", field, f"want an integer or a UUID, have a {type(key).__name__}")
    if not 1 <= number <= KEY_MAX:
        refuse("OutOfRange", field, f"want 1 … 2^128 - 1, have {number if number < 1 else 'more'}")
    return int(number) >> 64, int(number) & _WORD


def wide(value: int, field: str) -> NDArray[np.uint64]:
    """A number of 128 bits as a row of two words."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        refuse("WrongType", field, f"want an integer, have a {type(value).__name__}")
    if not 0 <= value <= KEY_MAX:
        refuse("OutOfRange", field, "want 0 … 2^128 - 1")
    return np.array([[int(value) >> 64, int(value) & _WORD]], np.uint64)


def time_keys(count: int, now_ns: int) -> NDArray[np.uint64]:
    """Keys after RFC 9562, section 5.7 (UUIDv7): uint64[count, 2], high half first."""
    words = np.frombuffer(os.urandom(16 * count), np.uint64).reshape(count, 2).copy()
    stamp = (now_ns // 1_000_000) << 16 | 0x7000
    words[:, 0] = np.uint64(stamp) | (words[:, 0] & np.uint64(0x0FFF))
    words[:, 1] = np.uint64(1 << 63) | (words[:, 1] >> np.uint64(2))
    return words


def releasers(names: str | tuple[str, ...], field: str) -> int:
    """Bits of those who may end a hold."""
    bits = 0
    for name in (names,) if isinstance(names, str) else names:
        if name not in RELEASERS:
            refuse("OutOfRange", field, f"want some of {', '.join(RELEASERS)}, have {name!r}")
        bits |= RELEASERS[name]
    return bits


def names_of(bits: int) -> tuple[str, ...]:
    """Who may end a hold; () where it is whoever may debit the account."""
    return tuple(name for name, bit in RELEASERS.items() if bits & bit)
