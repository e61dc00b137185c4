"""Messages between agents: what a drain takes out of their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._core import Message
from .outcome import Outcome

__all__ = ["Batch", "DeadLetter", "Message", "TaskDelivery"]

TaskDelivery = Message

DATA, REQUEST, REPLY, FAILURE, TASK = range(5)


_COLUMNS = ("to", "sender", "kind", "request", "sequence", "payload", "size")


class Batch:
    """What a drain took out of the boxes, as columns; `tasks` on their way to their workers.

    to, sender, request, sequence uint64[n]; kind uint8[n] (0 data, 1 request); payload uint8[n, w],
    read only, rows padded with zeros; size uint32[n]. Columns may view the kernel's memory, which
    lives as long as they do, and are made when first asked for.
    """

    __slots__ = ("_source", "_count", "tasks", *_COLUMNS)

    to: NDArray[np.uint64]
    sender: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    request: NDArray[np.uint64]
    sequence: NDArray[np.uint64]
    payload: NDArray[np.uint8]
    size: NDArray[np.uint32]
    tasks: list[Message]
    _source: _core.Batch | None
    _count: int

    def __init__(self, source: _core.Batch | Sequence[NDArray[Any]], tasks: list[Message]) -> None:
        put = object.__setattr__
        put(self, "tasks", tasks)
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
        """Messages, tasks not counted."""
        return self._count

    def __repr__(self) -> str:
        return f"Batch({self._count} messages, {len(self.tasks)} tasks)"

    def select(self, rows: NDArray[Any], tasks: list[Message]) -> Batch:
        """Some rows of it, copied."""
        return Batch([getattr(self, name)[rows] for name in _COLUMNS], tasks)


def batch_of(core: _core.Batch) -> Batch:
    """From the core's batch."""
    return Batch(core, core.tasks() if core.task_count() else [])


def batch_of_messages(messages: Sequence[Message]) -> Batch:
    """From single messages."""
    plain = [message for message in messages if message.kind != TASK]
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
        [message for message in messages if message.kind == TASK],
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
