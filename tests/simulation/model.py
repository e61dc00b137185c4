"""What the kernel promises, written a second time in plain Python, without its code or its layout.

A Model takes the commands of `commands.py` one by one and says what each must answer. After every
record it files a copy of itself under the journal's count, so that a kernel that comes back with
`count` records can be compared with the world as it was then.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, field

ROOT = 0
NEVER = 0
RATE_PARTS = 1_000_000
POLICY_COUNT = 4
SETTLED = ("accepted", "voided", "expired")


class Refused(Exception):
    """What a command is refused with: the name of the error's code."""

    @property
    def name(self) -> str:
        return str(self.args[0])


def angle_between(a: int, b: int) -> float:
    """Directions are given in hundredths of a radian; nearer ones have the larger cosine."""
    turn = abs(a - b) / 100 % math.tau
    return min(turn, math.tau - turn)


@dataclass
class Agent:
    parent: int
    revoked: bool = False


@dataclass
class Purse:
    """An account: what came in less what went out, and what is promised either way."""

    posted: int = 0
    outgoing: int = 0
    incoming: int = 0
    remainder: int = 0

    @property
    def available(self) -> int:
        return self.posted - self.outgoing


@dataclass
class Hold:
    payer: object
    payee: object
    amount: int
    left: int
    expires_ns: int
    state: str = "open"
    arbiter: int | None = None
    post_by: tuple[str, ...] = ("buyer",)
    void_by: tuple[str, ...] = ("buyer",)
    fee: bool = False


@dataclass
class Offer:
    angle: int
    price: int
    tier: int
    slots: int
    version: int = 0
    open: int = 0

    @property
    def full(self) -> bool:
        return self.slots != 0 and self.open >= self.slots


@dataclass
class Task:
    requester: int
    worker: int
    budget: int
    price: int
    version: int
    tier: int
    hold: int
    deadline_ns: int
    payload: bytes
    dispatched_at: int
    changed_at: int
    state: str = "dispatched"
    attempt: int = 1
    spent: int = 0
    artifact: int | None = None


@dataclass
class Letter:
    """A message of a durable box. `handed` is not in the journal."""

    sequence: int
    sender: int
    payload: bytes
    attempt: int = 1
    handed: bool = False


@dataclass
class Box:
    capacity: int
    in_flight: int
    payload_bytes: int
    attempts: int
    accepted: int = 0
    acknowledged: int = 0
    queue: list[Letter] = field(default_factory=list)
    dead: list[tuple[int, int, int, str, bytes]] = field(default_factory=list)

    def bury(self, letter: Letter, reason: str) -> None:
        self.queue.remove(letter)
        dead = (letter.sequence, letter.sender, letter.attempt, reason, letter.payload)
        self.dead.append(dead)

    def again(self, letter: Letter) -> None:
        """It goes out once more, unless its attempts are used up."""
        if letter.attempt >= self.attempts:
            self.bury(letter, "expired")
        else:
            letter.attempt += 1
            letter.handed = False


