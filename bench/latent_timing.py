"""python -m bench.latent_timing: can a tenant tell by time what another has stored?

Each look-up is of a prefix that the first tenant stored, or of one that nobody did, in random
order. The area under the ROC curve of telling them apart by time is 0.5 for one who can't tell and
1 for one who always can. The first tenant itself must be able to (the positive control: else the
measurement sees nothing); another must not: 0.48 … 0.52.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

import hanse
from hanse.runtimes.vllm import HanseConnector, attach

SPEC = hanse.LatentSpec("bench/timing@1", layers=1, kv_heads=1, head_dim=8, order="HND")
TOKENS, STORED, LOOKUPS = 512, 64, 40_000
WITHIN = (0.48, 0.52)
CONTROL = 0.9
SEED = 11


def area(of_stored: npt.NDArray[Any], of_others: npt.NDArray[Any]) -> float:
    """That a time of the first kind is longer than one of the second; ties count half."""
    both = np.concatenate([of_stored, of_others])
    order = np.argsort(both, kind="stable")
    ranks = np.empty(len(both))
    _, first, counts = np.unique(both[order], return_index=True, return_counts=True)
    ranks[order] = np.repeat(first + (counts + 1) / 2, counts)
    n, m = len(of_stored), len(of_others)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def told_apart(look_up: Callable[[npt.NDArray[np.uint32]], Any], runs: list[Any]) -> float:
    """runs: the stored ones, then as many that are not. The order is shuffled."""
    random = np.random.default_rng(SEED)
    chosen = random.integers(0, len(runs), LOOKUPS)
    taken = np.empty(LOOKUPS)
    for i, run in enumerate(chosen):
        tokens = runs[run].copy()  # As warm in the caches whichever it is.
        start = time.perf_counter_ns()
        look_up(tokens)
        taken[i] = time.perf_counter_ns() - start
    stored = chosen < len(runs) // 2
    auc = area(taken[stored], taken[~stored])
    return max(auc, 1 - auc)


def ways(kernel: hanse.Kernel, tenant: int, salt: str) -> dict[str, Callable[[Any], Any]]:
    """Every way by which a tenant looks a prefix up."""
    prefixes = hanse.Prefixes(kernel._core, tenant, SPEC._core())

    def acquire(tokens: npt.NDArray[np.uint32]) -> None:
        id, _ = prefixes.acquire(tokens)
        if id:
            kernel._core.latent_release(id)

    connector = connected(kernel)
    number = iter(range(1 << 62))

    def by_vllm(tokens: npt.NDArray[np.uint32]) -> None:
        request = SimpleNamespace(
            request_id=str(next(number)), prompt_token_ids=tokens, cache_salt=salt
        )
        connector.get_num_new_matched_tokens(request, 0)
        connector.request_finished(request, [])

    return {"match": prefixes.match, "acquire": acquire, "vLLM": by_vllm}


class FullAttentionSpec(SimpleNamespace):
    """As much of vLLM's as the connector reads."""


def connected(kernel: hanse.Kernel) -> HanseConnector:
    attach(kernel, "timing")
    spec = FullAttentionSpec(
        block_size=16, num_kv_heads=1, head_size=8, head_size_v=8, dtype="torch.float32"
    )
    config = SimpleNamespace(
        kv_transfer_config=SimpleNamespace(kv_connector_extra_config={"kernel": "timing"}),
        parallel_config=SimpleNamespace(world_size=1),
        cache_config=SimpleNamespace(block_size=16),
        model_config=SimpleNamespace(model="bench/timing", revision="1"),
    )
    group = SimpleNamespace(layer_names=["one"], kv_cache_spec=spec)
    return HanseConnector(config, None, SimpleNamespace(kv_cache_groups=[group]))


def main() -> int:
    random = np.random.default_rng(SEED)
    runs = [random.integers(0, 50_000, TOKENS).astype(np.uint32) for _ in range(2 * STORED)]
    failed = False
    with hanse.open() as kernel:
        owner = connected(kernel)._tenant("alice")[0]
        other = connected(kernel)._tenant("bob")[0]
        held = [
            kernel.latents.put(np.zeros(SPEC.shape(TOKENS), np.float32), SPEC, tokens=r, owner=who)
            for who, some in ((owner, runs[:STORED]), (other, runs[STORED : STORED + 1]))
            for r in some
        ]
        runs[STORED] = random.integers(0, 50_000, TOKENS).astype(np.uint32)
        own, foreign = ways(kernel, owner, "alice"), ways(kernel, other, "bob")
        for name in own:
            control, across = told_apart(own[name], runs), told_apart(foreign[name], runs)
            good = control >= CONTROL and WITHIN[0] <= across <= WITHIN[1]
            failed |= not good
            print(f"{name:8} same tenant {control:.3f}  across tenants {across:.3f}  {good}")
        for latent in held:
            latent.release()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
