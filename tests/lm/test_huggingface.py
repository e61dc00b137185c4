"""A context that was handed over is continued as if it had been read: to the last bit."""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hanse

pytestmark = pytest.mark.lm
SPAWN = multiprocessing.get_context("spawn")
NAME = "HuggingFaceTB/SmolLM2-135M-Instruct@1"
CONTEXT, CHUNK = 100, 16


def ids(count: int, seed: int = 1) -> Any:
    """Token ids, not text: exactness is what is asked."""
    import torch

    return torch.from_numpy(np.random.default_rng(seed).integers(100, 40_000, (1, count)))


def chunked(model: Any, tokens: Any, cache: Any = None) -> Any:
    """Full prefill in two chunks, with transformers' own cache: logits of the second."""
    import torch
    from transformers import DynamicCache

    cache = cache or DynamicCache()
    with torch.no_grad():
        model(tokens[:, :CONTEXT], past_key_values=cache)
        return model(tokens[:, CONTEXT:], past_key_values=cache).logits


def continued(model: Any, cache: Any, tokens: Any) -> Any:
    import torch

    with torch.no_grad():
        return cache.forward(model, input_ids=tokens).logits


@pytest.fixture
def read(kernel: hanse.Kernel, model: Any) -> tuple[Any, Any, Any]:
    """Tokens, the logits that reading them gives, and the context as a latent."""
    import torch

    from hanse.runtimes.huggingface import LatentCache, spec_of

    tokens = ids(CONTEXT + CHUNK)
    expected = chunked(model, tokens)
    cache = LatentCache(kernel, spec_of(model, NAME))
    with torch.no_grad():
        cache.forward(model, input_ids=tokens[:, :CONTEXT])
    context = cache.export(tokens=tokens[0, :CONTEXT].numpy().astype(np.uint32))
    return tokens, expected, context


def test_a_cache_in_the_pool_gives_what_transformers_own_gives(model: Any, read: Any) -> None:
    tokens, _, context = read
    assert context.tokens == CONTEXT
    import torch
    from transformers import DynamicCache

    own = DynamicCache()
    with torch.no_grad():
        model(tokens[:, :CONTEXT], past_key_values=own)
    kv = context.view()
    for layer in range(30):
        np.testing.assert_array_equal(kv[layer, 0], own.layers[layer].keys[0].numpy())
        np.testing.assert_array_equal(kv[layer, 1], own.layers[layer].values[0].numpy())


@pytest.mark.parametrize("way", ["imported", "forked", "found", "shifted by zero", "pages", "disk"])
def test_continuing_a_context_that_was_handed_over_is_exact(
    kernel: hanse.Kernel, model: Any, read: Any, way: str, tmp_path: Path
) -> None:
    from hanse.runtimes.huggingface import LatentCache

    tokens, expected, context = read
    friend = kernel.agents.add("friend", parent=kernel.root)
    if way == "forked":
        context = context.fork()
    elif way == "found":
        context, matched = kernel.latents.longest_prefix(
            tokens[0].numpy().astype(np.uint32), context.info.spec
        )
        assert matched == CONTEXT // 16 * 16
        cache = LatentCache.of(kernel, context)
        continued(model, cache, tokens[:, matched:CONTEXT])
        np.testing.assert_allclose(
            continued(model, cache, tokens[:, CONTEXT:]), expected, atol=2e-3
        )
        return
    elif way == "pages":
        context = kernel.latents.put(context.read(), context.info.spec)
    elif way == "disk":
        with hanse.DiskTier(kernel, tmp_path / "tier", 1 << 30) as tier:
            stored = tier.store(context)
            context.release()
            context = tier.fetch(stored)
            assert context is not None
    cache = LatentCache.of(kernel, context, owner=friend, shift=0)
    assert bool((continued(model, cache, tokens[:, CONTEXT:]) == expected).all())
    # Where it was handed to lies whose it is.
    longer = cache.export()
    assert (longer.info.owner, longer.tokens) == (friend, CONTEXT + CHUNK)


def test_the_first_who_continues_shares_the_pages_and_the_next_copies(
    kernel: hanse.Kernel, model: Any, read: Any
) -> None:
    from hanse.runtimes.huggingface import LatentCache

    tokens, expected, context = read
    # Who made it is gone, so the room behind it is free: for one.
    first, second = LatentCache.of(kernel, context), LatentCache.of(kernel, context)
    assert (first.block.copied, second.block.copied) == (False, True)
    for cache in (first, second):
        assert bool((continued(model, cache, tokens[:, CONTEXT:]) == expected).all())
    end = first.export()
    first.close()
    before = kernel.latents.status().page_bytes_used
    third = LatentCache.of(kernel, end, room=8)
    assert not third.block.copied
    assert kernel.latents.status().page_bytes_used == before


