"""What is done to the elements of latents, against numpy in double precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hanse

BASE = 10_000.0


def spec_of(**changed: object) -> hanse.LatentSpec:
    fields = {"model": "m@1", "layers": 2, "kv_heads": 2, "head_dim": 16, "rope_base": BASE}
    return hanse.LatentSpec(**(fields | changed))  # type: ignore[arg-type]


def turned(keys: np.ndarray, shift: int, rotary: int, pairing: str) -> np.ndarray:
    half = rotary // 2
    angle = shift * BASE ** (-np.arange(half) / half)
    first = np.arange(half) if pairing == "neox" else 2 * np.arange(half)
    second = first + (half if pairing == "neox" else 1)
    out = keys.astype(np.float64)
    a, b = out[..., first].copy(), out[..., second].copy()
    out[..., first] = a * np.cos(angle) - b * np.sin(angle)
    out[..., second] = b * np.cos(angle) + a * np.sin(angle)
    return out


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["neox", "gptj"]),
    st.sampled_from([0, 8]),
    st.integers(-5000, 5000),
    st.integers(1, 40),
)
def test_a_shift_turns_keys_and_leaves_values_and_the_rest_of_each_head(
    pairing: str, rotary: int, shift: int, tokens: int
) -> None:
    spec = spec_of(rope_pairing=pairing, rotary_dim=rotary)
    kv = np.random.default_rng(tokens).standard_normal(spec.shape(tokens)).astype(np.float32)
    expected = kv.astype(np.float64)
    expected[:, 0] = turned(kv[:, 0], shift, rotary or 16, pairing)
    with hanse.open() as kernel:
        got = kernel.latents.put(kv, spec).read(shift=shift)
    np.testing.assert_allclose(got, expected, atol=2e-6)
    np.testing.assert_array_equal(got[:, 1], kv[:, 1])
    hanse.rope_shift(kv, spec, shift)
    np.testing.assert_array_equal(got, kv)


@pytest.mark.parametrize("order", ["NHD", "HND"])
def test_dtypes_change_on_the_way_out_and_many_tensors_are_one_latent(order: str) -> None:
    spec = spec_of(order=order)
    kv = np.random.default_rng(1).standard_normal(spec.shape(37)).astype(np.float32)
    planes = [plane.copy() for layer in kv for plane in layer]
    with hanse.open() as kernel:
        latent = kernel.latents.put(planes, spec)
        np.testing.assert_array_equal(latent.read(), kv)
        np.testing.assert_array_equal(latent.read(dtype="float16"), kv.astype(np.float16))
        bits = latent.read(dtype="bfloat16").astype(np.uint32) << 16
        np.testing.assert_allclose(bits.view(np.float32), kv, rtol=2**-8)
        out = [np.zeros_like(plane) for plane in planes]
        latent.read(out=out)
        for a, b in zip(out, planes, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(
            np.concatenate(latent.pages(), axis=3 if order == "HND" else 2), kv
        )


def test_what_says_nothing_of_its_angles_is_not_shifted() -> None:
    with hanse.open() as kernel:
        for spec, field in [
            (spec_of(rope_base=0.0), "rope_base"),
            (spec_of(rope_scaling="yarn:4"), "rope_scaling"),
            (spec_of(kind="hidden"), "shift"),
            (spec_of(dtype="int8"), "shift"),
        ]:
            latent = kernel.latents.put(np.zeros(spec.shape(3), spec.numpy_dtype()), spec)
            with pytest.raises(hanse.LatentError) as caught:
                latent.read(shift=1)
            assert caught.value.field == field


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([8, 4]), st.integers(1, 150), st.integers(0, 60), st.integers(0, 9))
def test_a_quantised_block_comes_back_within_half_a_step(
    bits: int, tokens: int, recent: int, seed: int
) -> None:
    spec = spec_of()
    kv = np.random.default_rng(seed).standard_normal(spec.shape(tokens)).astype(np.float32)
    small = hanse.quantise(kv, spec, bits=bits, recent=recent)
    back = small.dequantise()
    packed = max(0, tokens - recent) // 32 * 32
    np.testing.assert_array_equal(back[:, :, packed:], kv[:, :, packed:])
    for start in range(0, packed, 32):
        group = slice(start, start + 32)
        for plane, axis in ((0, 1), (1, 3)):
            x = kv[:, plane, group]
            step = np.ptp(x, axis=axis, keepdims=True) / (2**bits - 1)
            assert (np.abs(back[:, plane, group] - x) <= step * 0.5001 + 1e-6).all()


def test_realignment_agrees_with_least_squares_on_untied_matrices() -> None:
    random = np.random.default_rng(7)
    w_in, w_out = random.standard_normal((2, 3000, 64))
    aligned = hanse.realignment(w_in, w_out)
    exact = np.linalg.lstsq(w_out, w_in, rcond=None)[0]
    assert np.abs(aligned.matrix - exact).max() <= 1e-6
    hidden = random.standard_normal((5, 64)).astype(np.float32)
    norms = np.linalg.norm(aligned(hidden), axis=1)
    np.testing.assert_allclose(norms, np.linalg.norm(w_in, axis=1).mean(), rtol=1e-5)
    tied = hanse.realignment(w_in, w_in)
    np.testing.assert_allclose(tied.matrix, np.eye(64), atol=1e-6)
    with pytest.raises(hanse.InvalidError):
        hanse.realignment(w_in, w_out[:, :63])


class Model:
    """A transformer of two layers in numpy: RoPE, causal attention, no batch."""

    def __init__(self, seed: int = 3) -> None:
        random = np.random.default_rng(seed)
        self.spec = spec_of(kv_heads=4)
        self.width = 64
        self.embed = random.standard_normal((50, self.width))
        self.layers = [random.standard_normal((4, self.width, self.width)) / 8 for _ in range(2)]

    def run(
        self, tokens: np.ndarray, base: int, past: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits [n, 50] and the KV of these tokens [2, 2, n, 4, 16] float32."""
        n, seen = len(tokens), 0 if past is None else past.shape[2]
        place = base + seen + np.arange(n)
        x, made = self.embed[tokens], []
        for layer, (wq, wk, wv, wo) in enumerate(self.layers):
            q, k, v = ((x @ w).reshape(n, 4, 16) for w in (wq, wk, wv))
            q = np.stack([turned(q[i], int(place[i]), 16, "neox") for i in range(n)])
            k = np.stack([turned(k[i], int(place[i]), 16, "neox") for i in range(n)])
            made.append(np.stack([k, v]).astype(np.float32))
            if past is not None:
                k, v = np.concatenate([past[layer, 0], k]), np.concatenate([past[layer, 1], v])
            scores = np.einsum("qhd,khd->hqk", q, k) / 4
            later = np.arange(seen + n)[None, :] > seen + np.arange(n)[:, None]
            scores = np.where(later, -np.inf, scores)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            x = x + np.einsum("hqk,khd->qhd", weights, v).reshape(n, self.width) @ wo
        return x @ self.embed.T, np.stack(made)


