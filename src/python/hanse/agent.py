"""Who is accountable: agents, humans, groups and tools, in one tree that only narrows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import NotFoundError
from .identity import IdentityVerbs
from .reasons import code, refuse

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Agent", "Agents"]

KINDS = ("agent", "human", "group", "tool")


@dataclass(frozen=True, slots=True)
class Agent:
    """What is known of one agent.

    `tenant` is the topmost group on its parent chain; `identity` the SHA-256 of its genesis key as
    hex, or None; `live`: neither revoked nor paused, nor anyone above it; `permissions` a mask of
    bits; `budget_max` the most that one dispatch may reserve; `depth_max` how deep the tree below
    it may go.
    """

    id: int
    name: str
    kind: str
    parent: int
    tenant: int
    depth: int
    live: bool
    identity: str | None
    permissions: int
    budget_max: int
    paused: bool = False
    depth_max: int = 16


class Agents(IdentityVerbs):
    """The agents of a kernel: iterate, count, find; add and revoke."""

    __slots__ = ("_kernel",)

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def _add(
        self,
        count: int,
        names: Sequence[str] | None,
        kind: str,
        parent: int | None,
        permissions: int | None,
        budget_max: int | None,
        identity: bytes | None,
    ) -> NDArray[np.uint64]:
        if kind not in KINDS:
            refuse("OutOfRange", "kind", f"want one of {', '.join(KINDS)}, have {kind!r}")
        actor = self._kernel._acting()
        below = actor if parent is None else parent
        return self._kernel._core.add_agents(
            actor, count, names, below, KINDS.index(kind), permissions, budget_max, identity
        )

    def add(
        self,
        name: str = "",
        *,
        kind: str = "agent",
        parent: int | None = None,
        permissions: int | None = None,
        budget_max: int | None = None,
        key: bytes | None = None,
    ) -> int:
        """Adds one agent and returns its id.

        kind: agent, human, group or tool. parent: its group; None: who acts. permissions and
        budget_max narrow the parent's; None takes them over. key: genesis public key.
        Raises NotFoundError, ConflictError (NameTaken), DeniedError, InvalidError.
        """
        identity = None
        if key is not None:
            from hashlib import sha256

            if not isinstance(key, bytes):
                refuse("WrongType", "key", f"want bytes, have a {type(key).__name__}")
            identity = sha256(key).digest()
        names = [name] if name != "" else None
        return int(self._add(1, names, kind, parent, permissions, budget_max, identity)[0])

    def add_many(
        self,
        n_or_names: int | Sequence[str],
        *,
        parent: int | None = None,
        kind: str = "agent",
        permissions: int | None = None,
        budget_max: int | None = None,
    ) -> NDArray[np.uint64]:
        """Adds n agents alike, or one for each name, in one record. Returns ids, uint64[n]."""
        if isinstance(n_or_names, (int, np.integer)) and not isinstance(n_or_names, bool):
            return self._add(int(n_or_names), None, kind, parent, permissions, budget_max, None)
        if isinstance(n_or_names, (str, bytes)) or not isinstance(n_or_names, Sequence):
            refuse(
                "WrongType",
                "n_or_names",
                f"want a count or a sequence of names, have a {type(n_or_names).__name__}",
            )
        count = len(n_or_names)
        return self._add(count, n_or_names, kind, parent, permissions, budget_max, None)

    def revoke(self, agent: int) -> int:
        """Revokes an agent and every descendant: they cause no new effect.

        What they had reserved and not spent goes to the nearest agent above that is not revoked.
        Returns the journal position. Requests that wait for them end as Undeliverable.
        """
        position = self._kernel._core.revoke(self._kernel._acting(), agent)
        self._kernel._handlers.requests.fail_dead_targets()
        return position

    def narrow(
        self,
        agent: int,
        *,
        permissions: int | None = None,
        budget_max: int | None = None,
        levels: int | None = None,
    ) -> int:
        """Takes away from what was delegated to an agent, and to all below it.

        permissions: a subset of its bits. budget_max: at most what it has. levels: of agents that
        may stand below it. Returns the journal position. Raises InvalidError
        (AttenuationViolation: more than it has; DelegationDepth: they stand there already).
        """
        core = self._kernel._core
        return core.narrow(self._kernel._acting(), agent, permissions, budget_max, levels)

    def move(self, agent: int, parent: int) -> int:
        """Puts an agent, with all below it, under another parent of its tenant.

        Returns the journal position. Raises InvalidError (DelegationCycle, DelegationDepth,
        AttenuationViolation: it has more than the parent), ConflictError, DeniedError.
        """
        return self._kernel._core.move_agent(self._kernel._acting(), agent, parent)

    def pause(self, group: int) -> int:
        """It and all below it cause no effect from the next operation on, until resumed."""
        return self._kernel._core.steer(self._kernel._acting(), group, True)

    def resume(self, group: int) -> int:
        """What waits for them is handed out again."""
        return self._kernel._core.steer(self._kernel._acting(), group, False)

    def kill(self, group: int) -> int:
        """As revoke, which is for good."""
        return self.revoke(group)

    def get(self, agent: int) -> Agent:
        """Raises NotFoundError: unknown, or of another tenant."""
        row = self._kernel._core.agent(self._kernel._acting(), agent)
        id, name, kind, parent, tenant, depth, live, genesis, *limits = row
        identity = None if genesis is None else genesis.hex()
        permissions, budget_max, paused, depth_max = limits
        return Agent(
            id, name, KINDS[kind], parent, tenant, depth, live, identity,
            permissions, budget_max, bool(paused), depth_max,
        )  # fmt: skip

    def find(self, name: str, *, parent: int | None = None) -> int | None:
        """The first agent of that name (below `parent`), or None."""
        return self._kernel._core.find_agent(self._kernel._acting(), name, parent) or None

    def count(self) -> int:
        """All agents, the root included."""
        return self._kernel._core.agent_count()

    def __len__(self) -> int:
        return self.count()

    def __iter__(self) -> Iterator[Agent]:
        """All that who acts may see, in the order of their ids."""
        for index in range(self.count()):
            try:
                yield self.get(1 << 32 | index)
            except NotFoundError:
                continue

    def __contains__(self, agent: object) -> bool:
        if not isinstance(agent, (int, np.integer)) or not 0 <= agent < 1 << 64:
            return False
        try:
            self.get(int(agent))
        except NotFoundError as error:
            if error.code == code("UnknownAgent"):
                return False
            raise
        return True
