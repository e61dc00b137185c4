"""The commands of the model: what each must answer, and what it changes."""

from __future__ import annotations

from tests.simulation.durable_rules import (  # noqa: F401
    commit,
    declare,
    give_back,
    send_durable,
    send_durable_many,
)
from tests.simulation.model import (
    RATE_PARTS,
    ROOT,
    SETTLED,
    Agent,
    Model,
    Offer,
    Refused,
    Task,
    angle_between,
)

Pick = tuple[int, int, int, int]  # worker, version, tier, price
Request = dict[str, object]


def add(model: Model, parent: int, count: int) -> list[int]:
    model.expire()
    first = len(model.agents)
    model.agents += [Agent(parent) for _ in range(count)]
    model.commit()
    return list(range(first, first + count))


def reclaim(model: Model, agent: int) -> None:
    """What those about to be revoked had reserved, then what they own, goes to who is above."""
    to = model.agents[agent].parent
    while to != ROOT and not model.live(to):
        to = model.agents[to].parent
    open_tasks = [
        number
        for number, task in enumerate(model.tasks)
        if task.state not in SETTLED and agent in model.chain(task.requester)
    ]
    for number in open_tasks:
        model.settle(number, "voided", "voided")
    if open_tasks:
        model.commit(told=False)
    owned = [
        owner
        for owner in model.purses
        if isinstance(owner, int) and agent in model.chain(owner) and model.available(owner) > 0
    ]
    for owner in owned:
        amount = model.available(owner)
        model.purse(owner).posted -= amount
        model.purse(to).posted += amount
    if owned:
        model.commit(told=False)


def revoke(model: Model, agent: int) -> int:
    model.expire()
    reclaim(model, agent)
    model.agents[agent].revoked = True
    model.close_boxes()
    return model.commit()


def fund(model: Model, agent: int, amount: int) -> int:
    model.expire()
    model.purse("issuance").posted -= amount
    model.purse(agent).posted += amount
    return model.commit()


def rates(model: Model, tier: int, fresh: int) -> int:
    model.expire()
    model.rates[tier] = fresh
    return model.commit()


def publish(model: Model, agent: int, angle: int, price: int, tier: int, slots: int) -> int:
    model.expire()
    if not model.spaces:
        model.spaces = 1
        model.commit(told=True)
    offer = model.offers.setdefault(agent, Offer(angle, price, tier, slots))
    offer.angle, offer.price, offer.tier, offer.slots = angle, price, tier, slots
    offer.version += 1
    model.commit()
    return offer.version


def policy(model: Model, number: int) -> int:
    model.expire()
    model.policy = number
    model.epoch += 1
    model.commit()
    return model.epoch


def advance(model: Model, ns: int, tick: bool) -> int:
    model.now += ns
    return model.expire(told=True) if tick else 0


# --- dispatch


def consider(model: Model, worker: int, budget: int) -> str:
    """ok, or why this worker can't take it, in the order in which it is asked."""
    offer = model.offers.get(worker)
    price = offer.price if offer else 0
    if price > budget:
        return "BudgetExceeded"
    if offer and offer.full:
        return "Backpressure"
    if not model.live(worker):
        return "Revoked"
    return "ok" if model.permits_dispatch(price) else "PolicyDenied"


def picked(model: Model, worker: int, budget: int) -> Pick:
    offer = model.offers.get(worker)
    return (worker, offer.version, offer.tier, offer.price) if offer else (worker, 0, 0, budget)


def pick_by_match(
    model: Model, not_this: int, angle: int, budget: int, dearest: int | None
) -> Pick:
    """The nearest offer that passes. dearest None: too dear is another answer than none at all."""
    answers = set()
    by_distance = sorted(model.offers, key=lambda a: angle_between(model.offers[a].angle, angle))
    for worker in by_distance:
        offer = model.offers[worker]
        if worker == not_this or not model.live(worker) or offer.full:
            continue
        if dearest is not None and offer.price > min(budget, dearest):
            continue
        answer = consider(model, worker, budget)
        if answer == "ok":
            return picked(model, worker, budget)
        answers.add(answer)
    if "PolicyDenied" in answers:
        raise Refused("PolicyDenied")
    if dearest is None and any(
        offer.full and offer.price <= budget and worker != not_this and model.live(worker)
        for worker, offer in model.offers.items()
    ):
        raise Refused("Backpressure")  # a task doesn't fail because who could do it is busy
    raise Refused("BudgetExceeded" if "BudgetExceeded" in answers else "NoFeasibleAgent")


def pick(model: Model, request: Request, budget: int, not_this: int, dearest: int | None) -> Pick:
    to, angle = request["to"], request["angle"]
    if to is None:
        return pick_by_match(model, not_this, angle, budget, dearest)
    if to >= len(model.agents):
        raise Refused("UnknownAgent")
    answer = consider(model, to, budget)
    if answer != "ok":
        raise Refused(answer)
    return picked(model, to, budget)


def place(model: Model, actor: int, request: Request) -> Pick:
    budget = request["budget"]
    if request["deadline_ns"] and request["deadline_ns"] <= model.last_ns:
        raise Refused("TimedOut")
    if budget > model.available(actor):
        raise Refused("InsufficientFunds")
    return pick(model, request, budget, actor, 1 << 62)


def receipt(outcome: str, number: int, task: Task, position: int, attempt: int) -> tuple:
    return (outcome, number, task.worker, task.version, attempt, task.price, task.budget, position)


