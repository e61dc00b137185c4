"""Blocks: what a runtime writes in place are latents without a copy, which never change."""

import numpy as np
import pytest

import hanse
from hanse.latent_block import continue_block, open_block

SPEC = hanse.LatentSpec("model@1", 2, 2, 4, order="HND", rope_base=10_000.0)


def states(tokens: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SPEC.shape(tokens)).astype(np.float32)


def test_what_is_published_is_what_was_written_and_shares_the_memory() -> None:
    with hanse.open() as kernel:
        block = open_block(kernel, SPEC, 40)
        assert not block.array.any()
        kv = states(40)
        block.array[..., :10, :] = kv[..., :10, :]
        used = kernel.latents.status().page_bytes_used
        ids = np.arange(40, dtype=np.uint32)
        first = block.publish(10, tokens=ids[:10])
        block.array[..., 10:33, :] = kv[..., 10:33, :]
        second = block.publish(33, tokens=ids[:33], label=3, gloss="it", price=5)
        assert kernel.latents.status().page_bytes_used == used
        np.testing.assert_array_equal(first.read(), kv[..., :10, :])
        np.testing.assert_array_equal(second.view(), kv[..., :33, :])
        assert np.shares_memory(second.view(), block.array)
        assert (block.written, block.begun, block.capacity) == (33, 0, 40)
        info = second.info
        assert (info.tokens, info.label, info.gloss, info.price) == (33, 3, "it", 5)
        # Its content is that of the same tokens put.
        assert first.info.content == kernel.latents.put(kv[..., :10, :].copy(), SPEC,
                                                        tokens=ids[:10]).info.content  # fmt: skip
        found, matched = kernel.latents.longest_prefix(ids, SPEC)
        assert matched == 32
        np.testing.assert_array_equal(found.read(), kv[..., :32, :])


def test_continuing_shares_the_room_once_and_copies_for_the_others() -> None:
    with hanse.open() as kernel:
        kv = states(30)
        block = open_block(kernel, SPEC, 30)
        block.array[..., :10, :] = kv[..., :10, :]
        start = block.publish(10)
        del block
        first, second = continue_block(kernel, start, room=20), continue_block(kernel, start)
        assert (first.copied, second.copied) == (False, True)
        first.array[..., 10:, :] = kv[..., 10:, :]
        second.array[..., 10:15, :] = 7
        longer = first.publish(30)
        np.testing.assert_array_equal(longer.read(), kv)
        np.testing.assert_array_equal(start.read(), kv[..., :10, :])
        other = second.publish(15)
        np.testing.assert_array_equal(other.read()[..., :10, :], kv[..., :10, :])
        assert (other.read()[..., 10:, :] == 7).all()
        assert longer.info.parent == other.info.parent == start.info.content
        # What nobody published the next one gets, zeroed.
        tail = continue_block(kernel, start, room=4)
        assert tail.copied
        for latent in (start, longer, other):
            latent.release()
        del first, second, tail
        assert kernel.latents.status().page_bytes_used == 0


def test_terms_come_along_and_a_revoked_grant_ends_what_rests_on_it() -> None:
    with hanse.open() as kernel:
        a, b = (kernel.agents.add(name, kind="group") for name in "ab")
        own = kernel.latents.put(states(8), SPEC, owner=a, label=6, gloss="plan", price=9)
        with pytest.raises(hanse.NotFoundError):
            continue_block(kernel, own, owner=b)
        own.grant(b, clearance=6)
        block = continue_block(kernel, own, owner=b, room=8)
        assert block.copied  # Pages belong to one tenant.
        with pytest.raises(hanse.InvalidError, match="count"):
            block.publish(8)
        made = block.publish(9, label=1)
        assert (made.info.label, made.info.gloss, made.info.price) == (7, "plan", 9)
        own.revoke(b)
        for call in (made.read, lambda: block.publish(10)):
            with pytest.raises(hanse.DeniedError) as refused:
                call()
            assert refused.value.name == "Revoked"


def test_rebasing_turns_keys_and_names_where_it_comes_from() -> None:
    with hanse.open() as kernel:
        kv = states(20)
        latent = kernel.latents.put(kv, SPEC, label=2)
        turned = latent.rebase(100, room=5)
        expected = kv.copy()
        hanse.rope_shift(expected, SPEC, 100)
        np.testing.assert_array_equal(turned.read(), expected)
        info = turned.info
        assert (info.position_base, info.label, info.parent) == (100, 2, latent.info.content)
        assert not continue_block(kernel, turned, room=5).copied
        np.testing.assert_array_equal(latent.rebase(0).read(), kv)
        with pytest.raises(hanse.InvalidError, match="shift"):
            latent.rebase(-1)
        plain = hanse.LatentSpec("model@1", 2, 2, 4)
        with pytest.raises(hanse.LatentError, match="rope_base"):
            kernel.latents.put(np.zeros(plain.shape(3), np.float32), plain).rebase(1)


def test_bad_blocks_are_refused_and_take_nothing() -> None:
    with hanse.open() as kernel:
        block = open_block(kernel, SPEC, 4)
        latent = kernel.latents.put(states(3), SPEC)
        gone = hanse.Latent(kernel, 77, kernel.root)
        used = kernel.latents.status()
        for call, name in (
            (lambda: open_block(kernel, SPEC, 0), "Empty"),
            (lambda: open_block(kernel, SPEC, 1 << 31), "QuotaExceeded"),
            (lambda: block.publish(0), "OutOfRange"),
            (lambda: block.publish(5), "OutOfRange"),
            (lambda: block.publish(2, tokens=np.zeros(3, np.uint32)), "DimensionMismatch"),
            (lambda: block.publish(2, gloss="x" * 5000), "TooLarge"),
            (lambda: continue_block(kernel, latent, room=(1 << 32) - 2), "OutOfRange"),
            (lambda: continue_block(kernel, gone), "UnknownLatent"),
        ):
            with pytest.raises(hanse.HanseError) as refused:
                call()
            assert refused.value.name == name, name
        assert kernel.latents.status() == used
