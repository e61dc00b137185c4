"""Messages between agents: what a drain takes out of their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._core import Message
from .outcome import Outcome

__all__ = ["Batch", "DeadLetter", "Message", "TaskDelivery"]

TaskDelivery = Message

DATA, REQUEST, REPLY, FAILURE, TASK = range(5)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What a drain took out of the boxes, as columns; `tasks` on their way to their workers.

    `durable`: messages of durable boxes, which wait for ack().

    to, sender, request, sequence uint64[n]; kind uint8[n] (0 data, 1 request); payload uint8[n, w],
    read only, rows padded with zeros; size uint32[n]. payload may view the kernel's memory, which
    lives as long as it does.
    """

    to: NDArray[np.uint64]
    sender: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    request: NDArray[np.uint64]
    sequence: NDArray[np.uint64]
    payload: NDArray[np.uint8]
    size: NDArray[np.uint32]
    tasks: list[Message]
    durable: list[Message] = field(default_factory=list)

    def __len__(self) -> int:
        """Rows: tasks and durable messages not counted."""
        return len(self.to)

    def select(self, rows: NDArray[Any], deliveries: list[Message]) -> Batch:
        """Some rows of it, copied."""
        return Batch(
            self.to[rows],
            self.sender[rows],
            self.kind[rows],
            self.request[rows],
            self.sequence[rows],
            self.payload[rows],
            self.size[rows],
            *_by_kind(deliveries),
        )


def _by_kind(deliveries: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """Tasks, and messages of durable boxes."""
    tasks = [one for one in deliveries if not one.durable]
    return tasks, [one for one in deliveries if one.durable]


def batch_of(core: _core.Batch) -> Batch:
    """From the core's batch."""
    return Batch(*core.columns(), *_by_kind(core.tasks() if core.task_count() else []))


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
        column("to", np.uint64),
        column("sender", np.uint64),
        column("kind", np.uint8),
        column("request", np.uint64),
        column("sequence", np.uint64),
        payload,
        np.array([len(message.payload) for message in plain], np.uint32),
        *_by_kind([one for one in messages if one.kind == TASK or one.durable]),
    )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that no one handled, and why; at most 64 bytes of its payload."""

    to: int
    sender: int
    kind: int
    request: int
    reason: Outcome
    payload: bytes
