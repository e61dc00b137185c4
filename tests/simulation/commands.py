"""Random commands from a seed, and how each is put to a kernel, so that answers can be compared."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import hanse
from hanse import _core
from hanse.errors import HanseError
from tests.simulation import rules
from tests.simulation.durable_commands import DurableChooser, DurablePerformer
from tests.simulation.model import POLICY_COUNT, Model, Refused

Command = tuple[str, dict[str, Any]]

START_NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
GENERATION = 1 << 32
NO_AGENT = 999

_PERMIT = "permit(principal, action, resource);\n"
POLICIES = (
    _PERMIT,
    _PERMIT + 'forbid(principal, action == Action::"dispatch", resource)'
    " when { resource.price > 20 };\n"
    'forbid(principal, action == Action::"escalate", resource) when { resource.price > 20 };',
    _PERMIT + 'forbid(principal, action == Action::"transfer", resource)'
    " when { context.amount > 40 };",
    _PERMIT + 'forbid(principal, action == Action::"accept", resource)'
    " when { context.verified == 0 };",
)
assert len(POLICIES) == POLICY_COUNT


def answer_of(model: Model, command: Command) -> object:
    """What the model says to a command, having done it."""
    name, arguments = command
    try:
        return getattr(rules, name)(model, **arguments)
    except Refused as refusal:
        return f"refused: {refusal.name}"


def id_of(number: int | None) -> int | None:
    return None if number is None else GENERATION | number


def number_of(id: int) -> int:
    return id & (GENERATION - 1)


def artifact_of(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "little")).digest()


def direction(angle: int) -> np.ndarray:
    return np.array([math.cos(angle / 100), math.sin(angle / 100)], dtype=np.float32)


class Performer(DurablePerformer):
    """Puts commands to a kernel and gives the answers in the model's words."""

    def __init__(self, kernel: hanse.Kernel, clock: hanse.ManualClock) -> None:
        self.kernel = kernel
        self.clock = clock

    def perform(self, command: Command) -> object:
        name, arguments = command
        try:
            return getattr(self, name)(**arguments)
        except hanse.StorageError:
            raise
        except HanseError as error:
            return f"refused: {error.name}"

    def me(self, actor: int) -> hanse.AgentView:
        return self.kernel.as_agent(id_of(actor))

    def add(self, parent: int, count: int) -> list[int]:
        kind = "group" if parent == 0 else "agent"
        ids = self.kernel.agents.add_many(count, parent=id_of(parent), kind=kind)
        return [number_of(int(id)) for id in ids]

    def revoke(self, agent: int) -> int:
        return self.kernel.agents.revoke(id_of(agent))

    def fund(self, agent: int, amount: int) -> int:
        return self.kernel.ledger.fund(id_of(agent), amount)

    def rates(self, tier: int, fresh: int) -> int:
        return self.kernel.ledger.set_rates(tier=tier, fresh=fresh)

    def publish(self, agent: int, angle: int, price: int, tier: int, slots: int) -> int:
        versions = self.kernel.capabilities.publish(
            np.array([id_of(agent)], dtype=np.uint64),
            direction(angle).reshape(1, 2),
            price=price,
            tier=tier,
            slots=slots,
        )
        return int(versions[0])

    def policy(self, number: int) -> int:
        return self.kernel.policy.load(POLICIES[number])

    def advance(self, ns: int, tick: bool) -> int:
        self.clock.advance(ns)
        return self.kernel.tick() if tick else 0

    def receipt(self, given: hanse.Receipt) -> tuple:
        return (
            given.outcome.name,
            number_of(given.task),
            number_of(given.agent),
            given.version,
            given.attempt,
            given.price,
            given.reserved,
            given.position,
        )

    def dispatch(self, actor: int, request: rules.Request) -> tuple:
        return self.receipt(
            self.me(actor).dispatch(
                to=id_of(request["to"]),
                query=None if request["angle"] is None else direction(request["angle"]),
                budget=request["budget"],
                payload=request["payload"],
                deadline_ns=request["deadline_ns"],
                key=request["key"],
            )
        )

    def dispatch_many(self, actor: int, requests: list[rules.Request]) -> list[str]:
        receipts = self.me(actor).dispatch_many(
            to=np.array([id_of(request["to"]) for request in requests], dtype=np.uint64),
            budgets=np.array([request["budget"] for request in requests], dtype=np.uint64),
            payloads=[request["payload"] for request in requests],
            keys=[request["key"] for request in requests],
        )
        return [REFUSALS.get(status, status.name) for status in map(hanse.Outcome, receipts.status)]

    def complete(self, actor: int, task: int, artifact: int, fresh: int) -> int:
        return self.me(actor).complete(
            id_of(task), artifact=artifact_of(artifact), usage=hanse.Usage(fresh=fresh)
        )

    def judge(self, actor: int, task: int, verdict: str, verifier: int | None) -> int:
        me = self.me(actor)
        if verdict == "void":
            return me.void(id_of(task))
        verb = me.accept if verdict == "accept" else me.reject
        return verb(id_of(task), verifier=id_of(verifier))

    def escalate(self, actor: int, task: int, to: int | None, angle: int | None) -> tuple:
        query = None if angle is None else direction(angle)
        return self.receipt(self.me(actor).escalate(id_of(task), to=id_of(to), query=query))

    def transfer(
        self, actor: int, debit: int, credit: int, amount: int, key: int, hold_ns: int | None
    ) -> int:
        ledger, ends = self.kernel.ledger, (id_of(debit), id_of(credit))
        with self.acting(actor):
            if hold_ns is None:
                return ledger.transfer(*ends, amount, key=key or None)
            return ledger.hold(*ends, amount, expires_ns=hold_ns, key=key or None)

    def resolve(self, actor: int, hold: int, amount: int | None, post: bool) -> int:
        ledger = self.kernel.ledger
        with self.acting(actor):
            return ledger.post(hold, amount) if post else ledger.void(hold)

    @contextmanager
    def acting(self, actor: int) -> Iterator[None]:
        """Only the kernel speaks of transfers; who acts is set as for an async handler."""
        token = _core.acting.set(self.kernel._core.acting_token(id_of(actor), 0))
        try:
            yield
        finally:
            _core.acting.reset(token)


