"""What daily verbs answer: one small number an element, the same in C++, C and Python."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Outcome", "TransferOutcome"]


class Outcome(IntEnum):
    """The outcome of a send, dispatch or transition."""

    ok = 0
    replayed = 1
    full = 2
    unknown = 3
    too_large = 4
    denied = 5
    revoked = 6
    no_match = 7
    insufficient_funds = 8
    budget_exceeded = 9
    conflict = 10
    stale = 11
    invalid = 12
    expired = 13
    aborted = 14
    latent_unavailable = 15
    illegal_transition = 16
    duplicate_artifact = 17
    exceeds_hold = 18
    closed = 19
    dropped = 20
    coalesced = 21
    cancelled = 22
    undeliverable = 23


class TransferOutcome(IntEnum):
    """The outcome of a transfer, in the order in which it is checked."""

    ok = 0
    exists = 1
    id_already_failed = 2
    exists_with_different_accounts = 3
    exists_with_different_amount = 4
    exists_with_different_unit = 5
    exists_with_different_pending = 6
    accounts_must_differ = 7
    amount_must_not_be_zero = 8
    unknown_account = 9
    unit_mismatch = 10
    overflow = 11
    exceeds_credits = 12
    pending_not_found = 13
    exceeds_pending = 14
    already_posted = 15
    already_voided = 16
    already_expired = 17
    aborted = 18