def test_one_altered_page_is_noticed(kernel: hanse.Kernel, model: Any, read: Any) -> None:
    from hanse.runtimes.huggingface import LatentCache

    tokens, expected, context = read
    kv = context.read()
    kv[3, 1, :, 40] = 0  # The values of one token in one layer.
    altered = LatentCache.of(kernel, kernel.latents.put(kv, context.info.spec))
    logits = continued(model, altered, tokens[:, CONTEXT:])
    assert float((logits - expected).abs().max()) > 1e-5


def continue_elsewhere(path: str, ticket: bytes, directory: str, pipe: Connection) -> None:
    """The other process: maps the pages, adopts them and continues."""
    from transformers import AutoModelForCausalLM

    from hanse.runtimes.huggingface import LatentCache

    model = AutoModelForCausalLM.from_pretrained(directory).eval()
    reader = hanse.LatentReader(path, ticket)
    pipe.send("ready")
    tokens = pipe.recv()
    remote = reader.receive(60)
    with hanse.open() as kernel:
        here = kernel.latents.adopt(remote.read(), remote.spec)
        cache = LatentCache.of(kernel, here)
        pipe.send(continued(model, cache, tokens).numpy())
        cache.close()
        del cache


def test_another_process_continues_it_exactly(
    kernel: hanse.Kernel, model: Any, read: Any, smollm2: Path, tmp_path: Path
) -> None:
    tokens, expected, context = read
    path = str(tmp_path / "socket")
    with hanse.LatentExchange(kernel, path) as exchange:
        here, there = SPAWN.Pipe()
        ticket = exchange.ticket(kernel.root)
        process = SPAWN.Process(
            target=continue_elsewhere, args=(path, ticket, str(smollm2), there), daemon=True
        )
        process.start()
        assert here.recv() == "ready"
        while exchange.poll() == 0:
            pass
        here.send(tokens[:, CONTEXT:])
        assert exchange.share(context, kernel.root) == 1
        np.testing.assert_array_equal(here.recv(), expected.numpy())
        process.join(30)


def test_growing_and_cropping_leave_what_was_exported_as_it_was(
    kernel: hanse.Kernel, model: Any, read: Any
) -> None:
    from hanse.runtimes.huggingface import LatentCache

    tokens, expected, context = read
    kv = context.read()
    cache = LatentCache.of(kernel, context, room=4)  # Less than comes.
    assert bool((continued(model, cache, tokens[:, CONTEXT:]) == expected).all())
    longer = cache.export()
    after = longer.read()
    cache.crop(-CHUNK)
    continued(model, cache, ids(CHUNK, 2))
    np.testing.assert_array_equal(longer.read(), after)
    np.testing.assert_array_equal(context.read(), kv)
    cache.crop(-CHUNK - 50)
    continued(model, cache, tokens[:, CONTEXT - 50 : CONTEXT])
    np.testing.assert_array_equal(context.read(), kv)
    assert bool((continued(model, cache, tokens[:, CONTEXT:]) - expected).abs().max() < 2e-3)
    assert cache.export().tokens == CONTEXT + CHUNK


def test_what_is_made_of_a_secret_is_as_secret_however_it_grew(
    kernel: hanse.Kernel, model: Any, read: Any
) -> None:
    from hanse.runtimes.huggingface import LatentCache

    tokens, _, context = read
    secret = kernel.latents.put(context.read(), context.info.spec, label=5, gloss="plans", price=7)
    for repeats in (1, 2):
        cache = LatentCache.of(kernel, secret, room=2)
        cache.batch_repeat_interleave(repeats)
        continued(model, cache, tokens[:, CONTEXT:].repeat(repeats, 1))
        info = cache.export(repeats - 1).info
        assert (info.label, info.gloss, info.price) == (5, "plans", 7)
        assert info.tokens == CONTEXT + CHUNK
    tenants = [kernel.agents.add(name, kind="group") for name in "ab"]
    own = kernel.latents.put(context.read(), context.info.spec, owner=tenants[0])
    with pytest.raises(hanse.NotFoundError):
        LatentCache.of(kernel, own, owner=tenants[1])
    own.grant(tenants[1])
    cache = LatentCache.of(kernel, own, owner=tenants[1], room=2)
    continued(model, cache, tokens[:, CONTEXT:])
    granted = cache.export()
    own.revoke(tenants[1])
    for call in (granted.read, cache.export):
        with pytest.raises(hanse.DeniedError) as refused:
            call()
        assert refused.value.name == "Revoked"


