"""Latent state: KV caches and hidden states as immutable, shared pages, handed over by handle."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import device_array, stream_handle
from .latent_spec import Copied, LatentSpec, as_array, as_planes, core_spec, with_dtype
from .reasons import duration_ns, refuse

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Latent", "LatentInfo", "LatentPoolStatus", "LatentSpec", "Latents", "Prefixes"]


@dataclass(frozen=True, slots=True)
class LatentInfo:
    """What is known of one latent; hashes as hex. size_bytes: shared pages included.

    label: secrecy bits, of all that it was made from. gloss: text for people; None: it was said to
    have none. price: per million tokens read, carried for whoever charges. read_tokens: how many
    were read through any handle of it. kept, pinned: it outlives its handles.
    """

    id: int
    owner: int
    content: str
    fingerprint: str
    parent: str
    spec: LatentSpec
    tokens: int
    position_base: int
    size_bytes: int
    lease_ns: int
    readers: int
    label: int
    price: int
    step: int
    read_tokens: int
    gloss: str | None
    kept: bool
    pinned: bool


@dataclass(frozen=True, slots=True)
class LatentPoolStatus:
    """How full the pool is; each page counted once, however many share it.

    prefaulted_bytes of mapped_bytes are resident already; huge_pages: whether the system backs them
    with huge pages. adopted_bytes: memory of others that latents show. kept_bytes: without regard
    to handles. metadata_bytes: of all mapped pages. spilled_bytes: files of `spill_to`;
    spilling_bytes wait to be written. Dropped: no room, no place in the queue or no disk; lost: a
    file was gone or altered.
    """

    page_bytes_used: int
    size_bytes_max: int
    handle_count: int
    page_count: int
    mapped_bytes: int
    prefaulted_bytes: int
    adopted_bytes: int
    kept_bytes: int
    evicted_count: int
    metadata_bytes: int
    huge_pages: bool
    spilled_bytes: int
    spilled_count: int
    spilling_bytes: int
    spill_written_count: int
    spill_loaded_count: int
    spill_dropped_count: int
    spill_lost_count: int


class Latent:
    """A handle of one latent; a context manager that releases it.

    `id` names it; `reader` is the agent that reads through this handle.
    """

    __slots__ = ("_kernel", "_known", "id", "reader")

    def __init__(
        self,
        kernel: Kernel,
        id: int,
        reader: int,
        known: tuple[LatentSpec, int, int] | None = None,
    ) -> None:
        self._kernel = kernel
        self._known = known
        self.id = id
        self.reader = reader

    def __index__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"Latent(id={self.id})"

    def __enter__(self) -> Latent:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def info(self) -> LatentInfo:
        """Raises NotFoundError (released, or not for this reader), DeniedError (lease expired)."""
        found = dict(self._kernel._core.latent_info(self.reader, self.id))
        found["spec"] = LatentSpec(**found["spec"])
        return LatentInfo(**found)

    def _facts(self) -> tuple[LatentSpec, int, int]:
        """Spec, tokens, position base: they never change."""
        if self._known is None:
            info = self.info
            self._known = (info.spec, info.tokens, info.position_base)
        return self._known

    @property
    def tokens(self) -> int:
        """How many tokens it stands for."""
        return self.info.tokens

    def read(
        self,
        spec: LatentSpec | None = None,
        *,
        out: Any = None,
        dtype: str | None = None,
        shift: int = 0,
        stream: Any = None,
    ) -> Any:
        """A copy as [layers, 2, tokens, kv_heads, head_dim] (or as the spec orders it).

        spec: what the reader wants; LatentError (LatentIncompatible, naming the field) otherwise.
        out: writable memory of that shape, or a list of one array a plane; None: a new array, whose
        fresh memory makes it several times slower. dtype: float32, float16 or bfloat16, changed on
        the way; None: as it is stored. shift: keys are turned on by so many positions (RoPE), from
        the stored ones: they never add up. out may be one array on a CUDA device (DLPack or
        __cuda_array_interface__): it is written on `stream`, by default CuPy's or torch's current
        one, and the call returns when it is there. Returns what it was written to. Raises
        DeviceError: what the device holds then is not defined, the latent is as it was.
        """
        known, tokens, _ = self._facts()
        want = None if spec is None else core_spec(spec)
        to = known.dtype if dtype is None else dtype
        as_read = known if to == known.dtype else with_dtype(known, to)
        if (there := device_array(out, "out", stream)) is not None:
            if there.read_only:
                refuse("BadArray", "out", "want a writable array")
            host = np.empty(there.shape, there.dtype)
            self.read(spec, out=host, dtype=dtype, shift=shift)
            there.write(host, stream_handle(stream))
            return out
        if out is None:
            out = np.empty(as_read.shape(tokens), as_read.numpy_dtype())
        else:
            out, count = as_planes(out, as_read, "out")
            if count != tokens:
                refuse("DimensionMismatch", "out", f"want {tokens} tokens, have {count}")
        self._kernel._core.latent_read_into(
            self.reader, self.id, want, known._core(), out, tokens, to, shift
        )
        return out

    def pages(self) -> list[NDArray[Any]]:
        """Read-only arrays of the runs of tokens that it consists of, in order, without a copy.

        Each is [layers, 2, n, kv_heads, head_dim] (or as the spec orders it). They stay valid
        whatever happens to the latent.
        """
        return self._kernel._core.latent_pages(self.reader, self.id)

    def view(self) -> NDArray[Any]:
        """All of it as one read-only array, without a copy.

        Only what was adopted, put with whole=True or fits one page lies in one run; raises
        LatentError (LatentIncompatible) otherwise: then take `pages` or `read`.
        """
        pages = self.pages()
        if len(pages) != 1:
            refuse("LatentIncompatible", "pages", f"want 1 run of tokens, have {len(pages)}")
        return pages[0]

    def __dlpack__(self, **options: Any) -> Any:
        return self.view().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def fork(self) -> Latent:
        """A second handle that shares every page, independent of this one's life."""
        id = self._kernel._core.latent_fork(self.reader, self.id)
        return Latent(self._kernel, id, self.reader, self._known)

    def append(
        self,
        kv: Any,
        *,
        tokens: NDArray[np.uint32] | None = None,
        step: int = 0,
        stream: Any = None,
    ) -> Latent:
        """A new latent: this one's pages, then the new tokens. This one is as it was.

        kv: as in `put`. Room in the last page is taken by the first who appends; others copy it.
        """
        spec, count, base = self._facts()
        planes, more = as_planes(kv, spec, copied=Copied(stream))
        id = self._kernel._core.latent_append(
            self.reader, self.id, spec._core(), planes, more, tokens, step, base + count
        )
        return Latent(self._kernel, id, self.reader, (spec, count + more, base))

    def slice(self, n: int, *, first: int = 0) -> Latent:
        """A new latent: n tokens of this one, from `first` on. It shares the pages."""
        return self._of(self._kernel._core.latent_slice(self.reader, self.id, first, n))

    def rebase(self, position: int, *, room: int = 0) -> Latent:
        """A new latent of the same tokens that begins at another position: keys are turned (RoPE).

        A copy, in one block with room for `room` more tokens. Turning what was turned adds rounding
        errors: rebase once, from the original. Raises LatentError where its spec names no
        rope_base, InvalidError.
        """
        spec, count, base = self._facts()
        if position == base:
            return self.fork()
        core = self._kernel._core
        block = core.latent_continue_block(self.reader, self.id, None, room, position - base)
        id = block.publish(count, None, (0, 0, 0, 0, None, 0, True))
        # What was turned lies there as floats.
        return Latent(self._kernel, id, self.reader, (replace(spec, quantised=0), count, position))

    def grant(self, reader: int, *, clearance: int = 0) -> None:
        """Lets an agent of another tenant read it.

        clearance: must have all bits of its label; DeniedError (NotPermitted) otherwise.
        """
        self._kernel._core.latent_grant(self.id, reader, clearance)

    def revoke(self, reader: int) -> bool:
        """Ends a grant at once, also for all that was forked or derived by it; False: there was
        none. Copies that were read stay with whoever read them."""
        return self._kernel._core.latent_revoke(self.id, reader)

    def keep(self, *, cost: int = 0, pin: bool = False) -> None:
        """Keeps it without a handle, until room is needed and cost × reuse ÷ bytes is least.

        cost: of computing it anew, in any unit; 0: its tokens. pin: it stays. Raises BusyError
        (QuotaExceeded), DeniedError (NotPermitted: another tenant's).
        """
        self._kernel._core.latent_keep(self.reader, self.id, cost, pin)

    def forget(self) -> None:
        """Ends `keep`."""
        self._kernel._core.latent_forget(self.reader, self.id)

    def seal(self, key: bytes) -> bytes:
        """Its bytes for another process or time: manifest, MAC (HMAC-SHA-256) and payload.

        key: a secret that whoever unseals it knows. What left so is beyond grants and revocation.
        """
        return self._kernel._core.latent_seal(self.reader, self.id, key)

    def release(self) -> None:
        """Gives the handle back; a page is freed with its last handle. Raises NotFoundError."""
        self._kernel._core.latent_release(self.id)

    def _of(self, id: int) -> Latent:
        return Latent(self._kernel, id, self.reader)


