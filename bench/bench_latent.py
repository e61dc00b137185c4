"""latent: what does it cost to share, store and read the working state of a model?"""

from __future__ import annotations

import contextlib
import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import bench.latent_model
import bench.latent_processes  # noqa: F401
import hanse
from bench.case import Contest, Sample, Settings, case, each, peer, rate

LAYERS, KV_HEADS, HEAD_DIM = 30, 3, 64  # a model of 135 M parameters
PAGE_TOKENS = 16
SEED = 3
SPEC = hanse.LatentSpec(model="bench/made@1", layers=LAYERS, kv_heads=KV_HEADS, head_dim=HEAD_DIM)

TURNED = hanse.LatentSpec("bench/made@1", LAYERS, KV_HEADS, HEAD_DIM, rope_base=1e5)
# So little state that the structures are what is measured.
TOY = hanse.LatentSpec("bench/toy@1", layers=1, kv_heads=1, head_dim=8, dtype="int8")
# Next to none, where peers store none at all.
NAMES = hanse.LatentSpec("bench/names@1", layers=1, kv_heads=1, head_dim=1, dtype="int8")


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


def copied(kv: npt.NDArray[Any], times: int, work: Callable[[], Any]) -> Sample:
    """GB/s of `times` copies of kv."""
    return rate(kv.nbytes * times, lambda: [work() for _ in range(times)], 1e9)