def test_turned_keys_are_within_the_noise_of_the_model(
    kernel: hanse.Kernel, model: Any, text: Any
) -> None:
    import torch

    from hanse.runtimes.huggingface import LatentCache, spec_of

    tokens, spec = text[:, :48], spec_of(model, NAME)
    at = {}
    for base in (0, 77, 1000):
        cache = LatentCache(kernel, spec)
        cache.position_base = base
        with torch.no_grad():
            cache.forward(model, input_ids=tokens)
        at[base] = cache.block.array[:, :, :, :48].copy()
    start = kernel.latents.put(at[0], spec)
    for base in (77, 1000):
        turned = start.rebase(base)
        assert turned.info.position_base == base
        kv = turned.read()
        np.testing.assert_array_equal(kv[:, 1], at[0][:, 1])
        noise = np.abs(at[base][:, 1] - at[0][:, 1]).max()  # Values don't depend on positions.
        assert np.abs(kv[:, 0] - at[base][:, 0]).max() <= 3 * noise
        assert np.abs(at[0][:, 0] - at[base][:, 0]).max() > 1  # What is not turned is far off.


def divergence(expected: Any, found: Any) -> float:
    import torch

    p, q = (torch.log_softmax(x.double(), dim=-1) for x in (expected, found))
    return float((p.exp() * (p - q)).sum(dim=-1).mean())


def test_quantised_keys_and_values_keep_what_the_model_says(
    kernel: hanse.Kernel, model: Any, text: Any
) -> None:
    from dataclasses import replace

    import torch

    from hanse.runtimes.huggingface import LatentCache, spec_of

    spec = spec_of(model, NAME)
    nhd = replace(spec, order="NHD")
    split = text.shape[1] - 16
    cache = LatentCache(kernel, spec)
    with torch.no_grad():
        cache.forward(model, input_ids=text[:, :split])
    kv = np.ascontiguousarray(cache.export().read().transpose(0, 1, 3, 2, 4))
    expected = continued(model, cache, text[:, split:])
    for bits, most in ((8, 1e-5), (4, 0.02)):
        back = hanse.quantise(kv, nhd, bits=bits, recent=16).dequantise()
        again = kernel.latents.put(np.ascontiguousarray(back.transpose(0, 1, 3, 2, 4)), spec)
        found = continued(model, LatentCache.of(kernel, again), text[:, split:])
        assert 0 < divergence(expected, found) <= most


def test_another_models_cache_is_refused(kernel: hanse.Kernel, model: Any, read: Any) -> None:
    from dataclasses import replace

    from hanse.runtimes.huggingface import LatentCache

    _, _, context = read
    spec = context.info.spec
    with pytest.raises(hanse.LatentError, match="model"):
        LatentCache.of(kernel, context, spec=replace(spec, model="other@1"))
    with pytest.raises(hanse.LatentError, match="HND"):
        LatentCache(kernel, replace(spec, order="NHD"))


def test_what_was_evicted_to_disk_and_fetched_again_continues_to_the_bit(
    kernel: hanse.Kernel, model: Any, read: Any, tmp_path: Path
) -> None:
    """Whole pages come back: the context without its ragged end."""
    from hanse.runtimes.huggingface import LatentCache

    tokens, _, context = read
    whole = CONTEXT // 16 * 16
    names = tokens[0, :CONTEXT].numpy().astype(np.uint32)
    rest = tokens[:, whole:]
    with context.slice(whole) as part:
        expected_kv = part.read()
        cache = LatentCache.of(kernel, part)
        expected = continued(model, cache, rest)
        cache.close()
    kernel.latents.spill_to(tmp_path / "tier")
    with kernel.latents.put(context.read(), context.info.spec, tokens=names) as paged:
        paged.keep()
    context.release()
    assert kernel.latents.evict(1 << 40) > 0
    found, matched = kernel.latents.fetch(names, read[2]._facts()[0])
    assert matched == whole
    assert found is not None
    assert kernel.latents.status().spill_loaded_count == 1
    np.testing.assert_array_equal(found.read(), expected_kv)
    assert bool((continued(model, LatentCache.of(kernel, found), rest) == expected).all())
