"""What is done to the elements of latents: RoPE shift, KIVI quantisation, LatentMAS realignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .latent_spec import LatentSpec, as_array, core_spec
from .reasons import refuse

__all__ = ["Quantised", "Realignment", "quantise", "realignment", "rope_shift"]


def rope_shift(kv: NDArray[np.float32], spec: LatentSpec, shift: int) -> None:
    """Turns the keys of kv [layers, 2, tokens, kv_heads, head_dim] on by `shift` positions.

    In place, float32. Angles are computed in double. Shifting what was shifted adds rounding
    errors: shift once, from the original. Raises LatentError where the spec names no rope_base, or
    a rope_scaling (whose angles depend on the length).
    """
    array = as_array(kv, spec)
    tokens = array.shape[-2 if spec.order == "HND" else -3]
    _core.latent_rope_shift(spec._core(), array, tokens, shift)


@dataclass(frozen=True, slots=True)
class Quantised:
    """KV in 8 or 4 bits: keys by channel in groups of 32 tokens, values by token, the newest
    `recent` tokens (and what fills no group) as they were. packed: uint8, one block."""

    spec: LatentSpec
    tokens: int
    bits: int
    recent: int
    packed: NDArray[np.uint8]

    def dequantise(self, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """float32 [layers, 2, tokens, kv_heads, head_dim], each within half a step of its group:
        (max − min) / 255 ÷ 2 at 8 bits, (max − min) / 15 ÷ 2 at 4, and float32 rounding."""
        if out is None:
            out = np.empty(self.spec.shape(self.tokens), np.float32)
        out = as_array(out, self.spec, "out")
        _core.latent_kivi_dequantise(
            self.spec._core(), self.packed, self.tokens, self.bits, self.recent, out
        )
        return out


def quantise(
    kv: NDArray[np.float32],
    spec: LatentSpec,
    *,
    bits: int = 8,
    recent: int = 32,
    out: NDArray[np.uint8] | None = None,
) -> Quantised:
    """KIVI (Liu et al., ICML 2024) of float32 KV in NHD order.

    out: uint8 memory for the packed block; None: new. Raises InvalidError (BadVector: a value is
    not finite; OutOfRange), LatentError.
    """
    core = core_spec(spec)
    if spec.dtype != "float32":
        refuse("LatentIncompatible", "dtype", f"want float32, have {spec.dtype}")
    array = as_array(kv, spec)
    for field, value in (("bits", bits), ("recent", recent)):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 32:
            refuse("OutOfRange", field, f"want 0 … 4294967295, have {value!r:.40}")
    tokens = array.shape[-3]
    size = _core.latent_kivi_size(core, tokens, bits, recent)
    packed = np.empty(size, np.uint8) if out is None else out
    _core.latent_kivi_quantise(core, array, tokens, bits, recent, packed)
    return Quantised(spec, tokens, bits, recent, packed)


@dataclass(frozen=True, slots=True)
class Realignment:
    """Last hidden states to input embeddings: e = h W, then scaled to the mean embedding norm."""

    matrix: NDArray[np.float64]
    norm: float

    def __call__(self, hidden: NDArray[Any]) -> NDArray[Any]:
        """hidden [..., d], after the final norm -> [..., d] of its dtype."""
        turned = np.asarray(hidden, np.float64) @ self.matrix
        size = np.linalg.norm(turned, axis=-1, keepdims=True)
        aligned: NDArray[Any] = turned * (self.norm / np.maximum(size, 1e-6))
        return aligned.astype(np.asarray(hidden).dtype)


def realignment(w_in: NDArray[Any], w_out: NDArray[Any], *, epsilon: float = 1e-5) -> Realignment:
    """W = (W_outᵀ W_out + εI)⁻¹ W_outᵀ W_in (LatentMAS), for embeddings [vocabulary, d] each.

    In double, by Cholesky; once a model. Tied embeddings give the identity, but are rescaled all
    the same. Raises InvalidError.
    """
    first, last = np.asarray(w_in), np.asarray(w_out)
    if first.ndim != 2 or first.shape != last.shape:
        refuse("DimensionMismatch", "w_out", f"want {first.shape}, have {last.shape}")
    if not epsilon > 0:
        refuse("OutOfRange", "epsilon", f"want more than 0, have {epsilon!r:.40}")
    w, h = last.astype(np.float64), first.astype(np.float64)
    if not (np.isfinite(w).all() and np.isfinite(h).all()):
        refuse("BadVector", "w_in", "holds a value that is not finite")
    factor = np.linalg.cholesky(w.T @ w + epsilon * np.eye(w.shape[1]))
    matrix = np.linalg.solve(factor.T, np.linalg.solve(factor, w.T @ h))
    return Realignment(matrix, float(np.linalg.norm(h, axis=1).mean()))
