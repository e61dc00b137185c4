"""What is evicted goes to disk and comes back to the bit, or is a miss."""

import gc
from pathlib import Path

import numpy as np
import pytest

import hanse

SPEC = hanse.LatentSpec("model@1", layers=2, kv_heads=2, head_dim=4)


def block(tokens: int, seed: int = 1, spec: hanse.LatentSpec = SPEC) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(spec.shape(tokens)).astype(np.float32)


def ids(tokens: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + tokens, dtype=np.uint32)


def keep(kernel: hanse.Kernel, kv: np.ndarray, tokens: np.ndarray, spec: hanse.LatentSpec) -> None:
    with kernel.latents.put(kv, spec, tokens=tokens) as latent:
        latent.keep()


@pytest.mark.parametrize("quantised", [0, 8, 4])
def test_more_than_memory_holds_is_found_again_to_the_bit(tmp_path: Path, quantised: int) -> None:
    spec = hanse.LatentSpec("model@1", 2, 2, 4, quantised=quantised, recent=0)
    with hanse.open() as kernel:
        latents = kernel.latents
        latents.set_size(1 << 16)
        latents.spill_to(tmp_path / "tier")
        expected = []
        for i in range(32):
            keep(kernel, block(64, i, spec), ids(64, 1000 * i), spec)
            found, matched = latents.longest_prefix(ids(64, 1000 * i), spec)
            assert matched == 64
            assert found is not None
            expected.append(found.read())
            found.release()
        for i in range(32):
            found, matched = latents.fetch(ids(64, 1000 * i), spec)
            assert matched == 64
            assert found is not None
            np.testing.assert_array_equal(found.read(), expected[i])
            assert (found.info.owner, found.info.spec) == (kernel.root, spec)
            found.release()
        status = latents.status()
        assert status.page_bytes_used <= 1 << 16
        assert status.spill_loaded_count > 0
        assert (status.spill_dropped_count, status.spill_lost_count) == (0, 0)
    # The files go with the pool, which lives as long as anything that was found in it.
    del kernel, latents, found
    gc.collect()
    assert not list((tmp_path / "tier").glob("*.latent"))


def test_what_is_expected_is_there_soon_and_what_was_altered_is_a_miss(tmp_path: Path) -> None:
    with hanse.open() as kernel:
        latents = kernel.latents
        latents.spill_to(tmp_path)
        for first in (0, 1000):
            keep(kernel, block(48, first), ids(48, first), SPEC)
        assert latents.evict(1 << 40) > 0
        while latents.status().spilling_bytes:
            pass
        assert latents.expect(ids(48), SPEC) == 48
        found, _ = latents.fetch(ids(48), SPEC, timeout=30)
        assert found is not None
        np.testing.assert_array_equal(found.read(), block(48, 0))
        (path,) = tmp_path.glob("*.latent")
        altered = bytearray(path.read_bytes())
        altered[len(altered) // 2] ^= 1
        path.write_bytes(altered)
        assert latents.fetch(ids(48, 1000), SPEC) == (None, 0)
        assert latents.status().spill_lost_count == 1
        assert latents.expect(ids(48, 1000), SPEC) == 0


def test_bad_directories_are_refused(tmp_path: Path) -> None:
    with hanse.open() as kernel, hanse.open() as other:
        kernel.latents.spill_to(tmp_path)
        with pytest.raises(hanse.StorageError) as storage:
            other.latents.spill_to(tmp_path)
        assert storage.value.name == "Locked"
        with pytest.raises(hanse.StorageError) as storage:
            other.latents.spill_to("/proc/none")
        assert storage.value.name == "UnusableDirectory"
        with pytest.raises(hanse.ConflictError):
            kernel.latents.spill_to(tmp_path / "second")
        for option in ("size_bytes_max", "staging_bytes_max"):
            with pytest.raises(hanse.InvalidError, match=option):
                other.latents.spill_to(tmp_path / "third", **{option: 0})


def test_prefixes_put_stores_and_keeps_as_put_and_keep_do() -> None:
    with hanse.open() as kernel:
        prefixes = kernel.latents.prefixes(SPEC)
        kv = block(40)
        id = prefixes.put(ids(40), kv)
        latent = kernel.latents.get(id)
        np.testing.assert_array_equal(latent.read(), kv)
        assert latent.info.content == kernel.latents.put(kv, SPEC, tokens=ids(40)).info.content
        assert not latent.info.kept
        kept = kernel.latents.get(prefixes.put(ids(40, 500), kv, 7))
        kept.release()
        assert prefixes.match(ids(40, 500)) == 32
        before = kernel.latents.status()
        for tokens, values, cost, name in (
            (ids(39), kv, None, "DimensionMismatch"),
            (ids(40), kv.astype(np.float16), None, "DimensionMismatch"),
            (ids(40), kv[:, :, ::2], None, "BadArray"),
            (ids(40), kv.tolist(), None, "WrongType"),
            (ids(0), kv[:, :, :0].copy(), None, "Empty"),
            (ids(40).astype(np.uint64), kv, None, "WrongType"),
        ):
            with pytest.raises(hanse.InvalidError) as refused:
                prefixes.put(tokens, values, cost)
            assert refused.value.name == name
        kernel.latents.set_quota(kernel.root, 1)
        with pytest.raises(hanse.BusyError):
            prefixes.put(ids(40, 900), kv, 1)
        assert kernel.latents.status().handle_count == before.handle_count
