"""Latents for other processes of this host, by descriptors of memory files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .latent import Latent
from .latent_spec import LatentSpec

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["LatentExchange", "LatentReader", "RemoteLatent"]


class LatentExchange:
    """The owner's side: listens on a Unix socket; a context manager that closes it.

    It has no thread: `poll`, or any other call, does what is due. Close it before its kernel.
    """

    def __init__(self, kernel: Kernel, path: str | os.PathLike[str]) -> None:
        self._core = _core.LatentExchange(kernel._core, os.fspath(path))

    def __enter__(self) -> LatentExchange:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def ticket(self, agent: int) -> bytes:
        """What a process needs to connect as this agent: a secret of 44 bytes."""
        return self._core.ticket(agent)

    def poll(self) -> int:
        """Accepts who connected, lets go of what readers released or left behind; how many read."""
        return self._core.poll()

    def share(self, latent: Latent, agent: int) -> int:
        """Hands it to each connected process of the agent, without a copy; returns to how many.

        0: none is connected (`poll` accepts) or its socket is full. Raises NotFoundError and
        DeniedError as reading it as that agent does.
        """
        return self._core.share(latent.id, agent)

    def end(self, latent: Latent, agent: int) -> int:
        """Ends the hand-offs of this latent to the agent at once, in every process; how many."""
        return self._core.end(latent.id, agent)

    @property
    def share_count(self) -> int:
        """Hand-offs whose pages are still taken."""
        return self._core.share_count()

    def close(self) -> None:
        """Ends all hand-offs; arrays that readers have keep their memory."""
        self._core.close()


class LatentReader:
    """The reader's side, in another process, which needs no kernel."""

    def __init__(self, path: str | os.PathLike[str], ticket: bytes) -> None:
        self._core = _core.LatentReader(os.fspath(path), ticket)

    def receive(self, timeout: float | None = None) -> RemoteLatent | None:
        """The next hand-off; None: there was none within `timeout` seconds (None: waits on).

        Raises InvalidError (Closed): the owner is gone or refused the ticket; LatentError.
        """
        found = self._core.receive(-1 if timeout is None else round(timeout * 1000))
        return None if found is None else RemoteLatent(found)


class RemoteLatent:
    """A latent of another process, shown from the same memory."""

    __slots__ = ("_core",)

    def __init__(self, core: _core.RemoteLatent) -> None:
        self._core = core

    @property
    def spec(self) -> LatentSpec:
        """What it is made of."""
        return LatentSpec(**self._core.spec())

    @property
    def tokens(self) -> int:
        """How many tokens it stands for."""
        return self._core.tokens()

    @property
    def position_base(self) -> int:
        """Position of its first token."""
        return self._core.position_base()

    def check(self) -> None:
        """Raises DeniedError: Revoked (its owner ended the hand-off), LeaseExpired."""
        self._core.check()

    def pages(self) -> list[NDArray[Any]]:
        """Read-only arrays of its runs of tokens, without a copy; they keep their memory."""
        return self._core.pages()

    def read(self) -> NDArray[Any]:
        """A copy. Checked before and after, so that nothing revoked meanwhile passes."""
        spec = self.spec
        copy = np.concatenate(self.pages(), axis=-2 if spec.order == "HND" else -3)
        self.check()
        return copy
