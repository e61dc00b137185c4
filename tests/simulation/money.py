"""The commands of the model that move money: what each must answer, and what it changes."""

from __future__ import annotations

import copy

from tests.simulation.model import Model, Refused

TRANSIENT = ("UnknownAccount", "InsufficientFunds", "UnknownTransfer")


def admit_transfer(model: Model, actor: int, debit: int | None, amount: int) -> bool:
    """Whether who acts may debit that account; False: it is not there for them."""
    model.expire()
    model.act(actor)
    if not model.permits_transfer(amount):
        model.deny()
    if debit is None or actor in model.chain(debit):
        return True
    if model.same_view(actor, debit):
        raise Refused("NotPermitted")
    return False


def check_move(model: Model, debit: int, credit: int, amount: int, mine: bool) -> str:
    if debit == credit or amount == 0:
        return "OutOfRange"
    if not mine or credit >= len(model.agents) or debit not in model.purses:
        return "UnknownAccount"
    return "ok" if amount <= model.available(debit) else "InsufficientFunds"


def transfer(
    model: Model, actor: int, debit: int, credit: int, amount: int, key: int, hold_ns: int | None
) -> int:
    """hold_ns None: at once, and the position is answered; else a hold until then, and its id."""
    mine = admit_transfer(model, actor, debit, amount)
    body = (debit, credit, amount, hold_ns)
    done = model.transfer_keys.get((model.tenant(actor), key)) if key else None
    if done is not None:
        before, answer, hold = done
        position = model.commit()
        if answer != "ok":
            raise Refused("IdAlreadyFailed")
        if before != body:
            raise Refused("TransferExistsDifferent")
        return position if hold_ns is None else hold
    answer = check_move(model, debit, credit, amount, mine)
    hold = 0
    if answer == "ok" and hold_ns is not None:
        hold = model.open_hold(debit, credit, amount, hold_ns)
    elif answer == "ok":
        model.purse(debit).posted -= amount
        model.purse(credit).posted += amount
    if key and (answer == "ok" or answer in TRANSIENT):
        model.transfer_keys[model.tenant(actor), key] = (body, answer, hold)
    position = model.commit()
    if answer != "ok":
        raise Refused(answer)
    return position if hold_ns is None else hold


def require_right(model: Model, actor: int, hold: int, post: bool) -> None:
    """Who may see a hold and not end it is told so; for others it isn't there."""
    if 0 < hold <= len(model.holds):
        found = model.holds[hold - 1]
        if not model.may_end(actor, found, post) and model.sees(actor, found):
            raise Refused("NotPermitted")


def check_end(model: Model, actor: int, hold: int, amount: int, post: bool) -> str:
    found = model.holds[hold - 1] if 0 < hold <= len(model.holds) else None
    if found is None or found.payee == "escrow" or not model.may_end(actor, found, post):
        return "pending_not_found"
    if amount > found.amount:
        return "exceeds_pending"
    if found.state == "unknown":
        return "settlement_unknown"
    return "ok" if found.state == "open" else f"already_{found.state}"


ERRORS = {
    "pending_not_found": "UnknownTransfer",
    "exceeds_pending": "ExceedsHold",
    "settlement_unknown": "SettlementUnknown",
}


def end_hold(model: Model, hold: int, amount: int, post: bool) -> None:
    if post:
        model.post_hold(hold, amount or model.holds[hold - 1].amount)
    else:
        model.resolve(hold, "voided")


def resolve(model: Model, actor: int, hold: int, amount: int | None, post: bool) -> int:
    admit_transfer(model, actor, None, amount or 0)
    require_right(model, actor, hold, post)
    answer = check_end(model, actor, hold, amount or 0, post)
    if answer == "ok":
        end_hold(model, hold, amount or 0, post)
    position = model.commit()
    if answer != "ok":
        raise Refused(ERRORS.get(answer, "AlreadyResolved"))
    return position


