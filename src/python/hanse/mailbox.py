"""Messages between agents: what a drain takes out of their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._core import Message
from .durable import DurableBoxes
from .outcome import Outcome

__all__ = [
    "Batch",
    "Box",
    "DeadLetter",
    "LaneCounters",
    "MailboxCounters",
    "Mailboxes",
    "Message",
    "QueueAges",
    "RunDigest",
    "TaskDelivery",
    "Trace",
]

TaskDelivery = Message

DATA, REQUEST, REPLY, FAILURE, TASK = range(5)


_COLUMNS = ("to", "sender", "kind", "request", "sequence", "payload", "size")


class Batch:
    """What a drain took out of the boxes, as columns; `tasks` on their way to their workers.

    `durable`: messages of durable boxes, which wait for ack().

    to, sender, request, sequence uint64[n]; kind uint8[n] (0 data, 1 request); payload uint8[n, w],
    read only, rows padded with zeros; size uint32[n]. Columns may view the kernel's memory, which
    lives as long as they do, and are made when first asked for.
    """

    __slots__ = ("_count", "_source", "durable", "tasks", *_COLUMNS)

    to: NDArray[np.uint64]
    sender: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    request: NDArray[np.uint64]
    sequence: NDArray[np.uint64]
    payload: NDArray[np.uint8]
    size: NDArray[np.uint32]
    tasks: list[Message]
    durable: list[Message]
    _source: _core.Batch | None
    _count: int

    def __init__(
        self, source: _core.Batch | Sequence[NDArray[Any]], deliveries: list[Message]
    ) -> None:
        put = object.__setattr__
        put(self, "tasks", [one for one in deliveries if not one.durable])
        put(self, "durable", [one for one in deliveries if one.durable])
        if isinstance(source, _core.Batch):
            put(self, "_source", source)
            put(self, "_count", source.count())
            return
        put(self, "_source", None)
        put(self, "_count", len(source[0]))
        for name, column in zip(_COLUMNS, source, strict=True):
            put(self, name, column)

    def __getattr__(self, name: str) -> NDArray[Any]:
        # Only for what is not there yet.
        if name not in _COLUMNS or self._source is None:
            raise AttributeError(f"a Batch has no {name!r}")
        column = self._source.column(name)
        object.__setattr__(self, name, column)
        return column

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Batch can't be changed: {name!r}")

    def __len__(self) -> int:
        """Rows: tasks and durable messages not counted."""
        return self._count

    def __repr__(self) -> str:
        return f"Batch({self._count} messages, {len(self.tasks)} tasks)"

    def select(self, rows: NDArray[Any], deliveries: list[Message]) -> Batch:
        """Some rows of it, copied."""
        return Batch([getattr(self, name)[rows] for name in _COLUMNS], deliveries)


def batch_of(core: _core.Batch) -> Batch:
    """From the core's batch."""
    return Batch(core, core.tasks() if core.task_count() else [])


def batch_of_messages(messages: Sequence[Message]) -> Batch:
    """From single messages."""
    plain = [one for one in messages if one.kind != TASK and not one.durable]
    width = max((len(message.payload) for message in plain), default=0)
    payload = np.zeros((len(plain), width), np.uint8)
    for row, message in enumerate(plain):
        payload[row, : len(message.payload)] = np.frombuffer(message.payload, np.uint8)

    def column(name: str, dtype: type[Any]) -> NDArray[Any]:
        return np.array([getattr(message, name) for message in plain], dtype)

    return Batch(
        [
            column("to", np.uint64),
            column("sender", np.uint64),
            column("kind", np.uint8),
            column("request", np.uint64),
            column("sequence", np.uint64),
            payload,
            np.array([len(message.payload) for message in plain], np.uint32),
        ],
        [one for one in messages if one.kind == TASK or one.durable],
    )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that no one handled, and why.

    payload: all of it, or where `cut` its first 64 bytes of `size`; what is cut can't be sent
    again. number counts the kernel's dead letters from 0.
    """

    number: int
    to: int
    sender: int
    kind: int
    lane: int
    request: int
    key: int
    trace: int
    reason: Outcome
    size: int
    payload: bytes
    cut: bool


@dataclass(frozen=True, slots=True)
class Box:
    """The bounds of one agent's mailbox: capacity counts messages of each lane."""

    capacity: int
    policy: str
    queued: int


@dataclass(frozen=True, slots=True)
class LaneCounters:
    """Of one lane: entered = handled + ended + queued.

    ended: expired, cancelled or dead. A message whose handler failed stays in handled here.
    """

    entered: int
    handled: int
    ended: int
    queued: int


