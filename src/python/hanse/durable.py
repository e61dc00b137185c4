"""Durable boxes: messages that outlive the process, and the outbox of a handler."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._core import Message
from .acting import Acting
from .outcome import Outcome
from .reasons import refuse, refuse_outcome

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["DurableBox", "DurableBoxes", "DurableDeadLetter", "DurableVerbs", "Outbox"]

Key = bytes | str | int | None
Send = tuple[int, bytes] | tuple[int, bytes, Key] | tuple[int, bytes, Key, int, int]
_Row = tuple[int, bytes, bytes | None, int, int]  # with lane and deadline_ns


def _key_bytes(key: Key) -> bytes | None:
    """A key as bytes: text in UTF-8, a number as 8 bytes, little end first."""
    if key is None:
        return None
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        if not 0 <= key < 1 << 64:
            refuse("OutOfRange", "key", f"want 0 … 2^64 - 1, have {key}")
        return int(key).to_bytes(8, "little")
    if isinstance(key, str):
        try:
            key = key.encode()
        except UnicodeEncodeError:
            refuse("WrongType", "key", "want text that UTF-8 can hold")
    if not isinstance(key, bytes):
        refuse("WrongType", "key", f"want bytes, str or an int, have a {type(key).__name__}")
    if not 0 < len(key) <= 64:
        name = "Empty" if not key else "TooLarge"
        refuse(name, "key", f"want 1 … 64 bytes, have {len(key)}")
    return key


@dataclass(frozen=True, slots=True)
class DurableBox:
    """A durable box: accepted = acknowledged + dead + queued, always; in_flight are queued, too."""

    capacity: int
    in_flight_max: int
    payload_bytes_max: int
    attempts: int
    accepted: int
    acknowledged: int
    dead: int
    queued: int
    in_flight: int
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class DurableDeadLetter:
    """A durable message that was given up.

    expired: its attempts are used up, or its deadline passed before it was handed out; or revoked.
    """

    to: int
    sender: int
    sequence: int
    attempt: int
    reason: Outcome
    payload: bytes
    lane: int


def _rows(send: Iterable[Send]) -> list[_Row]:
    rows = []
    for one in send:
        if not isinstance(one, tuple) or len(one) not in (2, 3, 5):
            refuse("WrongType", "send", "want (to, payload[, key[, lane, deadline_ns]])")
        whole: tuple[Any, ...] = tuple(one) + (None, 0, 0)[len(one) - 2 :]
        to, payload, key, lane, deadline_ns = whole
        rows.append((to, payload, _key_bytes(key), lane, deadline_ns))
    return rows


def _pair(payloads: tuple[Any, ...]) -> tuple[Any, Any]:
    if len(payloads) != 2:
        refuse("WrongType", "payloads", f"want (rows, sizes), have {len(payloads)} parts")
    return payloads


class DurableVerbs(Acting):
    """The verbs of who acts, on durable boxes. Mixed into AgentView and Kernel."""

    __slots__ = ()

    def send_durable(
        self, to: int, payload: bytes, *, key: Key = None, lane: int = 0, deadline_ns: int = 0
    ) -> int:
        """Sends bytes to a durable box; returns when the message is on disk.

        It is handed out at least once, in order of sending in its lane, until it is acknowledged.
        key: the same key and body give `replayed`, another body `conflict`, while the key is among
        the sender's newest 4,096; lane and deadline are not part of the body. lane 0 … 3, the most
        urgent. deadline_ns: absolute UNIX time, 0 none; what was not handed out by then becomes a
        dead letter. Returns a hanse.Outcome number: ok, replayed, conflict, full,
        too_large, unknown, denied, revoked, invalid (not a durable box). Raises InvalidError,
        StorageError.
        """
        core = self._owner()._core
        outcome: int = core.send_durable(
            self._acting(), to, payload, _key_bytes(key), lane, deadline_ns
        )[0]
        return outcome

    def send_durable_many(
        self,
        to: NDArray[np.uint64],
        payloads: NDArray[np.uint8]
        | tuple[NDArray[np.uint8], NDArray[np.uint32]]
        | Sequence[bytes],
        *,
        keys: NDArray[np.uint64] | Sequence[Key] | None = None,
        lane: int | NDArray[np.uint8] = 0,
        deadline_ns: int | NDArray[np.uint64] = 0,
    ) -> NDArray[np.uint8]:
        """Many in one flush, at most 4,096; an outcome each, as send_durable.

        to uint64[n]; payloads uint8[n, w], or (uint8[n, w], sizes uint32[n]), or a sequence of
        bytes; keys uint64[n] or a sequence; lane and deadline_ns: of all, or uint8[n] and
        uint64[n]. Returns hanse.Outcome numbers, uint8[n].
        """
        rows: Any = payloads
        sizes = None
        if isinstance(payloads, tuple) and payloads and isinstance(payloads[0], np.ndarray):
            rows, sizes = _pair(payloads)
        key_rows: NDArray[np.uint64] | list[bytes | None] | None = None
        if isinstance(keys, np.ndarray):
            key_rows = keys
        elif keys is not None:
            if not isinstance(keys, Sequence) or isinstance(keys, (str, bytes)):
                refuse("WrongType", "keys", f"want a sequence, have a {type(keys).__name__}")
            key_rows = [_key_bytes(key) for key in keys]
        core = self._owner()._core
        outcomes = core.send_durable_many(
            self._acting(), to, rows, sizes, key_rows, lane, deadline_ns
        )[0]
        return outcomes

    def commit(
        self,
        *,
        ack: Iterable[Message | int] = (),
        send: Iterable[Send] = (),
        state: bytes | None = None,
    ) -> int:
        """What who acts has done, in one record: all of it happens, or none.

        ack: durable messages of its own box, or their sequence numbers. send: (to, payload),
        (to, payload, key) or (to, payload, key, lane, deadline_ns). state: replaces its state, at
        most 64 KiB. Returns the journal position when it is on disk. Raises, and nothing has
        happened: ConflictError (AlreadyResolved: a message is acknowledged or dead;
        IdempotencyConflict), BusyError (Backpressure: a box is full), NotFoundError, DeniedError,
        InvalidError, StorageError.
        """
        return self._owner()._commit(self._acting(), list(ack), _rows(send), state, True)

    def give_back(self, messages: Iterable[Message | int]) -> int:
        """Durable messages of its own box go out again, attempt + 1, before newer ones.

        Those whose attempts are used up become dead letters. Returns the journal position when it
        is on disk. Raises ConflictError (AlreadyResolved), InvalidError, DeniedError (Revoked).
        """
        given = list(messages)
        position = self._owner()._core.give_back(self._acting(), given)
        if position is None:
            refuse("Empty", "messages", "want at least one")
        return position


class Outbox:
    """What a handler will have done when its `with` block ends: see Kernel.outbox."""

    def __init__(self, kernel: Kernel, message: Message) -> None:
        self._kernel = kernel
        self._message = message
        self._agent = message.to
        self._sends: list[_Row] = []
        self._state: bytes | None = None
        self.position: int | None = None

    @property
    def state(self) -> bytes:
        """The agent's state: as it will be where it was set, else as it is."""
        if self._state is not None:
            return self._state
        return self._kernel._core.durable_state(self._agent, self._agent)

    @state.setter
    def state(self, value: bytes) -> None:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            refuse("WrongType", "state", f"want bytes, have a {type(value).__name__}")
        self._state = bytes(value)

    def send(
        self, to: int, payload: bytes, *, key: Key = None, lane: int = 0, deadline_ns: int = 0
    ) -> None:
        """One more message to a durable box; it leaves when the block ends."""
        self._sends.append((to, bytes(payload), _key_bytes(key), lane, deadline_ns))

    def _commit(self, wait: bool) -> int:
        ack: list[Message | int] = [self._message] if self._message.durable else []
        return self._kernel._commit(self._agent, ack, self._sends, self._state, wait)

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.position = self._commit(True)

    async def __aenter__(self) -> Outbox:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.position = self._commit(False)
            await self._kernel._durable_at(self.position)