def dispatch_one(model: Model, actor: int, request: Request) -> tuple:
    key = request["key"]
    if key is not None and (actor, key) in model.keys:
        body, stored = model.keys[actor, key]
        if body != request:
            raise Refused("IdempotencyConflict")
        model.durable = max(model.durable, stored[-1] + 1)
        if stored[0] != "ok":
            raise Refused(stored[0])
        return ("replayed", *stored[1:])
    try:
        worker, version, tier, price = place(model, actor, request)
    except Refused as refusal:
        if refusal.name in ("PolicyDenied", "BudgetExceeded", "InsufficientFunds"):
            if key is not None:
                model.keys[actor, key] = (request, (refusal.name, model.count))
            model.commit()
        raise
    task = Task(
        requester=actor,
        worker=worker,
        budget=request["budget"],
        price=price,
        version=version,
        tier=tier,
        hold=model.open_hold(actor, "escrow", request["budget"], 0),
        deadline_ns=request["deadline_ns"],
        payload=request["payload"],
        dispatched_at=model.count,
        changed_at=model.count,
    )
    number = len(model.tasks)
    model.tasks.append(task)
    if version:
        model.offers[worker].open += 1
    model.deliveries.append((number, 1))
    stored = receipt("ok", number, task, model.count, 1)
    if key is not None:
        model.keys[actor, key] = (request, stored)
    model.commit()
    return stored


def dispatch(model: Model, actor: int, request: Request) -> tuple:
    model.act(actor)
    model.expire()
    return dispatch_one(model, actor, request)


def dispatch_many(model: Model, actor: int, requests: list[Request]) -> list[str]:
    """One name each: ok, replayed, or the refusal's."""
    model.act(actor)
    model.expire()
    answers = []
    for request in requests:
        try:
            answers.append(dispatch_one(model, actor, request)[0])
        except Refused as refusal:
            answers.append(refusal.name)
    return answers


# --- the other transitions


def task_for(model: Model, actor: int, number: int, as_worker: bool) -> Task:
    if number >= len(model.tasks):
        raise Refused("UnknownTask")
    task = model.tasks[number]
    if not model.same_view(actor, task.requester) and not model.same_view(actor, task.worker):
        raise Refused("UnknownTask")
    if actor not in model.chain(task.worker if as_worker else task.requester):
        raise Refused("NotPermitted")
    return task


def require_state(task: Task, *states: str) -> None:
    if task.state not in states:
        raise Refused("AlreadyResolved" if task.state in SETTLED else "IllegalTransition")


def complete(model: Model, actor: int, task: int, artifact: int, fresh: int) -> int:
    model.expire()
    model.act(actor)
    found = task_for(model, actor, task, True)
    require_state(found, "dispatched")
    payer = model.purse(found.requester)
    parts = payer.remainder + fresh * model.rates.get(found.tier, 0)
    cost, remainder = divmod(parts, RATE_PARTS)
    left = model.holds[found.hold - 1].left
    fee = min(found.price, left) if found.version else 0
    if cost > left - fee:
        raise Refused("ExceedsHold")
    payer.remainder = remainder
    model.draw(found.hold, cost, "usage")
    found.spent += cost
    found.state, found.artifact, found.changed_at = "completed", artifact, model.count
    return model.commit()


def accept(model: Model, found: Task, task: int, verifier: int | None) -> None:
    require_state(found, "completed")
    taken = [t for t in model.tasks if t.state == "accepted" and t.artifact == found.artifact]
    if taken:
        raise Refused("DuplicateArtifact")
    if not model.permits_accept(verifier is not None):
        model.deny()
    fee = min(found.price, model.holds[found.hold - 1].left)
    house = fee * model.fee_basis_points // 10_000
    if fee > house:
        model.draw(found.hold, fee - house, found.worker)
    model.draw(found.hold, house, "fees")
    model.settle(task, "accepted", "posted")
    found.spent += fee


def judge(model: Model, actor: int, task: int, verdict: str, verifier: int | None) -> int:
    model.expire()
    model.act(actor)
    if verifier is not None:
        model.act(verifier)
    found = task_for(model, actor, task, False)
    if verifier == found.worker:
        raise Refused("NotPermitted")
    if verdict == "accept":
        accept(model, found, task, verifier)
    elif verdict == "reject":
        require_state(found, "completed")
        found.state, found.changed_at = "rejected", model.count
    else:
        if found.state in SETTLED:
            raise Refused("AlreadyResolved")
        model.settle(task, "voided", "voided")
    return model.commit()


def escalate(model: Model, actor: int, task: int, to: int | None, angle: int | None) -> tuple:
    model.expire()
    model.act(actor)
    found = task_for(model, actor, task, False)
    require_state(found, "completed", "rejected")
    left = found.budget - found.spent
    try:
        if left == 0:
            raise Refused("BudgetExceeded")
        worker, version, tier, price = pick(model, {"to": to, "angle": angle}, left, actor, None)
    except Refused as refusal:
        if refusal.name == "BudgetExceeded":
            model.settle(task, "voided", "voided")
            model.commit()
        elif refusal.name == "PolicyDenied":
            model.commit()
        raise
    model.settle(task, "dispatched", "voided")
    found.worker, found.version, found.tier, found.price = worker, version, tier, price
    found.hold = model.open_hold(found.requester, "escrow", left, 0)
    found.attempt += 1
    found.artifact = None
    if version:
        model.offers[worker].open += 1
    model.deliveries.append((task, found.attempt))
    position = model.commit()
    return ("ok", task, worker, version, found.attempt, price, left, position)
