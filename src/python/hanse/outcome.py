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
    pending = 24
    role_missing = 25
    paused = 26


class TransferOutcome(IntEnum):
    """The outcome of a transfer; the order of checks is the ledger's contract."""

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
    exists_with_different_flags = 19
    exists_with_different_expiry = 20
    exists_with_different_debit = 21
    exists_with_different_credit = 22
    exists_with_different_user_data_128 = 23
    exists_with_different_user_data_64 = 24
    exists_with_different_user_data_32 = 25
    exists_with_different_code = 26
    exists_with_different_terms = 27
    exists_with_different_chain = 28
    linked_failed = 29
    chain_open = 30
    flags_exclude_each_other = 31
    pending_must_be_none = 32
    pending_must_not_be_none = 33
    expiry_reserved_for_pending = 34
    closing_must_be_pending = 35
    terms_reserved_for_pending = 36
    expiry_has_passed = 37
    pending_has_different_debit = 38
    pending_has_different_credit = 39
    pending_has_different_unit = 40
    pending_has_different_code = 41
    pending_has_different_amount = 42
    debit_closed = 43
    credit_closed = 44
    exceeds_debits = 45
    exceeds_budget = 46
    settlement_unknown = 47
    key_expired = 48
    key_too_new = 49
    too_many_keys = 50