@pytest.mark.parametrize("base", [0, 1000])
def test_continuing_from_a_latent_is_what_computing_all_of_it_gives(base: int) -> None:
    model = Model()
    tokens = np.random.default_rng(5).integers(0, 50, 60)
    whole, _ = model.run(tokens, base)
    _, first = model.run(tokens[:40], base)
    with hanse.open() as kernel:
        latent = kernel.latents.put(first, model.spec, position_base=base)
        assert latent.info.position_base == base
        logits, more = model.run(tokens[40:50], base, latent.fork().read())
        np.testing.assert_allclose(logits, whole[40:50], atol=1e-5)
        longer = latent.append(more)
        logits, _ = model.run(tokens[50:], base, longer.read())
        np.testing.assert_allclose(logits, whole[50:], atol=1e-5)
        # The same context at another place, by one shift of the stored keys.
        moved, _ = model.run(tokens[40:50], base + 77, latent.read(shift=77))
        np.testing.assert_allclose(moved, whole[40:50], atol=1e-4)
        # The comparison can fail: one altered page, or no shift.
        altered = latent.read()
        altered[1, 1, 3] = 0
        assert np.abs(model.run(tokens[40:50], base, altered)[0] - whole[40:50]).max() > 1e-3
        wrong, _ = model.run(tokens[40:50], base + 77, latent.read())
        assert np.abs(wrong - whole[40:50]).max() > 1e-3