class DurableBoxes:
    """Durable boxes of agents: part of kernel.mailboxes."""

    _core: _core.Kernel

    def durable(
        self,
        agents: int | Iterable[int],
        *,
        capacity: int = 1024,
        in_flight: int = 256,
        payload_bytes: int = 16 << 20,
        attempts: int = 5,
    ) -> int:
        """Makes boxes durable, or changes their options: at most 65,536 in one record.

        capacity: messages that may wait, at most 2^20; in_flight: handed out and not acknowledged
        at once, at most 65,536; payload_bytes: of all that waits; attempts: deliveries before a
        message becomes a dead letter. Reopening counts as a delivery of the oldest in_flight
        messages. Returns the journal position. Raises InvalidError, NotFoundError, DeniedError.
        """
        ids = agents if isinstance(agents, np.ndarray) else _ids(agents)
        position = self._core.declare_durable(
            self._core.acting(), ids, capacity, in_flight, payload_bytes, attempts
        )
        return -1 if position is None else position

    def is_durable(self, agent: int) -> bool:
        """The agent's box is durable. Raises NotFoundError."""
        return self._core.is_durable(agent)

    def durable_box(self, agent: int) -> DurableBox:
        """Options and counters of a durable box. Raises NotFoundError, InvalidError (not one)."""
        fields: dict[str, Any] = self._core.durable_box(self._core.acting(), agent)
        return DurableBox(**fields)

    def state(self, agent: int) -> bytes:
        """What the agent's outbox or commit stored last; empty where nothing was."""
        return self._core.durable_state(self._core.acting(), agent)

    def durable_dead_letters(self, agent: int) -> list[DurableDeadLetter]:
        """The newest 64 of a durable box, oldest first; they outlive the process, too."""
        return [
            DurableDeadLetter(*row[:4], Outcome(row[4]), *row[5:])
            for row in self._core.durable_dead_letters(self._core.acting(), agent)
        ]

    def resend_durable(self, letter: DurableDeadLetter) -> Outcome:
        """A dead letter goes behind what waits in its box, when the record is on disk.

        It has a new sequence number, no deadline and no key; it stays counted as dead and is
        accepted anew. unknown: it is none of the box's newest 64; full, too_large, revoked. Raises
        NotFoundError, DeniedError, InvalidError, StorageError.
        """
        core = self._core
        return Outcome(core.resend_durable(core.acting(), letter.to, letter.sequence)[0])


def _ids(agents: int | Iterable[int]) -> NDArray[np.uint64]:
    values = [agents] if isinstance(agents, (int, np.integer)) else list(agents)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            refuse("WrongType", "agents", f"want agent ids, have a {type(value).__name__}")
        if not 0 <= value < 1 << 64:
            refuse("OutOfRange", "agents", f"want 0 … 2^64 - 1, have {value}")
    return np.array(values, dtype=np.uint64)


def refuse_sends(sent: list[tuple[int, int, int | None]], to: list[int]) -> None:
    """Raises what the first refused message of a commit stands for."""
    for row, (outcome, _, position) in enumerate(sent):
        if outcome not in (Outcome.ok, Outcome.replayed, Outcome.aborted):
            refuse_outcome(Outcome(outcome), f"send[{row}]", "", int(to[row]), position)
