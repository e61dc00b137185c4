"""Latent state: what goes in comes out; forks share, appends don't change, releases end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hanse

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16, "int8": np.int8}
SPEC = hanse.LatentSpec("org/model@1", layers=2, kv_heads=3, head_dim=4)


def block(spec: hanse.LatentSpec, tokens: int, seed: int = 1) -> np.ndarray:
    numbers = np.random.default_rng(seed).integers(0, 100, spec.shape(tokens))
    return numbers.astype(DTYPES[spec.dtype])


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(DTYPES)),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 8),
    st.integers(1, 70),
    st.integers(1, 40),
)
def test_put_append_slice_and_read_agree_with_numpy(
    dtype: str, layers: int, heads: int, dim: int, tokens: int, more: int
) -> None:
    spec = hanse.LatentSpec("m@1", layers, heads, dim, dtype)
    with hanse.open() as kernel:
        first, second = block(spec, tokens), block(spec, more, 2)
        latent = kernel.latents.put(first, spec)
        longer = latent.append(second)
        whole = np.concatenate([first, second], axis=2)
        np.testing.assert_array_equal(latent.read(), first)
        np.testing.assert_array_equal(longer.read(spec), whole)
        cut = longer.slice(tokens + more - 1)
        np.testing.assert_array_equal(cut.read(), whole[:, :, :-1])
        assert (latent.tokens, longer.tokens) == (tokens, tokens + more)


def test_a_fork_shares_every_page_and_outlives_its_origin() -> None:
    with hanse.open() as kernel:
        kv = block(SPEC, 40)
        latent = kernel.latents.put(kv, SPEC)
        before = kernel.latents.status()
        fork = latent.fork()
        after = kernel.latents.status()
        assert after.page_bytes_used == before.page_bytes_used
        assert after.handle_count == before.handle_count + 1
        latent.release()
        np.testing.assert_array_equal(fork.read(), kv)
        fork.release()
        assert kernel.latents.status().page_bytes_used == 0
        with pytest.raises(hanse.NotFoundError):
            fork.read()
        with pytest.raises(hanse.NotFoundError):
            fork.release()


def test_a_context_manager_releases_at_its_end() -> None:
    with hanse.open() as kernel:
        with kernel.latents.put(block(SPEC, 3), SPEC) as latent:
            assert latent.info.spec == SPEC
            assert latent.info.fingerprint == SPEC.fingerprint
        with pytest.raises(hanse.NotFoundError):
            _ = latent.info


def test_the_longest_prefix_is_found_in_whole_pages() -> None:
    with hanse.open() as kernel:
        tokens = np.arange(40, dtype=np.uint32)
        kv = block(SPEC, 40)
        kernel.latents.put(kv, SPEC, tokens=tokens)
        hit, matched = kernel.latents.longest_prefix(
            np.append(tokens, [7, 8]).astype(np.uint32), SPEC
        )
        assert hit is not None
        assert matched == 32
        np.testing.assert_array_equal(hit.read(), kv[:, :, :32])
        assert kernel.latents.longest_prefix(tokens + np.uint32(1), SPEC) == (None, 0)
        other = hanse.LatentSpec("org/model@2", layers=2, kv_heads=3, head_dim=4)
        assert kernel.latents.longest_prefix(tokens, other) == (None, 0)


def test_a_lease_ends() -> None:
    clock = hanse.ManualClock(10**18)
    with hanse.open(clock=clock) as kernel:
        latent = kernel.latents.put(block(SPEC, 3), SPEC, ttl=1.0)
        latent.read()
        clock.advance(2 * 10**9)
        with pytest.raises(hanse.DeniedError) as caught:
            latent.read()
        assert caught.value.name == "LeaseExpired"


def test_another_tenant_sees_nothing_until_it_is_granted() -> None:
    with hanse.open() as kernel:
        one, two = kernel.agents.add("one", kind="group"), kernel.agents.add("two", kind="group")
        kv = block(SPEC, 3)
        mine = kernel.latents.put(kv, SPEC, owner=one)
        theirs = hanse.Latent(kernel, mine.id, two)
        with pytest.raises(hanse.NotFoundError) as caught:
            theirs.read()
        assert caught.value.name == "UnknownLatent"
        mine.grant(two)
        np.testing.assert_array_equal(theirs.read(), kv)


class OnDevice:
    """A tensor on a CUDA device, as far as DLPack tells."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __dlpack__(self) -> object:
        raise AssertionError("it must not be asked for")


class CudaInterface:
    def __init__(self) -> None:
        self.__cuda_array_interface__ = {"version": 3}


class OnHost:
    """A tensor on the host that is no numpy array."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(self, **options: object) -> object:
        return self.array.__dlpack__(**options)  # type: ignore[arg-type]


def test_a_tensor_on_the_host_is_taken_and_one_on_a_device_refused() -> None:
    with hanse.open() as kernel:
        kv = block(SPEC, 5)
        np.testing.assert_array_equal(kernel.latents.put(OnHost(kv), SPEC).read(), kv)
        for tensor in (OnDevice(), CudaInterface()):
            with pytest.raises(hanse.DeviceError) as caught:
                kernel.latents.put(tensor, SPEC)
            assert caught.value.name == "NoDevice"


@pytest.mark.parametrize(
    ("kv", "name"),
    [
        (block(SPEC, 3).astype(np.float64), "WrongType"),
        (block(SPEC, 3)[0], "DimensionMismatch"),
        (block(SPEC, 3)[:1], "DimensionMismatch"),
        (block(SPEC, 6)[:, :, ::2], "BadArray"),
        ([1, 2, 3], "WrongType"),
    ],
)
def test_a_bad_block_is_refused_and_nothing_is_kept(kv: object, name: str) -> None:
    with hanse.open() as kernel:
        with pytest.raises(hanse.InvalidError) as caught:
            kernel.latents.put(kv, SPEC)
        assert caught.value.name == name
        assert kernel.latents.status().handle_count == 0


def test_tokens_must_be_as_many_as_the_block_has() -> None:
    with hanse.open() as kernel, pytest.raises(hanse.InvalidError) as caught:
        kernel.latents.put(block(SPEC, 3), SPEC, tokens=np.arange(4, dtype=np.uint32))
    assert caught.value.field == "tokens"


def test_a_spec_that_differs_names_the_field() -> None:
    with hanse.open() as kernel:
        latent = kernel.latents.put(block(SPEC, 3), SPEC)
        with pytest.raises(hanse.LatentError) as caught:
            latent.read(hanse.LatentSpec("org/model@1", layers=2, kv_heads=3, head_dim=8))
        assert "head_dim" in str(caught.value)
