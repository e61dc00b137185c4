"""Room in the pool that a runtime fills where it lies, and makes latents of for nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .latent import Latent
from .latent_spec import LatentSpec, core_spec

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["LatentBlock", "continue_block", "open_block"]


class LatentBlock:
    """Room for one run of tokens; made by `open_block` and `continue_block`.

    array: writable [layers, 2, capacity, kv_heads, head_dim] (or as the spec orders it), in memory
    that other processes of the tenant can map. Its first `written` tokens belong to latents, which
    never change: who writes there breaks them. The array keeps the block, and so the room.
    """

    __slots__ = ("_core", "_kernel", "array", "owner", "spec")

    def __init__(
        self, kernel: Kernel, core: _core.LatentBlock, spec: LatentSpec, owner: int
    ) -> None:
        self._kernel = kernel
        self._core = core
        self.spec = spec
        self.owner = owner
        self.array: NDArray[Any] = core.array()

    @property
    def capacity(self) -> int:
        """How many tokens it has room for."""
        return self._core.capacity()

    @property
    def begun(self) -> int:
        """How many tokens it began with."""
        return self._core.begun()

    @property
    def written(self) -> int:
        """How many tokens must not be written again."""
        return self._core.written()

    @property
    def position_base(self) -> int:
        """Position of its first token."""
        return self._core.position_base()

    @property
    def copied(self) -> bool:
        """Whether what it began with was copied into it; False: its pages are shared."""
        return self._core.copied()

    def publish(
        self,
        count: int,
        *,
        tokens: NDArray[np.uint32] | None = None,
        step: int = 0,
        ttl: float | None = None,
        label: int = 0,
        gloss: str | None = None,
        price: int = 0,
    ) -> Latent:
        """A latent of the first `count` tokens, without a copy; they may not be written any more.

        tokens: uint32, ids of those behind what the block began with. The rest as in
        `Latents.put`; label, lease, grants, and where nothing is said gloss and price, are those of
        what it began with. Raises InvalidError, DeniedError (LeaseExpired, Revoked), BusyError.
        """
        said = (step, 0, self._kernel.latents._lease(ttl), label, gloss, price, True)
        id = self._core.publish(count, tokens, said)
        return Latent(self._kernel, id, self.owner, (self.spec, count, self.position_base))


def open_block(
    kernel: Kernel,
    spec: LatentSpec,
    capacity: int,
    *,
    position_base: int = 0,
    owner: int | None = None,
) -> LatentBlock:
    """Empty room for `capacity` tokens, zeroed. owner: None: who acts.

    Raises InvalidError, BusyError (QuotaExceeded).
    """
    by = kernel._acting() if owner is None else owner
    core = kernel._core.latent_open_block(by, core_spec(spec), capacity, position_base)
    return LatentBlock(kernel, core, spec, by)


def continue_block(
    kernel: Kernel,
    latent: Latent,
    *,
    room: int = 64,
    spec: LatentSpec | None = None,
    shift: int = 0,
    owner: int | None = None,
) -> LatentBlock:
    """Room that begins with a latent's tokens and has room for `room` more.

    Nothing is copied where the latent lies in one block of the same tenant whose room nobody else
    has taken; else its tokens are, keys turned on by `shift` positions (RoPE). spec: what the
    reader wants. owner: None: who reads through the handle. Raises as `Latent.read` does, and
    BusyError (QuotaExceeded).
    """
    by = latent.reader if owner is None else owner
    want = None if spec is None else core_spec(spec)
    core = kernel._core.latent_continue_block(by, latent.id, want, room, shift)
    # What a runtime writes in place lies there as it writes it.
    known = replace(latent._facts()[0] if spec is None else spec, quantised=0)
    return LatentBlock(kernel, core, known, by)
