"""Latent state: KV caches and hidden states as immutable, shared pages, handed over by handle."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .reasons import duration_ns, refuse

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Latent", "LatentInfo", "LatentPoolStatus", "LatentSpec", "Latents"]

# numpy has no bfloat16: its bits travel as uint16.
_NUMPY = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16, "int8": np.int8}
_DEVICE_HOST = (1, 3)  # kDLCPU, kDLCUDAHost of DLPack


@dataclass(frozen=True, slots=True)
class LatentSpec:
    """What makes two latents interchangeable.

    model: "org/model@revision". dtype: float32, float16, bfloat16 (as uint16 arrays) or int8.
    tokenizer: its hash, or empty. rope_base: 0: not said.
    """

    model: str
    layers: int
    kv_heads: int
    head_dim: int
    dtype: str = "float32"
    tokenizer: str = ""
    rope_base: float = 0.0

    def _core(self) -> _core.LatentSpec:
        rope_base = self.rope_base
        if not isinstance(rope_base, (int, float)) or not 0 <= rope_base < 1e12:
            refuse("OutOfRange", "rope_base", f"want 0 … 1e12, have {rope_base!r:.40}")
        return _core.LatentSpec(
            self.model,
            self.tokenizer,
            self.layers,
            self.kv_heads,
            self.head_dim,
            self.dtype,
            round(rope_base * 1_000_000),
        )

    @property
    def fingerprint(self) -> str:
        """Hash of all fields, as hex."""
        return self._core().fingerprint().hex()

    def shape(self, tokens: int) -> tuple[int, int, int, int, int]:
        """[layers, 2, tokens, kv_heads, head_dim]."""
        return (self.layers, 2, tokens, self.kv_heads, self.head_dim)


@dataclass(frozen=True, slots=True)
class LatentInfo:
    """What is known of one latent; hashes as hex. size_bytes: shared pages included."""

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


@dataclass(frozen=True, slots=True)
class LatentPoolStatus:
    """How full the pool is; each page counted once, however many share it."""

    page_bytes_used: int
    size_bytes_max: int
    handle_count: int
    page_count: int


def as_array(kv: Any, spec: LatentSpec, field: str = "kv") -> NDArray[Any]:
    """The caller's memory as an array of the spec's dtype and shape, without a copy."""
    core_spec(spec)
    array = _host_array(kv, field)
    want = _NUMPY.get(spec.dtype)
    if want is None:
        refuse("OutOfRange", "dtype", f"want one of {', '.join(_NUMPY)}, have {spec.dtype!r}")
    if array.dtype != want:
        refuse("WrongType", field, f"want dtype {np.dtype(want).name}, have {array.dtype.name}")
    if array.ndim != 5 or array.shape != spec.shape(array.shape[2]):
        shape = (spec.layers, 2, "tokens", spec.kv_heads, spec.head_dim)
        refuse("DimensionMismatch", field, f"want {shape}, have {array.shape}")
    if not array.flags.c_contiguous:
        refuse("BadArray", field, "want a C-contiguous array")
    return array


def core_spec(spec: LatentSpec) -> _core.LatentSpec:
    """Checked, as the core takes it."""
    if not isinstance(spec, LatentSpec):
        refuse("WrongType", "spec", f"want a hanse.LatentSpec, have a {type(spec).__name__}")
    return spec._core()


def _host_array(kv: Any, field: str) -> NDArray[Any]:
    if isinstance(kv, np.ndarray):
        return kv
    if hasattr(kv, "__dlpack_device__") and hasattr(kv, "__dlpack__"):
        if kv.__dlpack_device__()[0] not in _DEVICE_HOST:
            refuse("NoDevice", field, "is on a device that this kernel does not have")
        try:
            return np.from_dlpack(kv)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            refuse("BadArray", field, f"numpy cannot view it: {error}")
    if hasattr(kv, "__cuda_array_interface__"):
        refuse("NoDevice", field, "is on a device that this kernel does not have")
    refuse("WrongType", field, f"want a numpy array or a DLPack tensor, have a {type(kv).__name__}")


class Latent:
    """A handle of one latent; a context manager that releases it.

    `id` names it; `reader` is the agent that reads through this handle.
    """

    __slots__ = ("_kernel", "id", "reader")

    def __init__(self, kernel: Kernel, id: int, reader: int) -> None:
        self._kernel = kernel
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
        fields = self._kernel._core.latent_info(self.reader, self.id)
        spec = LatentSpec(
            fields["model"],
            fields["layers"],
            fields["kv_heads"],
            fields["head_dim"],
            fields["dtype"],
            fields["tokenizer"],
            fields["rope_base_micro"] / 1_000_000,
        )
        return LatentInfo(
            fields["id"],
            fields["owner"],
            fields["content"].hex(),
            fields["fingerprint"].hex(),
            fields["parent"].hex(),
            spec,
            fields["tokens"],
            fields["position_base"],
            fields["size_bytes"],
            fields["lease_ns"],
            fields["readers"],
        )

    @property
    def tokens(self) -> int:
        """How many tokens it stands for."""
        return self.info.tokens

    def read(self, spec: LatentSpec | None = None) -> NDArray[Any]:
        """A copy as [layers, 2, tokens, kv_heads, head_dim] of the spec's dtype.

        spec: what the reader wants; LatentError (LatentIncompatible, naming the field) otherwise.
        """
        info = self.info
        out = np.empty(info.spec.shape(info.tokens), _NUMPY[info.spec.dtype])
        want = None if spec is None else core_spec(spec)
        self._kernel._core.latent_read_into(self.reader, self.id, want, out)
        return out

    def fork(self) -> Latent:
        """A second handle that shares every page, independent of this one's life."""
        return self._of(self._kernel._core.latent_fork(self.reader, self.id))

    def append(self, kv: Any, *, tokens: NDArray[np.uint32] | None = None, step: int = 0) -> Latent:
        """A new latent: this one's pages, then the new tokens. This one is as it was."""
        info = self.info
        array = as_array(kv, info.spec)
        return self._of(
            self._kernel._core.latent_append(
                self.reader,
                self.id,
                array,
                array.shape[2],
                tokens,
                step,
                info.position_base + info.tokens,
            )
        )

    def slice(self, n: int) -> Latent:
        """A new latent: the first n tokens of this one."""
        return self._of(self._kernel._core.latent_slice(self.reader, self.id, n))

    def grant(self, reader: int) -> None:
        """Lets an agent of another tenant read it."""
        self._kernel._core.latent_grant(self.id, reader)

    def release(self) -> None:
        """Gives the handle back; a page is freed with its last handle. Raises NotFoundError."""
        self._kernel._core.latent_release(self.id)

    def _of(self, id: int) -> Latent:
        return Latent(self._kernel, id, self.reader)


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
    ) -> Latent:
        """Copies kv [layers, 2, tokens, kv_heads, head_dim] into pages.

        kv: numpy, or anything on the host with DLPack. tokens: uint32[tokens], what it stands for;
        without them (owner, step) is its identity. ttl: seconds until the lease ends; None: never.
        owner: None: who acts. Raises InvalidError, BusyError (QuotaExceeded), DeviceError.
        """
        array = as_array(kv, spec)
        core = self._kernel._core
        reader = self._kernel._acting() if owner is None else owner
        lease_ns = 0 if ttl is None else core.now_ns() + duration_ns(ttl, "ttl")
        id = core.latent_put(
            reader, spec._core(), array, array.shape[2], tokens, step, position_base, lease_ns
        )
        return Latent(self._kernel, id, reader)

    def get(self, id: int) -> Latent:
        """A handle object for an id that was handed over, read as who acts."""
        reader = self._kernel._acting()
        return Latent(self._kernel, self._kernel._core.latent_info(reader, id)["id"], reader)

    def longest_prefix(
        self, tokens: NDArray[np.uint32], spec: LatentSpec
    ) -> tuple[Latent | None, int]:
        """The longest stored prefix of tokens, uint32[n], in whole pages, and its length."""
        reader = self._kernel._acting()
        wanted = core_spec(spec)
        id, matched = self._kernel._core.latent_longest_prefix(reader, wanted, tokens)
        return (Latent(self._kernel, id, reader) if id else None), matched

    def status(self) -> LatentPoolStatus:
        """How full the pool is."""
        return LatentPoolStatus(**self._kernel._core.latent_status())
