"""Agents hand over working state by handle: shared, exact, refused where it must be, recorded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hanse

LAYERS, HEADS, DIM = 12, 4, 64
SPEC = hanse.LatentSpec(
    "org/model@7", LAYERS, HEADS, DIM, "float16", tokenizer="t1", rope_base=1e4, position_max=4096
)
TOKEN_BYTES = LAYERS * 2 * HEADS * DIM * 2


def states(spec: hanse.LatentSpec, tokens: int, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.standard_normal(spec.shape(tokens), dtype=np.float32).astype(spec.numpy_dtype())


def refused(call: object, kind: type[hanse.HanseError], name: str) -> None:
    with pytest.raises(kind) as caught:
        call()  # type: ignore[operator]
    assert caught.value.name == name


def work(directory: Path, tokens: int, readers: int) -> str:
    """The whole scenario on a kernel of this directory; returns its state hash."""
    with hanse.open(directory) as kernel:
        seen = len(kernel.agents)
        makes, asks, works = (
            kernel.agents.add(f"{name}-{seen}", parent=kernel.root) for name in ("m", "a", "w")
        )
        kernel.ledger.fund(asks, 10_000)
        kv = states(SPEC, tokens)
        context = kernel.latents.put(
            kv, SPEC, owner=makes, tokens=np.arange(tokens, dtype=np.uint32), gloss="what it is",
            price=2_000_000, whole=True,
        )  # fmt: skip
        assert context.info.size_bytes == TOKEN_BYTES * tokens
        before = kernel.latents.status()
        assert before.page_bytes_used == TOKEN_BYTES * tokens
        forks = [hanse.Latent(kernel, context.id, asks).fork() for _ in range(readers)]
        after = kernel.latents.status()
        assert after.page_bytes_used == before.page_bytes_used
        assert after.handle_count - before.handle_count == readers
        assert all(np.shares_memory(fork.view(), context.view()) for fork in forks)

        # Handed over with a task: named in its record, readable by the worker, paid for.
        receipt = kernel.as_agent(asks).dispatch(
            to=works, budget=4 * tokens, latents=[forks[0]], payload=b"go on"
        )
        assert kernel.ledger.balance(makes) == 2 * tokens
        (delivery,) = [kernel.receive(works)]
        (given,) = delivery.latents
        mine = hanse.Latent(kernel, int(given), works)
        np.testing.assert_array_equal(mine.read(SPEC), kv)
        assert mine.info.gloss == "what it is"
        kernel.as_agent(works).complete(receipt.task, artifact=bytes([seen % 255 + 1] * 32))
        kernel.as_agent(asks).accept(receipt.task)

        for latent in [context, *forks]:
            latent.release()
        assert kernel.latents.status().page_bytes_used == 0  # The last one frees it.
        return kernel.state_hash


def test_state_passes_by_handle_and_what_is_recorded_survives(tmp_path: Path) -> None:
    state = work(tmp_path, 300, 48)
    assert hanse.verify(tmp_path).state_hash == state
    again = work(tmp_path, 77, 5)  # On what is there after reopening.
    assert hanse.verify(tmp_path).state_hash == again != state


def test_a_mismatch_names_the_field_that_differs() -> None:
    with hanse.open() as kernel:
        latent = kernel.latents.put(states(SPEC, 20), SPEC)
        for field, value in (
            ("model", "org/model@8"),
            ("tokenizer", "t2"),
            ("rope_base", 1e5),
            ("position_max", 8192),
            ("rope_pairing", "gptj"),
        ):
            with pytest.raises(hanse.LatentError, match=field) as caught:
                latent.read(replace(SPEC, **{field: value}))
            assert caught.value.name == "LatentIncompatible"


def test_leases_tenants_positions_and_alterations_are_refused() -> None:
    clock = hanse.ManualClock(10**18)
    with hanse.open(clock=clock) as kernel:
        a, b = (kernel.agents.add(name, kind="group") for name in "ab")
        leased = kernel.latents.put(states(SPEC, 5), SPEC, ttl=2.5)
        fork = leased.fork()
        clock.advance(2_500_000_000)
        for latent in (leased, fork):
            refused(latent.read, hanse.DeniedError, "LeaseExpired")
        own = kernel.latents.put(states(SPEC, 9), SPEC, owner=a, label=4)
        refused(hanse.Latent(kernel, own.id, b).read, hanse.NotFoundError, "UnknownLatent")
        refused(lambda: own.grant(b, clearance=3), hanse.DeniedError, "NotPermitted")
        parts = [
            kernel.latents.put(states(SPEC, 6), SPEC, position_base=base) for base in (0, 6, 11)
        ]
        assert kernel.latents.concat(parts[:2]).tokens == 12
        refused(lambda: kernel.latents.concat(parts), hanse.LatentError, "PositionOverlap")
        sealed = bytearray(parts[0].seal(b"secret"))
        sealed[len(sealed) // 2] ^= 1
        refused(
            lambda: kernel.latents.unseal(bytes(sealed), b"secret"),
            hanse.LatentError,
            "LatentCorrupt",
        )


def test_int8_comes_back_within_half_a_step_of_its_group() -> None:
    spec = replace(SPEC, dtype="float32", layers=3)
    kv = states(spec, 96, 5)
    back = hanse.quantise(kv, spec, bits=8, recent=0).dequantise()
    keys = kv[:, 0].reshape(3, 3, 32, HEADS, DIM)
    step = (keys.max(2) - keys.min(2)) / 255
    error = np.abs(back[:, 0].reshape(keys.shape) - keys).max(2)
    assert (error <= step / 2 + 1e-6).all()
    values = kv[:, 1]
    step = (values.max(-1) - values.min(-1)) / 255
    assert (np.abs(back[:, 1] - values).max(-1) <= step / 2 + 1e-6).all()
