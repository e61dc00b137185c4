"""What a latent is made of, and the arrays that its kind takes."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import device_array, host_array
from .reasons import refuse

# numpy has no bfloat16: its bits travel as uint16. int4: two codes a byte.
_NUMPY = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": np.uint16,
    "int8": np.int8,
    "int4": np.uint8,
}


@dataclass(frozen=True, slots=True)
class LatentSpec:
    """What makes two latents interchangeable.

    model: "org/model@revision". dtype: float32, float16, bfloat16 (as uint16 arrays), int8 or int4
    (as uint8, two codes a byte). tokenizer: its hash, or empty. rope_base: 0: not said, and then
    nothing is shifted; rope_pairing: "neox" (i, i + d/2) or "gptj" (2i, 2i + 1); rotary_dim: how
    many elements of a head RoPE turns, 0: all; rope_scaling: as the model says it. kind: "kv", or
    "hidden" for hidden states and embeddings, which have one plane a layer. order: "NHD" (tokens,
    heads, dim) or "HND". position_max: positions that the model was made for; 0: not said.
    quantised: 8 or 4: it lies in the pool in so many bits (KIVI, Liu et al., ICML 2024: keys by
    channel in groups of 32 tokens, values by token), while arrays have `dtype`; the newest `recent`
    tokens, at least, stay as they were put. Such latents can be read, not viewed.
    """

    model: str
    layers: int
    kv_heads: int
    head_dim: int
    dtype: str = "float32"
    tokenizer: str = ""
    rope_base: float = 0.0
    kind: str = "kv"
    order: str = "NHD"
    rope_pairing: str = "neox"
    rotary_dim: int = 0
    rope_scaling: str = ""
    position_max: int = 0
    quantised: int = 0
    recent: int = 32
    _known: Any = field(default=None, init=False, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # What the core made of it stays in this process.
        return LatentSpec, tuple(getattr(self, f.name) for f in fields(self) if f.init)

    def _core(self) -> _core.LatentSpec:
        if self._known is not None:
            return self._known[0]  # type: ignore[no-any-return]
        rope_base = self.rope_base
        if not isinstance(rope_base, (int, float)) or not 0 <= rope_base < 1e12:
            refuse("OutOfRange", "rope_base", f"want 0 … 1e12, have {rope_base!r:.40}")
        known = _core.LatentSpec(
            self.model,
            self.tokenizer,
            self.layers,
            self.kv_heads,
            self.head_dim,
            self.dtype,
            round(rope_base * 1_000_000),
            self.kind,
            self.order,
            self.rope_pairing,
            self.rotary_dim,
            self.rope_scaling,
            self.position_max,
            self.quantised,
            self.recent,
        )
        shape = self.shape(0)
        axis = len(shape) - (2 if self.order == "HND" else 3)
        around = (shape[:axis], shape[axis + 1 :])
        facts = (known, np.dtype(self.numpy_dtype()), axis, *around)
        object.__setattr__(self, "_known", facts)
        return known

    @property
    def fingerprint(self) -> str:
        """Hash of all fields, as hex."""
        return self._core().fingerprint().hex()

    def plane(self, tokens: int) -> tuple[int, int, int]:
        """[tokens, kv_heads, head_dim] (NHD) or [kv_heads, tokens, head_dim] (HND)."""
        dim = self.head_dim // 2 if self.dtype == "int4" else self.head_dim
        if self.order == "HND":
            return (self.kv_heads, tokens, dim)
        return (tokens, self.kv_heads, dim)

    def shape(self, tokens: int) -> tuple[int, ...]:
        """[layers, 2, *plane], or [layers, *plane] for hidden states."""
        return (self.layers, *((2,) if self.kind == "kv" else ()), *self.plane(tokens))

    def numpy_dtype(self) -> Any:
        """The dtype that arrays of it have. Raises InvalidError (OutOfRange)."""
        want = _NUMPY.get(self.dtype) if isinstance(self.dtype, str) else None
        if want is None:
            refuse("OutOfRange", "dtype", f"want one of {', '.join(_NUMPY)}, have {self.dtype!r}")
        return want


def as_array(
    kv: Any, spec: LatentSpec, field: str = "kv", copied: Copied | None = None
) -> NDArray[Any]:
    """The caller's memory as an array of the spec's dtype and shape.

    Without a copy, but for what lies on a device and may be copied.
    """
    core_spec(spec)
    array = _on_host(kv, field, copied)
    _, dtype, axis, before, behind = spec._known
    if array.dtype != dtype:
        refuse("WrongType", field, f"want dtype {dtype.name}, have {array.dtype.name}")
    shape = array.shape
    if shape[:axis] != before or shape[axis + 1 :] != behind:
        refuse("DimensionMismatch", field, f"want {(*before, 'tokens', *behind)}, have {shape}")
    if not array.flags.c_contiguous:
        refuse("BadArray", field, "want a C-contiguous array")
    return array


def as_planes(
    kv: Any, spec: LatentSpec, field: str = "kv", copied: Copied | None = None
) -> tuple[Any, int]:
    """One array of all planes, or a list of one a plane; and how many tokens they have."""
    if type(kv) is np.ndarray:
        return as_array(kv, spec, field), kv.shape[spec._known[2]]
    core_spec(spec)
    axis = -2 if spec.order == "HND" else -3
    if not isinstance(kv, (list, tuple)) or not kv or not hasattr(kv[0], "shape"):
        array = as_array(kv, spec, field, copied)
        return array, array.shape[axis]
    count = spec.layers * (2 if spec.kind == "kv" else 1)
    if len(kv) != count:
        refuse("DimensionMismatch", field, f"want {count} planes, have {len(kv)}")
    planes = [_on_host(plane, field, copied) for plane in kv]
    if planes[0].ndim != 3:
        refuse("DimensionMismatch", field, f"want 3 dimensions a plane, have {planes[0].ndim}")
    tokens = planes[0].shape[axis]
    for plane in planes:
        if plane.dtype != spec.numpy_dtype():
            name = np.dtype(spec.numpy_dtype()).name
            refuse("WrongType", field, f"want dtype {name}, have {plane.dtype.name}")
        if plane.shape != spec.plane(tokens):
            refuse("DimensionMismatch", field, f"want {spec.plane(tokens)}, have {plane.shape}")
        if not plane.flags.c_contiguous:
            refuse("BadArray", field, "want C-contiguous planes")
    return planes, tokens


def core_spec(spec: LatentSpec) -> _core.LatentSpec:
    """Checked, as the core takes it."""
    if not isinstance(spec, LatentSpec):
        refuse("WrongType", "spec", f"want a hanse.LatentSpec, have a {type(spec).__name__}")
    return spec._core()


class Copied(NamedTuple):
    """That what lies on a device may be copied to the host, on this stream."""

    stream: Any = None


def _on_host(kv: Any, field: str, copied: Copied | None) -> NDArray[Any]:
    if copied is None and device_array(kv, field) is not None:
        refuse("NoDevice", field, "is on a device, where this call can't look; put it first")
    found = host_array(kv, field, None if copied is None else copied.stream)
    if not isinstance(found, np.ndarray):
        have = type(kv).__name__
        refuse("WrongType", field, f"want a numpy array or a DLPack tensor, have a {have}")
    return found


def with_dtype(spec: LatentSpec, dtype: str) -> LatentSpec:
    """The same kind with another dtype."""
    return replace(spec, dtype=dtype)
