"""Topics: one message to all that subscribed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ._core import Loan
    from .kernel import Kernel

__all__ = ["Publication", "Topics"]

Agents = int | NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Publication:
    """What became of one publication: outcomes uint8[n] (hanse.Outcome), one a subscriber.

    Subscribers are in the order of Topics.subscribers. groups uint8[g]: one a consumer group, by
    its number: ok where a member took it, else why the last one asked did not. accepted: how
    many agents took it.
    """

    accepted: int
    outcomes: NDArray[np.uint8]
    groups: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.outcomes)


class Topics:
    """Any uint64 is a topic: kernel.topics.

    For the thread that owns the messages; with several shards also for each shard's thread, and
    subscribers may be on any of them.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._core = kernel._core

    def subscribe(self, agents: Agents, topic: int) -> int:
        """agents: one or uint64[n]. Returns how many were not subscribed before.

        Raises NotFoundError, BusyError (QuotaExceeded).
        """
        return self._core.subscribe(agents, topic)

    def subscribe_prefix(self, agents: Agents, prefix: int, bits: int) -> int:
        """To all topics that begin with the first `bits` (0 … 64) of prefix, also those to come.

        An agent that a topic reaches twice gets one message. Returns as subscribe.
        """
        return self._core.subscribe_prefix(agents, prefix, bits)

    def unsubscribe(self, agents: Agents, topic: int) -> int:
        """Returns how many were subscribed."""
        return self._core.unsubscribe(agents, topic)

    def unsubscribe_prefix(self, agents: Agents, prefix: int, bits: int) -> int:
        """Returns how many were subscribed."""
        return self._core.unsubscribe_prefix(agents, prefix, bits)

    def join(self, agents: Agents, topic: int, group: int) -> int:
        """To a consumer group of the topic: of each group one member gets each message, in turns.

        group: any uint64. A member whose box refuses is passed over for this message. Returns how
        many were no members before. Raises NotFoundError, BusyError (QuotaExceeded).
        """
        return self._core.join_group(agents, topic, group)

    def leave(self, agents: Agents, topic: int, group: int) -> int:
        """Returns how many were members."""
        return self._core.leave_group(agents, topic, group)

    def members(self, topic: int, group: int) -> NDArray[np.uint64]:
        """Ids of a consumer group's members, whose turn it is first."""
        return self._core.group_members(topic, group)

    def subscribers(self, topic: int) -> NDArray[np.uint64]:
        """Ids of who gets what is published, in the order of subscription."""
        return self._core.subscribers(topic)

    def publish(
        self,
        topic: int,
        payload: bytes | Loan,
        *,
        lane: int = 0,
        deadline_ns: int = 0,
        key: int = 0,
        trace: int = 0,
    ) -> Publication:
        """One message to each subscriber, and one member of each group, that who acts may send to.

        Above 64 bytes they share one payload; a Loan is not copied at all. Raises InvalidError
        (PayloadTooLarge, WrongThread …).
        """
        row = self._core.publish_message(
            self._kernel._acting(), topic, payload, lane, deadline_ns, key, trace
        )
        return Publication(*row)
