"""The books once more, in plain Python: what each transfer must answer, in the order of the checks.

Written from the contract (src/cpp/ledger/transfer.hpp and the list at the head of check.cpp), with
whole numbers that have no size and copies instead of undoing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

MOST = 2**64 - 1
LINKED, BALANCING_DEBIT, BALANCING_CREDIT, CLOSING_DEBIT, CLOSING_CREDIT = 1, 2, 4, 8, 16
SINGLE, PENDING, POST, VOID = range(4)
TRANSIENT = {
    "unknown_account",
    "pending_not_found",
    "exceeds_credits",
    "exceeds_debits",
    "debit_closed",
    "credit_closed",
}


@dataclass
class Purse:
    """An account: both sides, posted and pending, and its limits."""

    debits_limited: bool = True
    credits_limited: bool = False
    closed: bool = False
    out: int = 0
    out_pending: int = 0
    came: int = 0
    came_pending: int = 0


@dataclass
class Promise:
    """A hold."""

    debit: int
    credit: int
    amount: int
    expires_ns: int
    flags: int
    state: str = "open"


@dataclass(frozen=True)
class Line:
    """One transfer of a batch."""

    kind: int = SINGLE
    flags: int = 0
    debit: int = 0
    credit: int = 0
    amount: int = 0
    hold: int = 0
    expires_ns: int = 0
    key: int = 0


Said = tuple[str, int, int]  # outcome, what moved, the hold that was opened


@dataclass
class Books:
    """All accounts of one unit, by agent; agents that are not in `purses` have none yet."""

    agents: set[int]
    purses: dict[int, Purse] = field(default_factory=dict)
    promises: list[Promise] = field(default_factory=list)
    keys: dict[int, tuple[Line, Said]] = field(default_factory=dict)
    now_ns: int = 0

    def again(self, line: Line) -> Said | None:
        if line.key == 0 or line.key not in self.keys:
            return None
        before, said = self.keys[line.key]
        if said[0] != "ok":
            return "id_already_failed", 0, 0
        fields = ("kind", "flags", "hold", "expires_ns", "debit", "credit", "amount")
        names = ("flags", "flags", "pending", "expiry", "debit", "credit", "amount")
        for name, word in zip(fields, names, strict=True):
            if getattr(before, name) != getattr(line, name):
                return f"exists_with_different_{word}", 0, 0
        return "exists", said[1], said[2]

    def judge_end(self, line: Line) -> Said:
        if line.hold == 0:
            return "pending_must_not_be_none", 0, 0
        if line.hold > len(self.promises):
            return "pending_not_found", 0, 0
        promise = self.promises[line.hold - 1]
        everything = line.amount == 0 or (line.kind == POST and line.amount == MOST)
        amount = promise.amount if everything else line.amount
        if amount > promise.amount:
            return "exceeds_pending", 0, 0
        if line.kind == VOID and amount != promise.amount:
            return "pending_has_different_amount", 0, 0
        if promise.state != "open":
            return f"already_{promise.state}", 0, 0
        if promise.expires_ns and promise.expires_ns <= self.now_ns:
            return "already_expired", 0, 0
        if line.kind == VOID:
            return "ok", 0, 0
        if self.purses[promise.debit].closed:
            return "debit_closed", 0, 0
        if self.purses[promise.credit].closed:
            return "credit_closed", 0, 0
        return "ok", amount, 0

    def judge_fields(self, line: Line) -> str:
        if line.debit == line.credit:
            return "accounts_must_differ"
        if line.hold:
            return "pending_must_be_none"
        if line.kind == SINGLE and line.expires_ns:
            return "expiry_reserved_for_pending"
        if line.kind == SINGLE and line.flags & (CLOSING_DEBIT | CLOSING_CREDIT):
            return "closing_must_be_pending"
        if line.amount == 0 and not line.flags & 30:
            return "amount_must_not_be_zero"
        if line.debit not in self.agents or line.credit not in self.agents:
            return "unknown_account"
        return "ok" if line.debit in self.purses else "unknown_account"

    def judge(self, line: Line) -> Said:
        said = self.again(line)
        if said is not None:
            return said
        if line.kind in (POST, VOID):
            return self.judge_end(line)
        wrong = self.judge_fields(line)
        if wrong != "ok":
            return wrong, 0, 0
        payer, payee = self.purses[line.debit], self.purses.get(line.credit, Purse())
        if payer.closed or payee.closed:
            return ("debit_closed" if payer.closed else "credit_closed"), 0, 0
        amount = line.amount
        if line.flags & BALANCING_DEBIT:
            amount = min(amount, max(0, payer.came - payer.out - payer.out_pending))
        if line.flags & BALANCING_CREDIT:
            amount = min(amount, max(0, payee.out - payee.came - payee.came_pending))
        debits = payer.out + payer.out_pending + amount
        credits = payee.came + payee.came_pending + amount
        if debits > MOST or credits > MOST:
            return "overflow", 0, 0
        if line.expires_ns and line.expires_ns <= self.now_ns:
            return "expiry_has_passed", 0, 0
        if payer.debits_limited and debits > payer.came:
            return "exceeds_credits", 0, 0
        if payee.credits_limited and credits > payee.out:
            return "exceeds_debits", 0, 0
        return "ok", amount, 0

    def finish(self, number: int, state: str, amount: int) -> None:
        promise = self.promises[number - 1]
        payer, payee = self.purses[promise.debit], self.purses[promise.credit]
        payer.out_pending -= promise.amount
        payee.came_pending -= promise.amount
        payer.out += amount
        payee.came += amount
        promise.state = state
        if state != "posted":
            payer.closed &= not promise.flags & CLOSING_DEBIT
            payee.closed &= not promise.flags & CLOSING_CREDIT

    def effect(self, line: Line, amount: int) -> int:
        """Does it; the hold that it opened, or 0."""
        if line.kind in (POST, VOID):
            self.finish(line.hold, "posted" if line.kind == POST else "voided", amount)
            return 0
        payer = self.purses[line.debit]
        payee = self.purses.setdefault(line.credit, Purse())
        if line.kind == SINGLE:
            payer.out += amount
            payee.came += amount
            return 0
        payer.out_pending += amount
        payee.came_pending += amount
        payer.closed |= bool(line.flags & CLOSING_DEBIT)
        payee.closed |= bool(line.flags & CLOSING_CREDIT)
        self.promises.append(Promise(line.debit, line.credit, amount, line.expires_ns, line.flags))
        return len(self.promises)

    def one(self, line: Line) -> Said:
        outcome, amount, hold = self.judge(line)
        if outcome == "ok":
            hold = self.effect(line, amount)
        if line.key and (outcome == "ok" or outcome in TRANSIENT):
            self.keys[line.key] = (line, (outcome, amount, hold))
        return outcome, amount, hold

    def chain(self, lines: list[Line]) -> list[Said]:
        """All or nothing. The first that fails keeps its outcome, and uses its key up."""
        parts = ("purses", "promises", "keys")
        before = {name: copy.deepcopy(getattr(self, name)) for name in parts}
        open_ended = bool(lines[-1].flags & LINKED)
        answers: list[Said] = []
        for number, line in enumerate(lines):
            last = open_ended and number == len(lines) - 1
            answers.append(("chain_open", 0, 0) if last else self.one(line))
            if answers[-1][0] == "ok":
                continue
            for name, value in before.items():
                setattr(self, name, value)
            failed = answers[-1][0]
            answers = [("linked_failed", 0, 0)] * len(lines)
            if open_ended:
                answers[-1] = ("chain_open", 0, 0)
            answers[number] = (failed, 0, 0)
            if line.key and failed in TRANSIENT:
                self.keys[line.key] = (line, (failed, 0, 0))
            break
        return answers

    def run(self, batch: list[Line], now_ns: int) -> list[Said]:
        """One record: what is due has expired before it."""
        for number, promise in enumerate(self.promises, 1):
            if promise.state == "open" and promise.expires_ns and promise.expires_ns <= now_ns:
                self.finish(number, "expired", 0)
        self.now_ns = now_ns
        answers: list[Said] = []
        first = 0
        for at, line in enumerate(batch):
            if line.flags & LINKED and at + 1 < len(batch):
                continue
            chain = batch[first : at + 1]
            alone = len(chain) == 1 and not line.flags & LINKED
            answers += [self.one(line)] if alone else self.chain(chain)
            first = at + 1
        return answers
