"""latent: what does it cost to share, store and read the working state of a model?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import hanse
from bench.case import Contest, Settings, case, each, peer, rate

LAYERS, KV_HEADS, HEAD_DIM = 30, 3, 64  # a model of 135 M parameters
PAGE_TOKENS = 16
SEED = 3
SPEC = hanse.LatentSpec(model="bench/made@1", layers=LAYERS, kv_heads=KV_HEADS, head_dim=HEAD_DIM)


def made(tokens: int) -> npt.NDArray[np.float32]:
    """[layers, 2, tokens, kv_heads, head_dim]: 46,080 bytes a token."""
    shape = (LAYERS, 2, tokens, KV_HEADS, HEAD_DIM)
    return np.random.default_rng(SEED).standard_normal(shape, dtype=np.float32)


@case("latent", "ns", "lower")
@contextlib.contextmanager
def hand_off(settings: Settings) -> Iterator[Contest]:
    """What does it cost to give another agent 1,000 tokens of state?"""
    tokens, count = settings.size(1_000, 64), settings.size(10_000, 100)
    kv = made(tokens)
    with hanse.open() as kernel:
        context = kernel.latents.put(kv, SPEC, tokens=np.arange(tokens, dtype=np.uint32))

        def work() -> None:
            for _ in range(count):
                context.fork().release()

        def check() -> None:
            branch = context.fork()
            np.testing.assert_array_equal(branch.read(), kv)
            branch.release()
            np.testing.assert_array_equal(context.read(), kv)

        copies = max(1, count // 1_000)
        target = np.empty_like(kv)

        def copy() -> None:
            for _ in range(copies):
                np.copyto(target, kv)

        yield Contest(
            hanse=each(count, work),
            check=check,
            peers=[peer("numpy copy", each(copies, copy))],
            limit="cache-line round trip",
            limit_sample=settings.limits.cache_line_round_trip_ns,
        )


@case("latent", "GB/s", "higher")
@contextlib.contextmanager
def put(settings: Settings) -> Iterator[Contest]:
    """How fast is state of 2,048 tokens stored (and released again)?"""
    tokens = settings.size(2_048, 64)
    kv = made(tokens)
    names = np.arange(tokens, dtype=np.uint32)
    with hanse.open() as kernel:

        def work() -> None:
            kernel.latents.put(kv, SPEC, tokens=names).release()

        def check() -> None:
            latent = kernel.latents.put(kv, SPEC, tokens=names)
            np.testing.assert_array_equal(latent.read(), kv)
            latent.release()

        yield Contest(
            hanse=rate(kv.nbytes, work, 1e9),
            check=check,
            peers=[peer("numpy copy (new array)", rate(kv.nbytes, kv.copy, 1e9))],
            limit="memcpy",
            limit_sample=settings.limits.memcpy_gb_per_s,
        )


@case("latent", "GB/s", "higher")
@contextlib.contextmanager
def read(settings: Settings) -> Iterator[Contest]:
    """How fast is state of 2,048 tokens gathered from its pages?"""
    tokens = settings.size(2_048, 64)
    kv = made(tokens)
    with hanse.open() as kernel:
        latent = kernel.latents.put(kv, SPEC, tokens=np.arange(tokens, dtype=np.uint32))
        yield Contest(
            hanse=rate(kv.nbytes, latent.read, 1e9),
            check=lambda: np.testing.assert_array_equal(latent.read(), kv),
            peers=[peer("numpy copy (new array)", rate(kv.nbytes, kv.copy, 1e9))],
            limit="memcpy",
            limit_sample=settings.limits.memcpy_gb_per_s,
        )


@case("latent", "µs", "lower")
@contextlib.contextmanager
def prefix(settings: Settings) -> Iterator[Contest]:
    """How long does it take to find the longest stored prefix of 1,024 tokens among 200 states?"""
    # The pages of all states together must fit the pool, so the model here is a small one.
    spec = hanse.LatentSpec(model="bench/small@1", layers=2, kv_heads=1, head_dim=16)
    states, tokens, count = settings.size(200, 10), settings.size(1_024, 64), 100
    random = np.random.default_rng(SEED)
    shared = random.integers(0, 50_000, tokens).astype(np.uint32)
    kv = random.standard_normal((2, 2, tokens, 1, 16), dtype=np.float32)
    pages: dict[int, tuple[int, bytes]] = {}
    with hanse.open() as kernel:
        for state in range(states):
            # State i shares its first pages with the question, the more the higher i.
            names = shared.copy()
            start = (state + 1) * tokens // (2 * states) // PAGE_TOKENS * PAGE_TOKENS
            names[start:] = random.integers(50_000, 60_000, tokens - start)
            kernel.latents.put(kv, spec, tokens=names)
            hash_pages(pages, names)
        expected = tokens // 2 // PAGE_TOKENS * PAGE_TOKENS

        def work() -> None:
            for _ in range(count):
                hit, _ = kernel.latents.longest_prefix(shared, spec)
                assert hit is not None
                hit.release()

        def check() -> None:
            hit, matched = kernel.latents.longest_prefix(shared, spec)
            assert hit is not None
            assert matched == expected == longest(pages, shared)
            hit.release()

        yield Contest(
            hanse=each(count, work, 1e3),
            check=check,
            peers=[
                peer(
                    "dict of page hashes",
                    each(count, lambda: [longest(pages, shared) for _ in range(count)], 1e3),
                )
            ],
        )


def page_keys(names: npt.NDArray[np.uint32]) -> Iterator[tuple[int, bytes]]:
    """A chained key for each whole page, with the page's own tokens as the proof."""
    data, size, key = names.tobytes(), PAGE_TOKENS * 4, 0
    for start in range(0, len(data) - size + 1, size):
        page = data[start : start + size]
        key = hash((key, page))
        yield key, page


def hash_pages(pages: dict[int, Any], names: npt.NDArray[np.uint32]) -> None:
    for number, (key, page) in enumerate(page_keys(names)):
        pages[key] = (number, page)


def longest(pages: dict[int, Any], names: npt.NDArray[np.uint32]) -> int:
    """The peer: how many tokens are covered, page by page."""
    matched = 0
    for number, (key, page) in enumerate(page_keys(names)):
        if pages.get(key) != (number, page):
            break
        matched += PAGE_TOKENS
    return matched