def escrow(
    model: Model, actor: int, buyer: int, seller: int, amount: int, arbiter: int | None
) -> int:
    model.expire()
    model.act(actor)
    if not model.permits_transfer(amount):
        model.deny()
    if arbiter is not None and not model.same_view(actor, arbiter):
        raise Refused("UnknownAgent")
    mine = actor in model.chain(buyer)
    if not mine and model.same_view(actor, buyer):
        raise Refused("NotPermitted")
    answer = check_move(model, buyer, seller, amount, mine)
    hold = 0
    if answer == "ok":
        hold = model.open_hold(buyer, seller, amount, 0)
        found = model.holds[hold - 1]
        named = () if arbiter is None else ("arbiter",)
        found.arbiter, found.fee = arbiter, True
        found.post_by, found.void_by = ("buyer", *named), ("seller", *named)
    model.commit()
    if answer != "ok":
        raise Refused(answer)
    return hold


def settle(model: Model, actor: int, hold: int, verdict: str) -> int:
    """unknown: the world outside was asked; posted, voided: what a look-up found."""
    model.expire()
    model.act(actor)
    found = model.holds[hold - 1] if 0 < hold <= len(model.holds) else None
    if found is None or not model.sees(actor, found):
        raise Refused("UnknownTransfer")
    unknown = found.state == "unknown"
    if not (verdict == "voided" and unknown and model.may_end(actor, found, True)):
        require_right(model, actor, hold, verdict != "voided")
    if found.payee == "escrow":
        raise Refused("UnknownTransfer")
    if unknown and verdict == "unknown":
        raise Refused("SettlementUnknown")
    if not unknown and found.state != "open":
        raise Refused("AlreadyResolved")
    if verdict == "unknown":
        found.state = "unknown"
    else:
        end_hold(model, hold, 0, verdict == "posted")
    return model.commit()


OUTCOMES = {"UnknownAccount": "unknown_account", "InsufficientFunds": "exceeds_credits"}
Line = dict[str, object]


def move_line(model: Model, actor: int, line: Line) -> tuple[str, int]:
    """One transfer of a batch: its outcome, and the hold that it opened."""
    kind, amount = line["kind"], line["amount"]
    if kind in ("post", "void"):
        answer = check_end(model, actor, line["hold"], amount, kind == "post")
        if answer == "ok":
            end_hold(model, line["hold"], amount, kind == "post")
        return answer, 0
    debit, credit = line["debit"], line["credit"]
    if debit == credit:
        return "accounts_must_differ", 0
    if amount == 0:
        return "amount_must_not_be_zero", 0
    answer = check_move(model, debit, credit, amount, actor in model.chain(debit))
    if answer != "ok":
        return OUTCOMES[answer], 0
    if kind == "pending":
        return "ok", model.open_hold(debit, credit, amount, line["expires_ns"])
    model.purse(debit).posted -= amount
    model.purse(credit).posted += amount
    return "ok", 0


def move_chain(model: Model, actor: int, lines: list[Line]) -> list[tuple[str, int]]:
    """All or nothing; the first that fails keeps its outcome."""
    purses, holds = copy.deepcopy(model.purses), copy.deepcopy(model.holds)
    answers = []
    for line in lines:
        answers.append(move_line(model, actor, line))
        if answers[-1][0] != "ok":
            model.purses, model.holds = purses, holds
            failed = len(answers) - 1
            answers = [("linked_failed", 0)] * len(lines)
            answers[failed] = (move_line_again(model, actor, lines, failed), 0)
            break
    return answers


def move_line_again(model: Model, actor: int, lines: list[Line], failed: int) -> str:
    """Why a line failed behind those before it, without their effects."""
    purses, holds = copy.deepcopy(model.purses), copy.deepcopy(model.holds)
    answer = [move_line(model, actor, line) for line in lines[: failed + 1]][-1][0]
    model.purses, model.holds = purses, holds
    return answer


def moves(model: Model, actor: int, lines: list[Line]) -> list[tuple[str, int]]:
    """A batch with chains: (outcome, hold) each, in one record."""
    model.expire()
    model.act(actor)
    if not model.permits_transfer(max(line["amount"] for line in lines)):
        model.deny()
    for line in lines:
        if line["kind"] in ("post", "void"):
            require_right(model, actor, line["hold"], line["kind"] == "post")
        elif actor not in model.chain(line["debit"]) and model.same_view(actor, line["debit"]):
            raise Refused("NotPermitted")
    answers, first = [], 0
    for at, line in enumerate(lines):
        if line["linked"]:
            continue
        chain = lines[first : at + 1]
        single = len(chain) == 1
        answers += [move_line(model, actor, line)] if single else move_chain(model, actor, chain)
        first = at + 1
    model.commit()
    return answers
