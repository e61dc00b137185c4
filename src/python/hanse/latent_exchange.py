"""Latents for other processes of this host, by descriptors of memory files."""

from __future__ import annotations

import contextlib
import mmap
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .latent import Latent
from .latent_spec import LatentSpec, as_planes, core_spec
from .reasons import duration_ns, refuse

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["LatentExchange", "LatentReader", "LatentSheet", "RemoteLatent"]


class LatentExchange:
    """The owner's side: listens on a Unix socket; a context manager that closes it.

    It has no thread: `poll`, or any other call, does what is due. Close it before its kernel.
    """

    def __init__(self, kernel: Kernel, path: str | os.PathLike[str]) -> None:
        self._kernel = kernel
        self._core = _core.LatentExchange(kernel._core, os.fspath(path))

    def __enter__(self) -> LatentExchange:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def ticket(self, agent: int) -> bytes:
        """What a process needs to connect as this agent: a secret of 44 bytes."""
        return self._core.ticket(agent)

    def poll(self) -> int:
        """Accepts who connected, takes what they put, lets go of what they released or left behind.

        Returns how many are connected.
        """
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

    def puts(self) -> list[Latent]:
        """What connected processes have put and not let go of, as the agents that they are.

        These handles end with those processes: fork one, or have it kept, to make it stay.
        """
        return [Latent(self._kernel, id, agent) for id, agent in self._core.puts()]

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

    def put(
        self,
        kv: Any,
        spec: LatentSpec,
        *,
        tokens: NDArray[np.uint32] | None = None,
        step: int = 0,
        position_base: int = 0,
        ttl: float | None = None,
        label: int = 0,
        gloss: str | None = None,
        price: int = 0,
        keep: int | None = None,
        timeout: float | None = 60.0,
    ) -> int:
        """Puts a latent into the owner's pool, as this process's agent; its id there.

        As `Latents.put`, with one copy, in this process; the owner takes the memory over, within
        its bound. keep: what computing it anew costs (0: its tokens), and it is kept within the
        tenant's quota; None: it lives until `release` or the end of this process, whatever ends it.
        The owner answers when it polls. Raises also TimeoutError (TimedOut), InvalidError (Closed),
        BusyError (QuotaExceeded).
        """
        planes, count = as_planes(kv, spec)
        said = (step, position_base, _ttl_ns(ttl), label, gloss, price, False)
        waits = _milliseconds(timeout)
        return self._core.put(core_spec(spec), planes, count, tokens, said, keep, waits)

    def sheet(self, spec: LatentSpec, tokens: int) -> LatentSheet:
        """Memory for so many tokens, to be filled where it lies and then put without a copy."""
        return LatentSheet(self, spec, tokens)

    def release(self, latent: int) -> None:
        """Lets go of what was put."""
        self._core.release(latent)


class LatentSheet:
    """Zeroed memory that another process will have as a latent: `array` [*spec.shape(tokens)]."""

    def __init__(self, reader: LatentReader, spec: LatentSpec, tokens: int) -> None:
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
            refuse("Empty", "tokens", f"want at least 1, have {tokens!r:.40}")
        core_spec(spec)
        dtype = np.dtype(spec.numpy_dtype())
        self._reader, self._spec, self._tokens = reader, spec, tokens
        self._size = int(np.prod(spec.shape(tokens))) * dtype.itemsize
        self._file = os.memfd_create("hanse-sheet", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._memory: mmap.mmap | None = None
        self.array: NDArray[Any] | None = None
        try:
            os.ftruncate(self._file, self._size)
            self._memory = mmap.mmap(self._file, self._size)
        except BaseException:
            self.close()
            raise
        self.array = np.frombuffer(self._memory, dtype).reshape(spec.shape(tokens))

    def __enter__(self) -> LatentSheet:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def put(
        self,
        *,
        tokens: NDArray[np.uint32] | None = None,
        step: int = 0,
        position_base: int = 0,
        ttl: float | None = None,
        label: int = 0,
        gloss: str | None = None,
        price: int = 0,
        keep: int | None = None,
        timeout: float | None = 60.0,
    ) -> int:
        """As `LatentReader.put`, of what was written to `array`, which is gone then.

        Raises InvalidError (BadArray) while another object shows the array's memory.
        """
        if self._memory is None:
            refuse("Closed", "sheet", "it was put or closed")
        self.array = None
        try:
            self._memory.close()
        except BufferError:
            self.array = np.frombuffer(self._memory, self._spec.numpy_dtype())
            self.array = self.array.reshape(self._spec.shape(self._tokens))
            refuse("BadArray", "array", "another object still shows its memory")
        self._memory = None
        try:
            if tokens is not None:
                names = np.ascontiguousarray(tokens)
                if names.dtype.itemsize != 4 or names.dtype.kind not in "iu":
                    refuse("WrongType", "tokens", f"want uint32, have {names.dtype.name}")
                os.pwrite(self._file, names.tobytes(), self._size)
            said = (step, position_base, _ttl_ns(ttl), label, gloss, price, False)
            core, spec = self._reader._core, core_spec(self._spec)
            waits = _milliseconds(timeout)
            return core.put_file(spec, self._file, self._tokens, tokens, said, keep, waits)
        finally:
            self.close()

    def close(self) -> None:
        """Gives the memory back; again: nothing. Arrays of it that others have stay valid."""
        self.array = None
        if self._memory is not None:
            with contextlib.suppress(BufferError):
                self._memory.close()
            self._memory = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _ttl_ns(ttl: float | None) -> int:
    return 0 if ttl is None else max(1, duration_ns(ttl, "ttl"))


def _milliseconds(timeout: float | None) -> int:
    return -1 if timeout is None else duration_ns(timeout, "timeout") // 1_000_000


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