REFUSALS = {
    hanse.Outcome.denied: "PolicyDenied",
    hanse.Outcome.insufficient_funds: "InsufficientFunds",
    hanse.Outcome.budget_exceeded: "BudgetExceeded",
    hanse.Outcome.conflict: "IdempotencyConflict",
    hanse.Outcome.full: "Backpressure",
    hanse.Outcome.unknown: "UnknownAgent",
    hanse.Outcome.revoked: "Revoked",
    hanse.Outcome.expired: "TimedOut",
}


# --- choosing


class Chooser(DurableChooser):
    """Draws commands that often succeed and often don't, from what a model of its own has seen."""

    def __init__(self, seed: int, fee_basis_points: int = 0, durable: bool = False) -> None:
        self.durable = durable
        self.random = random.Random(seed)
        self.model = Model(START_NS, fee_basis_points)
        self.commands: list[Command] = []

    def put(self, name: str, **arguments: Any) -> None:
        command = (name, arguments)
        answer_of(self.model, command)
        self.commands.append(command)

    def found_world(self) -> None:
        """Two teams: one with a buyer and workers, one of strangers."""
        self.put("add", parent=0, count=2)
        self.put("add", parent=1, count=4)
        self.put("add", parent=2, count=1)
        self.put("fund", agent=3, amount=400)
        for worker in (4, 5):
            self.put(
                "publish",
                agent=worker,
                angle=30 * worker,
                price=worker * 5,
                tier=worker % 2,
                slots=worker % 2,
            )
        self.put("rates", tier=0, fresh=700_001)
        if self.durable:
            self.declare()

    def agent(self) -> int:
        return self.random.randrange(1, len(self.model.agents))

    def live_agent(self) -> int:
        return self.random.choice([a for a in range(len(self.model.agents)) if self.model.live(a)])

    def actor(self) -> int:
        """Mostly the one who has money."""
        return self.random.choice((3, 3, 3, 3, 1, self.agent()))

    def deadline(self) -> int:
        later = self.random.choice((1, 2, 5)) * SECOND
        return self.random.choice((0, self.model.now + later))

    def request(self, key: str | None, direct: bool = False) -> rules.Request:
        to = self.random.choice((self.agent(), self.agent(), NO_AGENT, 4))
        by_match = not direct and self.random.random() < 0.5
        return {
            "to": None if by_match else to,
            "angle": 7 + 30 * self.random.randrange(12) if by_match else None,
            "budget": self.random.choice((5, 20, 25, 60, 90, 500)),
            "payload": self.random.choice((b"", b"work", b"w" * 5000)),
            "deadline_ns": 0 if direct else self.deadline(),
            "key": key,
        }

    def key(self) -> str | None:
        return self.random.choice((None, f"k{self.random.randrange(6)}"))

    def dispatch(self) -> None:
        actor, key = self.actor(), self.key()
        stored = self.model.keys.get((actor, key))
        again = stored is not None and self.random.random() < 0.5
        self.put("dispatch", actor=actor, request=stored[0] if again else self.request(key))

    def dispatch_many(self) -> None:
        count = self.random.randrange(2, 4)
        requests = [self.request(self.key(), direct=True) for _ in range(count)]
        self.put("dispatch_many", actor=self.actor(), requests=requests)

    def task(self, *states: str) -> int:
        wanted = [n for n, task in enumerate(self.model.tasks) if task.state in states]
        any_task = self.random.randrange(len(self.model.tasks) + 1)
        return self.random.choice(wanted) if wanted and self.random.random() < 0.9 else any_task

    def side(self, task: int, worker: bool) -> int:
        if task >= len(self.model.tasks) or self.random.random() < 0.1:
            return self.agent()
        found = self.model.tasks[task]
        return found.worker if worker else found.requester

    def complete(self) -> None:
        task = self.task("dispatched")
        self.put(
            "complete",
            actor=self.side(task, True),
            task=task,
            artifact=self.random.randrange(8),
            fresh=self.random.choice((0, 3, 10, 200)),
        )

    def judge(self) -> None:
        verdict = self.random.choice(("accept", "accept", "accept", "reject", "reject", "void"))
        task = self.task(*(("dispatched",) if verdict == "void" else ("completed",)))
        verifier = self.random.choice((None, 6, 6, self.agent()))
        verifier = None if verdict == "void" else verifier
        self.put(
            "judge", actor=self.side(task, False), task=task, verdict=verdict, verifier=verifier
        )

    def escalate(self) -> None:
        task = self.task("rejected", "completed")
        by_match = self.random.random() < 0.5
        angle = 7 + 30 * self.random.randrange(12) if by_match else None
        to = None if by_match else self.random.choice((4, 5, 6, self.agent()))
        self.put("escalate", actor=self.side(task, False), task=task, to=to, angle=angle)

    def transfer(self) -> None:
        debit = self.random.choice((3, 3, 4, self.agent()))
        credit = self.random.choice((4, 5, 6, self.agent(), NO_AGENT))
        expires = self.random.choice((0, self.model.now + 2 * SECOND))
        self.put(
            "transfer",
            actor=self.random.choice((debit, debit, 0, self.agent())),
            debit=debit,
            credit=credit,
            amount=self.random.choice((0, 1, 7, 30, 50, 1000)),
            key=self.random.choice((0, 1, 2, 3)),
            hold_ns=self.random.choice((None, expires)),
        )

    def resolve(self) -> None:
        holds = range(1, len(self.model.holds) + 2)
        ours = [h for h in holds[:-1] if self.model.holds[h - 1].payee != "escrow"]
        hold = self.random.choice(ours or holds)
        post = self.random.random() < 0.6
        amount = self.random.choice((None, None, 1, 5, 100)) if post else None
        payer = self.model.holds[hold - 1].payer if hold in holds[:-1] else 3
        actor = self.random.choice((payer, payer, 0, self.agent()))
        self.put("resolve", actor=actor, hold=hold, amount=amount, post=post)

    def rare(self) -> None:
        choice = self.random.randrange(4)
        if choice == 0:
            self.put("policy", number=self.random.randrange(POLICY_COUNT))
        elif choice == 1 and (worker := self.live_agent()) > 2:
            self.put(
                "publish",
                agent=worker,
                angle=30 * worker,
                price=self.random.choice((5, 25)),
                tier=self.random.randrange(2),
                slots=self.random.randrange(3),
            )
        elif choice == 2:
            self.put("fund", agent=self.live_agent(), amount=50)
        elif choice == 3 and self.random.random() < 0.5:
            self.put("revoke", agent=self.random.randrange(4, len(self.model.agents)))

    def advance(self) -> None:
        self.put(
            "advance",
            ns=self.random.choice((1, SECOND, 2 * SECOND)),
            tick=self.random.random() < 0.5,
        )

    def one(self) -> None:
        verbs = (
            [self.dispatch] * 5
            + [self.complete] * 4
            + [self.judge] * 4
            + [self.transfer] * 3
            + [self.escalate, self.escalate, self.dispatch_many, self.resolve, self.resolve]
            + [self.rare, self.rare, self.advance, self.advance]
        )
        self.random.choice(verbs + self.durable_verbs() if self.durable else verbs)()


def draw(seed: int, count: int, fee_basis_points: int = 0, durable: bool = False) -> list[Command]:
    """A world and at least `count` commands in it; `durable`: with durable boxes."""
    chooser = Chooser(seed, fee_basis_points, durable)
    chooser.found_world()
    count += len(chooser.commands)
    while len(chooser.commands) < count:
        chooser.one()
    return chooser.commands
