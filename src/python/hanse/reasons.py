"""From the name of an error code, or a refused outcome, to the error that is raised."""

from __future__ import annotations

from typing import NoReturn

from . import _core
from .outcome import Outcome, TransferOutcome

_CODES: dict[str, int] = {name: number for number, name, _ in _core.error_codes()}

_OF_OUTCOME = {
    Outcome.full: "Backpressure",
    Outcome.unknown: "UnknownAgent",
    Outcome.too_large: "PayloadTooLarge",
    Outcome.denied: "PolicyDenied",
    Outcome.revoked: "Revoked",
    Outcome.no_match: "NoFeasibleAgent",
    Outcome.insufficient_funds: "InsufficientFunds",
    Outcome.budget_exceeded: "BudgetExceeded",
    Outcome.conflict: "IdempotencyConflict",
    Outcome.stale: "StaleVersion",
    Outcome.invalid: "OutOfRange",
    Outcome.expired: "TimedOut",
    Outcome.aborted: "BatchAborted",
    Outcome.latent_unavailable: "UnknownLatent",
    Outcome.illegal_transition: "IllegalTransition",
    Outcome.duplicate_artifact: "DuplicateArtifact",
    Outcome.exceeds_hold: "ExceedsHold",
    Outcome.closed: "Closed",
    Outcome.role_missing: "RoleMissing",
    Outcome.paused: "Paused",
}

_OF_TRANSFER = {
    TransferOutcome.id_already_failed: "IdAlreadyFailed",
    TransferOutcome.exists_with_different_accounts: "TransferExistsDifferent",
    TransferOutcome.exists_with_different_amount: "TransferExistsDifferent",
    TransferOutcome.exists_with_different_unit: "TransferExistsDifferent",
    TransferOutcome.exists_with_different_pending: "TransferExistsDifferent",
    TransferOutcome.unknown_account: "UnknownAccount",
    TransferOutcome.unit_mismatch: "UnitMismatch",
    TransferOutcome.overflow: "AmountOverflow",
    TransferOutcome.exceeds_credits: "InsufficientFunds",
    TransferOutcome.pending_not_found: "UnknownTransfer",
    TransferOutcome.exceeds_pending: "ExceedsHold",
    TransferOutcome.already_posted: "AlreadyResolved",
    TransferOutcome.already_voided: "AlreadyResolved",
    TransferOutcome.already_expired: "AlreadyResolved",
    TransferOutcome.aborted: "BatchAborted",
    TransferOutcome.exists_with_different_flags: "TransferExistsDifferent",
    TransferOutcome.exists_with_different_expiry: "TransferExistsDifferent",
    TransferOutcome.exists_with_different_debit: "TransferExistsDifferent",
    TransferOutcome.exists_with_different_credit: "TransferExistsDifferent",
    TransferOutcome.exists_with_different_user_data_128: "TransferExistsDifferent",
    TransferOutcome.exists_with_different_user_data_64: "TransferExistsDifferent",
    TransferOutcome.exists_with_different_user_data_32: "TransferExistsDifferent",
    TransferOutcome.exists_with_different_code: "TransferExistsDifferent",
    TransferOutcome.exists_with_different_terms: "TransferExistsDifferent",
    TransferOutcome.exists_with_different_chain: "TransferExistsDifferent",
    TransferOutcome.linked_failed: "BatchAborted",
    TransferOutcome.debit_closed: "AccountClosed",
    TransferOutcome.credit_closed: "AccountClosed",
    TransferOutcome.exceeds_debits: "ExceedsDebits",
    TransferOutcome.exceeds_budget: "BudgetExceeded",
    TransferOutcome.settlement_unknown: "SettlementUnknown",
    TransferOutcome.key_expired: "KeyExpired",
    TransferOutcome.too_many_keys: "QuotaExceeded",
}  # the others say that a field is out of range


def code(name: str) -> int:
    """The pinned number of a code's name."""
    return _CODES[name]


def refuse(
    name: str, field: str, detail: str = "", id: int | None = None, position: int | None = None
) -> NoReturn:
    """Raises the error of this code."""
    _core.raise_error(_CODES[name], field, detail, id, position)


def duration_ns(seconds: float, field: str) -> int:
    """Seconds from now, as nanoseconds: more than 0, at most 100 years."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        refuse("WrongType", field, f"want seconds, have a {type(seconds).__name__}")
    if not 0 < seconds <= 3.2e9:
        refuse("OutOfRange", field, f"want more than 0 and at most 3.2e9 seconds, have {seconds}")
    return max(int(seconds * 1e9), 1)


def refuse_outcome(
    outcome: Outcome,
    field: str,
    detail: str = "",
    id: int | None = None,
    position: int | None = None,
) -> NoReturn:
    """Raises what a single call raises for an outcome that a batch would have answered."""
    refuse(_OF_OUTCOME[outcome], field, detail or outcome.name, id, position)


def refuse_transfer(outcome: TransferOutcome, position: int | None) -> NoReturn:
    """The same for a transfer."""
    refuse(_OF_TRANSFER.get(outcome, "OutOfRange"), "transfer", outcome.name, None, position)