@dataclass
class Model:
    """The whole state. An agent, a task and a hold are named by their number, in order of birth."""

    now: int
    fee_basis_points: int = 0
    count: int = 1  # the genesis record
    durable: int = 1  # how many records the caller has been told of
    last_ns: int = 0
    agents: list[Agent] = field(default_factory=lambda: [Agent(parent=-1)])
    purses: dict[object, Purse] = field(default_factory=dict)
    holds: list[Hold] = field(default_factory=list)
    offers: dict[int, Offer] = field(default_factory=dict)
    rates: dict[int, int] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    keys: dict[tuple[int, str], tuple[object, object]] = field(default_factory=dict)
    transfer_keys: dict[tuple[int, int], tuple[object, str, int]] = field(default_factory=dict)
    policy: int = 0
    epoch: int = 0
    deliveries: list[tuple[int, int]] = field(default_factory=list)
    spaces: int = 0
    boxes: dict[int, Box] = field(default_factory=dict)
    letter_keys: dict[tuple[int, str], tuple[object, int]] = field(default_factory=dict)
    states: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for purpose in ("issuance", "fees", "usage", "escrow"):
            self.purses[purpose] = Purse()
        self.last_ns = self.now
        self.history: dict[int, bytes] = {}
        self.file()

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "history"}

    def file(self) -> None:
        self.history[self.count] = pickle.dumps(self)

    def back_to(self, count: int, now: int) -> Model:
        """The world of `count` records, at another time."""
        model: Model = pickle.loads(self.history[count])
        model.history = dict(self.history)
        model.now = now
        return model

    def commit(self, told: bool = True) -> int:
        """One more record: everything it does has been done. Returns its position."""
        self.count += 1
        self.last_ns = max(self.last_ns + 1, self.now)
        if told:
            self.durable = self.count
        self.file()
        return self.count - 1

    # --- who is who

    def chain(self, agent: int) -> list[int]:
        found = [agent]
        while self.agents[found[-1]].parent >= 0:
            found.append(self.agents[found[-1]].parent)
        return found

    def live(self, agent: int) -> bool:
        return not any(self.agents[a].revoked for a in self.chain(agent))

    def tenant(self, agent: int) -> int:
        chain = self.chain(agent)
        return chain[-2] if len(chain) > 1 else ROOT

    def same_view(self, actor: int, other: int) -> bool:
        return ROOT in (actor, other) or self.tenant(actor) == self.tenant(other)

    def act(self, actor: int) -> None:
        if not self.live(actor):
            raise Refused("Revoked")

    def deny(self) -> None:
        """A refusal by policy is an event, and nothing else; nobody waits for the disk."""
        self.commit(told=False)
        raise Refused("PolicyDenied")

    # --- rules (their text is in commands.py)

    def permits_dispatch(self, price: int) -> bool:
        return self.policy != 1 or price <= 20

    def permits_transfer(self, amount: int) -> bool:
        return self.policy != 2 or amount <= 40

    def permits_accept(self, verified: bool) -> bool:
        return self.policy != 3 or verified

    # --- books

    def purse(self, owner: object) -> Purse:
        return self.purses.setdefault(owner, Purse())

    def available(self, agent: int) -> int:
        return self.purses[agent].available if agent in self.purses else 0

    def open_hold(self, payer: object, payee: object, amount: int, expires_ns: int) -> int:
        self.purse(payer).outgoing += amount
        self.purse(payee).incoming += amount
        self.holds.append(Hold(payer, payee, amount, amount, expires_ns))
        return len(self.holds)

    def draw(self, hold_id: int, amount: int, to: object) -> None:
        hold = self.holds[hold_id - 1]
        self.purse(hold.payer).outgoing -= amount
        self.purse(hold.payer).posted -= amount
        self.purse(hold.payee).incoming -= amount
        self.purse(to).posted += amount
        hold.left -= amount

    def resolve(self, hold_id: int, state: str) -> None:
        hold = self.holds[hold_id - 1]
        self.purse(hold.payer).outgoing -= hold.left
        self.purse(hold.payee).incoming -= hold.left
        hold.left = 0
        hold.state = state

    def post_hold(self, hold_id: int, amount: int) -> None:
        hold = self.holds[hold_id - 1]
        fee = amount * self.fee_basis_points // 10_000 if hold.fee else 0
        self.draw(hold_id, amount - fee, hold.payee)
        self.draw(hold_id, fee, "fees")
        self.resolve(hold_id, "posted")

    def may_end(self, actor: int, hold: Hold, post: bool) -> bool:
        parties = {"buyer": hold.payer, "arbiter": hold.arbiter}
        parties["seller"] = ROOT if hold.payee == "escrow" else hold.payee
        named = [parties[name] for name in (hold.post_by if post else hold.void_by)]
        return any(party is not None and actor in self.chain(party) for party in named)

    def sees(self, actor: int, hold: Hold) -> bool:
        others = [party for party in (hold.payee, hold.arbiter) if isinstance(party, int) and party]
        return any(self.same_view(actor, party) for party in (hold.payer, *others))

    # --- time

    def due(self) -> tuple[list[int], list[int]]:
        tasks = [
            number
            for number, task in enumerate(self.tasks)
            if task.state not in SETTLED and task.deadline_ns and task.deadline_ns <= self.now
        ]
        holds = [
            number
            for number, hold in enumerate(self.holds, 1)
            if hold.state == "open"
            and hold.payee != "escrow"
            and hold.expires_ns
            and hold.expires_ns <= self.now
        ]
        return tasks, holds

    def expire(self, told: bool = False) -> int:
        """Every command starts so: what is due has ended before it."""
        tasks, holds = self.due()
        if not tasks and not holds:
            return 0
        for number in tasks:
            self.settle(number, "expired", "expired")
        for number in holds:
            self.resolve(number, "expired")
        self.commit(told)
        return len(tasks) + len(holds)

    # --- tasks

    def settle(self, number: int, state: str, hold_state: str) -> None:
        task = self.tasks[number]
        self.resolve(task.hold, hold_state)
        self.free_slot(task)
        task.state = state
        task.changed_at = self.count

    def free_slot(self, task: Task) -> None:
        if task.version:
            self.offers[task.worker].open -= 1

    def unfinished(self) -> list[int]:
        return [n for n, task in enumerate(self.tasks) if task.state == "dispatched"]

    def reopen(self) -> None:
        """Opening for writing sends out again what was not finished."""
        self.reopen_tasks()
        self.reopen_boxes()

    def reopened(self) -> None:
        """Nobody has what was handed out before."""
        self.deliveries = []
        for box in self.boxes.values():
            for letter in box.queue:
                letter.handed = False

    def reopen_tasks(self) -> None:
        self.deliveries = []
        again = self.unfinished()
        for number in again:
            self.tasks[number].attempt += 1
            self.tasks[number].changed_at = self.count
            self.deliveries.append((number, self.tasks[number].attempt))
        if again:
            self.commit()

    def take_deliveries(self) -> list[tuple[int, int, int]]:
        """(task, attempt, worker) that `drain` must give now."""
        found = []
        for number, attempt in self.deliveries:
            task = self.tasks[number]
            if task.state == "dispatched" and task.attempt == attempt and self.live(task.worker):
                found.append((number, attempt, task.worker))
        self.deliveries = []
        return found

    # --- durable boxes

    def reopen_boxes(self) -> None:
        """What may have been handed out counts an attempt; nobody has it any more."""
        some = False
        for _, box in sorted(self.boxes.items()):
            for letter in box.queue:
                letter.handed = False
            for letter in box.queue[: box.in_flight]:
                box.again(letter)
                some = True
        if some:
            self.commit()

    def close_boxes(self) -> None:
        """After a revocation: what waits for agents that are gone is dead."""
        for agent, box in self.boxes.items():
            if not self.live(agent):
                for letter in list(box.queue):
                    box.bury(letter, "revoked")

    def take_letters(self) -> list[tuple[int, int, int, int, bytes]]:
        """(agent, sequence, attempt, sender, payload) that `drain` must give now, by agent."""
        found = []
        for agent, box in sorted(self.boxes.items()):
            room = box.in_flight - sum(letter.handed for letter in box.queue)
            for letter in [letter for letter in box.queue if not letter.handed][: max(room, 0)]:
                letter.handed = True
                found.append(
                    (agent, letter.sequence, letter.attempt, letter.sender, letter.payload)
                )
        return found