def into_pool(settings: Settings, tokens: int) -> Iterator[Contest]:
    kv = made(tokens)
    times = settings.size(max(1, (96 << 20) // kv.nbytes), 1)
    names = np.arange(tokens, dtype=np.uint32)
    target = np.zeros_like(kv)
    with hanse.open() as kernel:
        latents = kernel.latents

        def check() -> None:
            latent = latents.put(kv, SPEC, tokens=names)
            np.testing.assert_array_equal(latent.read(), kv)
            latent.release()

        yield Contest(
            hanse=copied(kv, times, lambda: latents.put(kv, SPEC, tokens=names).release()),
            check=check,
            peers=[
                peer("numpy copy (new array)", copied(kv, 1, kv.copy)),
                peer("pickle", copied(kv, 1, lambda: pickle.dumps(kv, 5))),
                peer("safetensors", lambda: saved(kv), requires="safetensors"),
            ],
            limit="memcpy of this size",
            limit_sample=copied(kv, times, lambda: np.copyto(target, kv)),
        )


def saved(kv: npt.NDArray[Any]) -> float:
    from safetensors.numpy import save  # type: ignore[import-not-found, unused-ignore]

    return copied(kv, 1, lambda: save({"kv": kv}))()


@case("latent", "GB/s", "higher")
@contextlib.contextmanager
def put(settings: Settings) -> Iterator[Contest]:
    """How fast is state of 1,024 tokens (47 MB) stored (and released again)?"""
    yield from into_pool(settings, settings.size(1_024, 64))


@case("latent", "GB/s", "higher")
@contextlib.contextmanager
def put_small(settings: Settings) -> Iterator[Contest]:
    """The same for 45 tokens (2 MB), which fit the caches."""
    yield from into_pool(settings, 45)


def out_of_pool(settings: Settings, tokens: int, shift: int) -> Iterator[Contest]:
    kv = made(tokens)
    times = settings.size(max(1, (96 << 20) // kv.nbytes), 1)
    out, target = np.zeros_like(kv), np.zeros_like(kv)
    with hanse.open() as kernel:
        latent = kernel.latents.put(kv, TURNED)

        def check() -> None:
            turned = kv.copy()
            if shift:
                hanse.rope_shift(turned, TURNED, shift)
            np.testing.assert_array_equal(latent.read(out=out, shift=shift), turned)

        yield Contest(
            hanse=copied(kv, times, lambda: latent.read(out=out, shift=shift)),
            check=check,
            peers=[peer("numpy copy (new array)", copied(kv, 1, kv.copy))],
            limit="memcpy of this size",
            limit_sample=copied(kv, times, lambda: np.copyto(target, kv)),
        )


@case("latent", "GB/s", "higher")
@contextlib.contextmanager
def read(settings: Settings) -> Iterator[Contest]:
    """How fast is state of 1,024 tokens (47 MB) gathered from its pages into given memory?"""
    yield from out_of_pool(settings, settings.size(1_024, 64), 0)


@case("latent", "GB/s", "higher")
@contextlib.contextmanager
def read_small(settings: Settings) -> Iterator[Contest]:
    """The same for 45 tokens (2 MB)."""
    yield from out_of_pool(settings, 45, 0)


@case("latent", "GB/s", "higher")
@contextlib.contextmanager
def read_shifted(settings: Settings) -> Iterator[Contest]:
    """How fast is it where the keys are turned on by 77 positions on the way?"""
    yield from out_of_pool(settings, settings.size(1_024, 64), 77)


@case("latent", "GB/s", "higher")
@contextlib.contextmanager
def rope_shift(settings: Settings) -> Iterator[Contest]:
    """How fast are the keys of 1,024 tokens turned in place?"""
    tokens = settings.size(1_024, 64)
    kv = made(tokens)
    source, target = np.ones((2, kv.size // 2), np.float32)
    half = HEAD_DIM // 2
    angle = np.float32(3) * np.float32(1e5) ** (-np.arange(half, dtype=np.float32) / half)
    cosines, sines = np.cos(angle), np.sin(angle)

    def plain() -> npt.NDArray[np.float32]:
        keys = kv[:, 0]
        a, b = keys[..., :half], keys[..., half:]
        return np.concatenate([a * cosines - b * sines, b * cosines + a * sines], -1)

    def check() -> None:
        turned = kv.copy()
        hanse.rope_shift(turned, TURNED, 3)
        np.testing.assert_allclose(turned[:, 0], plain(), atol=1e-5)

    yield Contest(
        hanse=rate(kv.nbytes // 2, lambda: hanse.rope_shift(kv, TURNED, 3), 1e9),
        check=check,
        peers=[peer("numpy", rate(kv.nbytes // 2, plain, 1e9))],
        limit="memcpy of the keys",
        limit_sample=rate(target.nbytes, lambda: np.copyto(target, source), 1e9),
    )


def quantising(settings: Settings, bits: int, back: bool) -> Iterator[Contest]:
    tokens = settings.size(1_024, 64)
    kv = made(tokens)
    small = hanse.quantise(kv, SPEC, bits=bits, recent=0)
    out = np.zeros_like(kv)

    def work() -> None:
        if back:
            small.dequantise(out)
        else:
            hanse.quantise(kv, SPEC, bits=bits, recent=0, out=small.packed)

    def check() -> None:
        spread = float(np.ptp(kv))
        assert float(np.abs(small.dequantise(out) - kv).max()) <= spread / (2**bits - 1)

    # As many bytes in and out, with one operation each that compilers make wide: numpy's narrowing
    # of a float, and its widening of a byte.
    codes = np.zeros(kv.shape, np.int8)
    source = np.ones(kv.shape, np.int8)
    row = kv.reshape(-1, KV_HEADS * HEAD_DIM * PAGE_TOKENS)

    def probe() -> None:
        if back:
            np.copyto(out, source)
        else:
            row.max(axis=1)
            np.copyto(codes, kv, casting="unsafe")

    def plain() -> None:
        if back:
            np.add(np.multiply(source, np.float32(0.1)), np.float32(1))
            return
        low, high = kv.min(axis=-1, keepdims=True), kv.max(axis=-1, keepdims=True)
        np.copyto(codes, (kv - low) * (255 / (high - low)) - 128, casting="unsafe")

    yield Contest(
        hanse=rate(kv.nbytes, work, 1e9),
        check=check,
        peers=[peer("numpy, by token", rate(kv.nbytes, plain, 1e9))],
        limit="numpy, as many bytes",
        limit_sample=rate(kv.nbytes, probe, 1e9),
    )


@case("latent", "GB/s", "higher")
@contextlib.contextmanager
def quantise_int8(settings: Settings) -> Iterator[Contest]:
    """How fast are 47 MB of float32 turned into 8 bits, keys by channel?"""
    yield from quantising(settings, 8, False)


@case("latent", "GB/s", "higher")
@contextlib.contextmanager
def dequantise_int8(settings: Settings) -> Iterator[Contest]:
    """How fast do 8 bits become 47 MB of float32 again?"""
    yield from quantising(settings, 8, True)


@case("latent", "GB/s", "higher")
@contextlib.contextmanager
def quantise_int4(settings: Settings) -> Iterator[Contest]:
    """How fast are 47 MB of float32 turned into 4 bits?"""
    yield from quantising(settings, 4, False)


@case("latent", "µs", "lower")
@contextlib.contextmanager
def fork_long(settings: Settings) -> Iterator[Contest]:
    """What does a fork of 16,384 tokens cost?"""
    count = settings.size(10_000, 100)
    kv = np.zeros(TOY.shape(16_384), np.int8)
    with hanse.open() as kernel:
        context = kernel.latents.put(kv, TOY)

        def work() -> None:
            for _ in range(count):
                context.fork().release()

        def check() -> None:
            used = kernel.latents.status().page_bytes_used
            with context.fork() as branch:
                assert kernel.latents.status().page_bytes_used == used
                np.testing.assert_array_equal(branch.read(), kv)

        yield Contest(hanse=each(count, work, 1e3), check=check)


@contextlib.contextmanager
def workload(kernel: hanse.Kernel, requests: int) -> Iterator[list[npt.NDArray[np.uint32]]]:
    """64 agents in 4 roles with up to 8 turns: 1,024 shared tokens, 1,024 of the role, 256 a turn;
    3,200 in the mean. All are stored while it is open."""
    random = np.random.default_rng(SEED)

    def new(size: int) -> npt.NDArray[np.uint32]:
        return random.integers(0, 50_000, size).astype(np.uint32)

    shared, roles = new(1024), [new(1024) for _ in range(4)]
    made_requests: list[npt.NDArray[np.uint32]] = []
    for agent in range(max(1, requests // 8)):
        turns: list[npt.NDArray[np.uint32]] = []
        for _ in range(8):
            turns.append(new(256))
            made_requests.append(np.concatenate([shared, roles[agent % 4], *turns]))
    held = [
        kernel.latents.put(np.zeros(TOY.shape(len(r)), np.int8), TOY, tokens=r)
        for r in made_requests
    ]
    yield made_requests
    for latent in held:
        latent.release()


@case("latent", "µs", "lower")
@contextlib.contextmanager
def match(settings: Settings) -> Iterator[Contest]:
    """How long does it take to find the stored prefix of a request of 3,200 tokens?"""
    with hanse.open() as kernel, workload(kernel, settings.size(512, 16)) as requests:
        prefixes = kernel.latents.prefixes(TOY)
        pages: dict[int, Any] = {}
        for names in requests:
            hash_pages(pages, names)
        find = prefixes.match

        def work() -> None:
            for names in requests:
                find(names)

        def check() -> None:
            for names in requests:
                assert find(names) == longest(pages, names) == len(names)

        copy = np.zeros_like(requests[-1])
        yield Contest(
            hanse=each(len(requests), work, 1e3),
            check=check,
            peers=[
                peer(
                    "dict of page hashes",
                    each(len(requests), lambda: [longest(pages, r) for r in requests], 1e3),
                )
            ],
            limit="comparing the tokens (numpy)",
            limit_sample=each(
                len(requests), lambda: [np.array_equal(copy, requests[-1]) for _ in requests], 1e3
            ),
        )


@case("latent", "µs", "lower")
@contextlib.contextmanager
def match_insert(settings: Settings) -> Iterator[Contest]:
    """Match, insert and retain a fresh request of 3,200 tokens (with 6 kB of state copied in)?"""
    count = settings.size(256, 16)
    kv = np.zeros(NAMES.shape(3_200), np.int8)
    random = np.random.default_rng(SEED + 1)  # Nothing of it is in the workload.
    fresh = [random.integers(0, 50_000, 3_200).astype(np.uint32) for _ in range(count)]
    with hanse.open() as kernel, workload(kernel, settings.size(512, 16)):
        prefixes, latents = kernel.latents.prefixes(NAMES), kernel.latents

        def sample() -> float:
            held = []
            start = time.perf_counter_ns()
            for names in fresh:
                prefixes.acquire(names)
                held.append(prefixes.put(names, kv, 1))
            taken = time.perf_counter_ns() - start
            for latent in held:
                hanse.Latent(kernel, latent, kernel.root).release()
            latents.evict(1 << 40)
            return taken / count / 1e3

        def check() -> None:
            latent = hanse.Latent(kernel, prefixes.put(fresh[0], kv, 1), kernel.root)
            assert prefixes.match(fresh[0]) == 3_200
            np.testing.assert_array_equal(latent.read(), kv)
            latent.release()
            assert prefixes.match(fresh[0]) == 3_200  # It is kept.
            latents.evict(1 << 40)
            assert prefixes.match(fresh[0]) == 0

        pages: dict[int, Any] = {}

        def by_hashes() -> None:
            pages.clear()
            for names in fresh:
                longest(pages, names)
                hash_pages(pages, names)

        target, ids = np.zeros_like(kv), np.zeros_like(fresh[0])

        def copies() -> None:
            for names in fresh:
                np.copyto(ids, names)
                np.copyto(target, kv)

        yield Contest(
            hanse=sample,
            check=check,
            peers=[peer("dict of page hashes", each(count, by_hashes, 1e3))],
            limit="copying tokens and state (numpy)",
            limit_sample=each(count, copies, 1e3),
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