@dataclass(frozen=True, slots=True)
class MailboxCounters:
    """accepted = handled + expired + cancelled + dead + queued, for any observer, always.

    refused: by reason, what was never accepted. dead_by_reason: by Outcome, where not 0. form:
    linked or log; epochs, switches, spills: of the log. requests: opened = waiting + replies +
    errors + cancelled + expired + undeliverable.
    """

    accepted: int
    handled: int
    expired: int
    cancelled: int
    dead: int
    queued: int
    refused: dict[str, int]
    dead_by_reason: dict[Outcome, int]
    lanes: tuple[LaneCounters, ...]
    requests: dict[str, int]
    published: int
    resent: int
    form: str
    epochs: int
    switches: int
    spills: int


@dataclass(frozen=True, slots=True, eq=False)
class QueueAges:
    """How long sampled messages waited: counts[i] of them 2^i … 2^(i+1) ns; uint64[44]."""

    counts: NDArray[np.uint64]
    sum_ns: int
    max_ns: int

    @property
    def mean_ns(self) -> float:
        """0.0 where none was sampled."""
        count = int(self.counts.sum())
        return self.sum_ns / count if count else 0.0


@dataclass(frozen=True, slots=True)
class Trace:
    """A sampled message that was taken out; times by the kernel's clock."""

    trace: int
    to: int
    sender: int
    kind: int
    lane: int
    sequence: int
    sent_ns: int
    taken_ns: int


@dataclass(frozen=True, slots=True)
class RunDigest:
    """Of all messages handled so far, with hanse.open(digest=True); uint64.

    ordered: the same for two runs that handled the same messages in the same order; 0 where there
    are several shards. unordered: the same whatever the order, and on any number of shards.
    """

    count: int
    ordered: int
    unordered: int


class Mailboxes(DurableBoxes):
    """The bounds of all boxes, and what became of their messages: kernel.mailboxes."""

    def __init__(self, core: _core.Kernel) -> None:
        self._core = core

    def configure(
        self,
        agents: int | NDArray[np.uint64],
        *,
        capacity: int | None = None,
        policy: str | None = None,
    ) -> None:
        """Sets the bounds of these boxes for what comes next; None leaves one as it is.

        agents: one or uint64[n]. capacity: messages of each lane. policy, of a full box: "reject"
        (the sender is answered full), "credit" (the same, and send_async waits for room),
        "drop_oldest", "drop_newest" (what is dropped becomes a dead letter), "coalesce" (a message
        takes the place of the one of its key that was queued since). Raises InvalidError,
        NotFoundError.
        """
        self._core.configure_boxes(agents, capacity, policy)

    def box(self, agent: int) -> Box:
        """The bounds of one box and how many messages are in it."""
        return Box(*self._core.box(agent))

    def counters(self) -> MailboxCounters:
        """What became of all messages so far. Any thread."""
        counts = self._core.mailbox_statistics()
        refused = {name: counts.pop(f"refused_{name}") for name in _REFUSALS}
        reasons = counts.pop("dead_by_reason")
        names = {int(outcome) for outcome in Outcome}
        return MailboxCounters(
            refused=refused,
            dead_by_reason={Outcome(i): n for i, n in enumerate(reasons) if n and i in names},
            lanes=tuple(LaneCounters(*lane) for lane in counts.pop("lanes")),
            requests=self._core.request_counters(),
            **counts,
        )

    def ages(self) -> QueueAges:
        """The histogram of how long messages waited in the boxes of all shards; any thread.

        One in 1,024 is sampled. The way through a ring between shards is not part of its age.
        """
        return QueueAges(*self._core.queue_ages())

    def digest(self) -> RunDigest:
        """For the thread that drains, while no shard has a turn."""
        return RunDigest(*self._core.digest())

    def traces(self) -> list[Trace]:
        """The newest 1,024 sampled messages of all shards, oldest first; any thread."""
        return [Trace(*row) for row in self._core.traces()]

    def retry_after(self, agent: int) -> float:
        """Seconds after which a send to a full box may fit: the mean wait of what was taken.

        0.0 where the box has room, at least 1 ms otherwise.
        """
        box = self.box(agent)
        if box.queued < box.capacity:
            return 0.0
        return max(self.ages().mean_ns / 1e9, 0.001)

    def dead_letters(self) -> list[DeadLetter]:
        """The newest 1,024 messages that no one handled, of all shards, oldest first."""
        return [
            replace(DeadLetter(*row), reason=Outcome(row[8])) for row in self._core.dead_letters()
        ]

    def resend(self, letter: DeadLetter | int) -> Outcome:
        """Sends a dead letter again, as it was but without its deadline. ok: it is none any more.

        unknown: there is none of that number; too_large: its payload was cut; else as send.
        """
        number = letter.number if isinstance(letter, DeadLetter) else letter
        return Outcome(self._core.resend(number))


_REFUSALS = ("full", "unknown", "too_large", "other")
