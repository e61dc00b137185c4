"""Durable boxes in the simulation: how commands are drawn, put to a kernel, and compared."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import hanse
from tests.simulation.durable_rules import Send
from tests.simulation.model import Model

GENERATION = 1 << 32
BOXES = (4, 5, 6)


def id_of(number: int) -> int:
    return GENERATION | number


class DurablePerformer:
    """Puts commands on durable boxes to a kernel."""

    kernel: hanse.Kernel

    def me(self, actor: int) -> hanse.AgentView:
        raise NotImplementedError

    def declare(
        self, agents: list[int], capacity: int, in_flight: int, payload: int, attempts: int
    ) -> int:
        return self.kernel.mailboxes.durable(
            [id_of(agent) for agent in agents],
            capacity=capacity,
            in_flight=in_flight,
            payload_bytes=payload,
            attempts=attempts,
        )

    def send_durable(self, actor: int, to: int, payload: bytes, key: str | None) -> str:
        return hanse.Outcome(self.me(actor).send_durable(id_of(to), payload, key=key)).name

    def send_durable_many(self, actor: int, sends: list[Send]) -> list[str]:
        import numpy as np

        outcomes = self.me(actor).send_durable_many(
            np.array([id_of(to) for to, _, _ in sends], dtype=np.uint64),
            [payload for _, payload, _ in sends],
            keys=[key for _, _, key in sends],
        )
        return [hanse.Outcome(outcome).name for outcome in outcomes]

    def commit(self, actor: int, ack: list[int], sends: list[Send], state: bytes | None) -> int:
        rows = [(id_of(to), payload, key) for to, payload, key in sends]
        return self.me(actor).commit(ack=ack, send=rows, state=state)

    def give_back(self, actor: int, sequences: list[int]) -> int:
        return self.me(actor).give_back(sequences)


def check_boxes(kernel: hanse.Kernel, model: Model) -> None:
    """Counts, dead letters and states are the model's, and each box conserves its messages."""
    for agent, box in model.boxes.items():
        found = kernel.mailboxes.durable_box(id_of(agent))
        counts = (found.accepted, found.acknowledged, found.dead, found.queued)
        assert counts == (box.accepted, box.acknowledged, len(box.dead), len(box.queue)), agent
        assert found.accepted == found.acknowledged + found.dead + found.queued
        assert found.payload_bytes == sum(len(letter.payload) for letter in box.queue)
        dead = [
            (one.sequence, one.sender - GENERATION, one.attempt, one.reason.name, one.payload)
            for one in kernel.mailboxes.durable_dead_letters(id_of(agent))
        ]
        assert dead == box.dead, agent
    for agent in BOXES if model.boxes else ():
        assert kernel.mailboxes.state(id_of(agent)) == model.states.get(agent, b""), agent


def check_letters(batch: hanse.Batch, model: Model) -> None:
    """A drain gave what the model says: in the order of each box, not acknowledged ones alone."""
    given = [
        (one.to - GENERATION, one.sequence, one.attempt, one.sender - GENERATION, one.payload)
        for one in batch.durable
    ]
    assert sorted(given, key=lambda one: one[0]) == model.take_letters()


class DurableChooser:
    """Draws commands on durable boxes."""

    random: random.Random
    model: Model
    put: Callable[..., None]

    def declare(self, agents: tuple[int, ...] = BOXES) -> None:
        self.put(
            "declare",
            agents=list(agents),
            capacity=self.random.choice((3, 5)),
            in_flight=self.random.choice((1, 2, 4)),
            payload=self.random.choice((6000, 20_000)),
            attempts=self.random.choice((1, 2, 3)),
        )

    def one_send(self) -> Send:
        to = self.random.choice((*BOXES, *BOXES, *BOXES, 3, 999))
        payload = self.random.choice((b"", b"a", b"b", b"w" * 5000, b"l" * 30_000))
        return to, payload, self.random.choice((None, None, f"d{self.random.randrange(4)}"))

    def again(self, actor: int) -> list[Send]:
        """Something that was sent under a key before."""
        stored = [(k, v) for k, v in self.model.letter_keys.items() if k[0] == actor]
        if not stored or self.random.random() < 0.6:
            return []
        (_, key), ((to, payload), _) = self.random.choice(stored)
        return [(to, payload, key)]

    def send_durable(self) -> None:
        actor = self.random.choice((3, 3, *BOXES))
        to, payload, key = (*self.again(actor), self.one_send())[0]
        self.put("send_durable", actor=actor, to=to, payload=payload, key=key)

    def send_durable_many(self) -> None:
        actor = self.random.choice((3, 3, *BOXES))
        sends = self.again(actor) + [self.one_send() for _ in range(self.random.randrange(2, 5))]
        self.put("send_durable_many", actor=actor, sends=sends)

    def sequences(self, actor: int, least: int) -> list[int]:
        """Mostly of what waits."""
        box = self.model.boxes.get(actor)
        queue = [letter.sequence for letter in box.queue] if box else []
        count = min(len(queue), self.random.randrange(least, 3))
        chosen = self.random.sample(queue, count)
        if self.random.random() < 0.15 or (least and not chosen):
            chosen.append(self.random.randrange(0, (box.accepted if box else 0) + 2))
        return chosen

    def commit(self) -> None:
        actor = self.random.choice((*BOXES, *BOXES, 3))
        ack = self.sequences(actor, 0)
        sends = self.again(actor) + [self.one_send() for _ in range(self.random.randrange(3))]
        states: tuple[Any, ...] = (None, b"", b"s%d" % self.model.count, b"S" * 5000)
        state = self.random.choice(states)
        if ack or sends or state is not None:
            self.put("commit", actor=actor, ack=ack, sends=sends[:2], state=state)

    def give_back(self) -> None:
        actor = self.random.choice(BOXES)
        self.put("give_back", actor=actor, sequences=self.sequences(actor, 1))

    def durable_verbs(self) -> list[Callable[[], None]]:
        return (
            [self.send_durable] * 6
            + [self.send_durable_many] * 3
            + [self.commit] * 8
            + [self.give_back] * 3
            + [self.redeclare]
        )

    def redeclare(self) -> None:
        self.declare((self.random.choice(BOXES),))
