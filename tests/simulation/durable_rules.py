"""Durable boxes in the model: what each command must answer, and what it changes."""

from __future__ import annotations

from tests.simulation.model import Box, Letter, Model, Refused

Send = tuple[int, bytes, str | None]  # to, payload, key

REFUSALS = {
    "full": "Backpressure",
    "unknown": "UnknownAgent",
    "too_large": "PayloadTooLarge",
    "revoked": "Revoked",
    "conflict": "IdempotencyConflict",
    "invalid": "OutOfRange",
}


def declare(
    model: Model, agents: list[int], capacity: int, in_flight: int, payload: int, attempts: int
) -> int:
    model.expire()
    for agent in agents:
        box = model.boxes.setdefault(agent, Box(capacity, in_flight, payload, attempts))
        box.capacity, box.in_flight = capacity, in_flight
        box.payload_bytes, box.attempts = payload, attempts
    return model.commit()


def answer(model: Model, sender: int, one: Send, taken: list[Send]) -> str:
    """What becomes of a message, after those that its record has taken already."""
    to, payload, key = one
    if key is not None:
        before = model.letter_keys.get((sender, key))
        body = before[0] if before else next((t[:2] for t in taken if t[2] == key), None)
        if before and body == (to, payload):
            model.durable = max(model.durable, before[1] + 1)
        if body is not None:
            return "replayed" if body == (to, payload) else "conflict"
    if to >= len(model.agents):
        return "unknown"
    if not model.live(to):
        return "revoked"
    box = model.boxes.get(to)
    if box is None:
        return "invalid"
    if len(payload) > box.payload_bytes:
        return "too_large"
    waiting = [letter.payload for letter in box.queue] + [t[1] for t in taken if t[0] == to]
    size = sum(map(len, waiting)) + len(payload)
    full = len(waiting) >= box.capacity or size > box.payload_bytes
    return "full" if full else "ok"


def put(model: Model, sender: int, taken: list[Send]) -> None:
    for to, payload, key in taken:
        box = model.boxes[to]
        box.queue.append(Letter(box.accepted, sender, payload))
        box.accepted += 1
        if key is not None:
            model.letter_keys[sender, key] = ((to, payload), model.count)


def send_durable_many(model: Model, actor: int, sends: list[Send]) -> list[str]:
    model.expire()
    if not model.live(actor):
        return ["revoked"] * len(sends)
    answers, taken = [], []
    for one in sends:
        answers.append(answer(model, actor, one, taken))
        if answers[-1] == "ok":
            taken.append(one)
    put(model, actor, taken)
    if taken:
        model.commit()
    return answers


def send_durable(model: Model, actor: int, to: int, payload: bytes, key: str | None) -> str:
    return send_durable_many(model, actor, [(to, payload, key)])[0]


def waiting(model: Model, actor: int, sequences: list[int]) -> list[Letter]:
    """Those of the actor's own box."""
    box = model.boxes.get(actor)
    found = []
    for sequence in sorted(sequences):
        if box is None or sequence >= box.accepted:
            raise Refused("OutOfRange")
        letter = next((one for one in box.queue if one.sequence == sequence), None)
        if letter is None or letter in found:
            raise Refused("AlreadyResolved")
        found.append(letter)
    return [one for sequence in sequences for one in found if one.sequence == sequence]


def commit(model: Model, actor: int, ack: list[int], sends: list[Send], state: bytes | None) -> int:
    """All of it or nothing."""
    model.expire()
    model.act(actor)
    letters = waiting(model, actor, ack)
    taken: list[Send] = []
    answers = []
    for one in sends:
        answers.append(answer(model, actor, one, taken))
        if answers[-1] == "ok":
            taken.append(one)
    for one in answers:
        if one in REFUSALS:
            raise Refused(REFUSALS[one])
    if not letters and not taken and state is None:
        return max(model.letter_keys[actor, key][1] for _, _, key in sends)
    for letter in letters:
        model.boxes[actor].queue.remove(letter)
        model.boxes[actor].acknowledged += 1
    put(model, actor, taken)
    if state is not None:
        model.states[actor] = state
    return model.commit()


def give_back(model: Model, actor: int, sequences: list[int]) -> int:
    model.expire()
    model.act(actor)
    for letter in waiting(model, actor, sequences):
        model.boxes[actor].again(letter)
    return model.commit()
