"""What an agent does with messages beside `send`, `ask` and `reply`, which are C calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .acting import Acting
from .reasons import refuse
from .requests import Replies, ask_many

if TYPE_CHECKING:
    pass

__all__ = ["MessageVerbs"]


class MessageVerbs(_core.Sender, Acting):
    """Who acts, and what it sends."""

    __slots__ = ()

    def send_many(
        self,
        to: NDArray[np.uint64],
        payloads: NDArray[np.uint8] | tuple[NDArray[np.uint8], NDArray[np.uint32]],
    ) -> NDArray[np.uint8]:
        """to uint64[n]; payloads uint8[n, w], or (uint8[n, w], sizes uint32[n]).

        Returns hanse.Outcome numbers, uint8[n].
        """
        rows, sizes = rows_and_sizes(payloads)
        return self._owner()._core.send_many(self._acting(), to, rows, sizes)

    async def send_async(self, to: int, payload: bytes, **fields: Any) -> int:
        """As send, with its keywords; where the box gives credit, waits until it has room.

        First come, first served. Cancel it, or wrap it in asyncio.timeout, to stop waiting.
        """
        return await self._owner()._handlers.credit.send(self, to, payload, fields)

    def ask_many(
        self,
        to: NDArray[np.uint64] | Sequence[int],
        payloads: Sequence[bytes] | NDArray[np.uint8] | bytes,
        *,
        quorum: int | None = None,
        timeout: float | None = None,
        lane: int = 0,
    ) -> Replies:
        """Many requests; await the Replies, from a running event loop. timeout in seconds.

        payloads: one an agent, or bytes for all. quorum: so many replies are enough, then the
        rest is cancelled; None: all. Raises InvalidError alone; the rest are outcomes.
        """
        return ask_many(self, to, payloads, quorum, timeout, lane)

    # --- for the core's ask

    def _attach_here(self) -> None:
        self._owner()._bridge()

    def _watch_deadlines(self) -> None:
        self._owner()._bridge().watch_deadlines()


def rows_and_sizes(payloads: Any) -> tuple[Any, Any]:
    """The two parts of a batch of payloads; sizes None where all rows are full."""
    if not isinstance(payloads, tuple):
        return payloads, None
    if len(payloads) != 2:
        refuse("WrongType", "payloads", f"want (rows, sizes), have {len(payloads)} parts")
    return payloads