class Prefixes(_core.PrefixView):
    """The stored prefixes of one (tenant, spec): `match`, `acquire` and `put`.

    Each is one C call and takes tokens as int32 or uint32 [n], contiguous. `match(tokens)` returns
    how many are covered, in whole pages of 16; `acquire(tokens)` returns (id of a new handle,
    covered). `put(tokens, kv, cost=None)` stores kv, one contiguous array, under them and returns
    its id; with a cost it is kept, too.
    """

    __slots__ = ()


class Latents:
    """The latent pool of a kernel: volatile, counted and bounded."""

    __slots__ = ("_kernel",)

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def put(
        self,
        kv: Any,
        spec: LatentSpec,
        *,
        tokens: NDArray[np.uint32] | None = None,
        step: int = 0,
        position_base: int = 0,
        ttl: float | None = None,
        owner: int | None = None,
        label: int = 0,
        gloss: str | None = None,
        price: int = 0,
        whole: bool = False,
        stream: Any = None,
    ) -> Latent:
        """Copies kv [layers, 2, tokens, kv_heads, head_dim] into pages.

        kv: numpy, or anything with DLPack or __cuda_array_interface__, or a list of one such array
        a plane (layer 0 K, layer 0 V, layer 1 K …); from a CUDA device it comes over on `stream`,
        by default CuPy's or torch's current one. tokens: uint32[tokens], what it stands for;
        without them (owner, step) is its identity. ttl: seconds until the lease ends; None: never.
        owner: None: who acts. label: secrecy bits, which everything derived has, too. gloss: at
        most 4 KiB of text for people; None says that there is none. price: per million tokens read.
        whole: one block instead of pages, so that `view` shows all of it. Raises InvalidError,
        BusyError (QuotaExceeded), DeviceError.
        """
        planes, count = as_planes(kv, spec, copied=Copied(stream))
        reader = self._kernel._acting() if owner is None else owner
        said = (step, position_base, self._lease(ttl), label, gloss, price, whole)
        id = self._kernel._core.latent_put(reader, spec._core(), planes, count, tokens, said)
        return Latent(self._kernel, id, reader, (spec, count, position_base))

    def adopt(
        self,
        kv: Any,
        spec: LatentSpec,
        *,
        tokens: NDArray[np.uint32] | None = None,
        step: int = 0,
        position_base: int = 0,
        ttl: float | None = None,
        owner: int | None = None,
        label: int = 0,
        gloss: str | None = None,
        price: int = 0,
    ) -> Latent:
        """The same without a copy: the latent shows the array's own memory and keeps it alive.

        Nobody may write to the array any more. Its memory is not part of the pool's bound.
        """
        array = as_array(kv, spec)
        reader = self._kernel._acting() if owner is None else owner
        said = (step, position_base, self._lease(ttl), label, gloss, price, True)
        count = array.shape[-2 if spec.order == "HND" else -3]
        id = self._kernel._core.latent_adopt(reader, spec._core(), array, count, tokens, said)
        return Latent(self._kernel, id, reader, (spec, count, position_base))

    def _lease(self, ttl: float | None) -> int:
        return 0 if ttl is None else self._kernel._core.now_ns() + duration_ns(ttl, "ttl")

    def get(self, id: int) -> Latent:
        """A handle object for an id that was handed over, read as who acts."""
        reader = self._kernel._acting()
        return Latent(self._kernel, self._kernel._core.latent_info(reader, id)["id"], reader)

    def unseal(self, sealed: bytes, key: bytes) -> Latent:
        """Puts what `seal` gave, as who acts. Raises LatentError (LatentCorrupt): something was
        altered or cut, the key is another one, or it was sealed for another tenant."""
        reader = self._kernel._acting()
        return Latent(self._kernel, self._kernel._core.latent_unseal(reader, sealed, key), reader)

    def concat(self, latents: Iterable[Latent]) -> Latent:
        """A new latent of these one after the other, sharing all pages; 1 … 4,096 of them.

        Each must begin where the one before ends: LatentError (PositionOverlap) otherwise. It is no
        prefix that others find: parts that were computed apart lack each other's context.
        """
        parts = list(latents)
        reader = self._kernel._acting()
        return Latent(
            self._kernel, self._kernel._core.latent_concat(reader, [p.id for p in parts]), reader
        )

    def longest_prefix(
        self, tokens: NDArray[np.uint32], spec: LatentSpec
    ) -> tuple[Latent | None, int]:
        """The longest stored prefix of tokens, uint32[n], in whole pages, and its length."""
        reader = self._kernel._acting()
        wanted = core_spec(spec)
        id, matched = self._kernel._core.latent_longest_prefix(reader, wanted, tokens)
        return (Latent(self._kernel, id, reader, (spec, matched, 0)) if id else None), matched

    def prefixes(self, spec: LatentSpec) -> Prefixes:
        """The stored prefixes of who acts, for many look-ups."""
        return Prefixes(self._kernel._core, self._kernel._acting(), core_spec(spec))

    def find(
        self, spec: LatentSpec, *, step: int, producer: int | None = None, parent: str | None = None
    ) -> Latent | None:
        """A latent without tokens by what made it; None: there is none.

        producer: the agent that put or appended it; None: who acts. parent: content of what it was
        appended to, as hex; None: it was put.
        """
        reader = self._kernel._acting()
        by = reader if producer is None else producer
        try:
            origin = None if parent is None else bytes.fromhex(parent)
        except (TypeError, ValueError):
            refuse("WrongType", "parent", f"want hex digits, have {parent!r:.40}")
        id = self._kernel._core.latent_find_step(reader, core_spec(spec), origin, by, step)
        return Latent(self._kernel, id, reader) if id else None

    def evict(self, size_bytes: int) -> int:
        """Evicts what who acts keeps, worth least first, until so much is free; returns bytes."""
        return self._kernel._core.latent_evict(self._kernel._acting(), size_bytes)

    def set_size(self, size_bytes: int) -> None:
        """The bound of the pool (1 GiB at first); what is above it and has no handle is evicted."""
        self._kernel._core.latent_set_size(size_bytes)

    def set_quota(self, tenant: int, size_bytes: int) -> None:
        """How much an agent's tenant may keep; what is above it is evicted."""
        self._kernel._core.latent_quota(tenant, size_bytes)

    def reserve(self, spec: LatentSpec, tokens: int) -> None:
        """Makes memory for so many tokens resident, so that the first copies are fast, too."""
        self._kernel._core.latent_reserve(self._kernel._acting(), core_spec(spec), tokens)

    def spill_to(
        self,
        directory: str | os.PathLike[str],
        *,
        size_bytes_max: int = 4 << 30,
        staging_bytes_max: int = 64 << 20,
    ) -> None:
        """What is evicted from now on goes to files in `directory`, by a thread of its own.

        So does all that can be found again by its tokens or step. A look-up that finds more there
        than in memory begins to read it; it comes back as kept. Files are checked when they are
        read and removed with the kernel. size_bytes_max: of files; staging_bytes_max: of pages that
        wait to be written. What finds no room is dropped, and `status` counts it. Raises
        StorageError (UnusableDirectory, Locked), ConflictError (it spills already), InvalidError.
        """
        self._kernel._core.latent_spill_to(os.fspath(directory), size_bytes_max, staging_bytes_max)

    def expect(self, tokens: NDArray[np.uint32], spec: LatentSpec) -> int:
        """How many of these tokens memory will have soon: what lies on disk is read from now on."""
        reader = self._kernel._acting()
        return self._kernel._core.latent_expect(reader, core_spec(spec), tokens)

    def fetch(
        self, tokens: NDArray[np.uint32], spec: LatentSpec, *, timeout: float = 60.0
    ) -> tuple[Latent | None, int]:
        """`longest_prefix` once what lies on disk has been read, or after `timeout` seconds."""
        reader = self._kernel._acting()
        waits = duration_ns(timeout, "timeout")
        id, matched = self._kernel._core.latent_fetch(reader, core_spec(spec), tokens, waits)
        return (Latent(self._kernel, id, reader, (spec, matched, 0)) if id else None), matched

    def status(self) -> LatentPoolStatus:
        """How full the pool is."""
        return LatentPoolStatus(**self._kernel._core.latent_status())
