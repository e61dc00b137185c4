"""No tenant finds or reads what is another's, while it finds its own."""

from types import SimpleNamespace

import numpy as np
import pytest

import hanse
from hanse.runtimes import vllm as connector_module
from hanse.runtimes.vllm import HanseConnector

SPEC = hanse.LatentSpec("model@1", layers=1, kv_heads=1, head_dim=4, dtype="int8")


def test_one_of_50000_look_ups_across_tenants_is_never_a_hit() -> None:
    random = np.random.default_rng(4)
    with hanse.open() as kernel:
        tenants = [kernel.agents.add(name, kind="group") for name in "abc"]
        prefixes = [hanse.Prefixes(kernel._core, t, SPEC._core()) for t in tenants]
        # Each run of tokens belongs to one tenant; all begin with the same page.
        common = np.arange(16, dtype=np.uint32)
        runs = [
            np.concatenate([common, random.integers(0, 1000, 48).astype(np.uint32)])
            for _ in range(90)
        ]
        held = []
        for i, run in enumerate(runs):
            kv = np.full(SPEC.shape(64), i, np.int8)
            held.append(kernel.latents.put(kv, SPEC, tokens=run, owner=tenants[i % 3]))
        hits = 0
        for run, tenant in zip(
            random.integers(0, 90, 50_000), random.integers(0, 3, 50_000), strict=True
        ):
            found = prefixes[tenant].match(runs[run])
            own = tenant == run % 3
            assert found == (64 if own else 16)
            hits += own
        assert hits > 16_000  # The look-ups can hit.

        # What the common page shows is the tenant's own.
        for tenant in range(3):
            id, matched = prefixes[tenant].acquire(runs[(tenant + 1) % 3])
            assert matched == 16
            seen = hanse.Latent(kernel, id, tenants[tenant]).read()
            assert int(seen.flat[0]) % 3 == tenant
        for i, latent in enumerate(held):
            stranger = hanse.Latent(kernel, latent.id, tenants[(i + 1) % 3])
            for call in (stranger.read, stranger.fork, stranger.pages, lambda: stranger.info):  # noqa: B023
                try:
                    call()
                    raise AssertionError("it was read")
                except hanse.NotFoundError as error:
                    assert error.name == "UnknownLatent"


@pytest.mark.slow
def test_none_of_a_million_look_ups_across_tenants_is_a_hit_by_any_way() -> None:
    """By match, by acquire, by step, by handle and by vLLM's connector, 1,000,000 together each
    way but the connector's, which takes 200,000."""
    random = np.random.default_rng(6)
    with hanse.open() as kernel:
        connector_module.attach(kernel, "isolation")
        connector = connected()
        salts = [f"salt {i}" for i in range(16)]
        tenants = [connector._tenant(salt)[0] for salt in salts]
        spec = connector._spec
        prefixes = [hanse.Prefixes(kernel._core, t, spec._core()) for t in tenants]
        runs = [random.integers(0, 1000, 48).astype(np.uint32) for _ in range(160)]
        kv = np.zeros(spec.shape(48), np.float32)
        held = [
            kernel.latents.put(kv, spec, tokens=run, owner=tenants[i % 16])
            for i, run in enumerate(runs)
        ]
        steps = [kernel.latents.put(kv, spec, step=i, owner=tenants[i % 16]) for i in range(160)]
        lists = [run.tolist() for run in runs]
        own_hits = foreign_hits = 0
        pairs = zip(
            random.integers(0, 160, 1_000_000), random.integers(0, 16, 1_000_000), strict=True
        )
        core, wanted = kernel._core, spec._core()
        for number, (run, tenant) in enumerate(pairs):
            run, tenant = int(run), int(tenant)
            reader = tenants[tenant]
            hits = [prefixes[tenant].match(runs[run]) != 0]
            id, matched = prefixes[tenant].acquire(runs[run])
            hits.append(matched != 0)
            if id:
                core.latent_release(id)
            id = core.latent_find_step(reader, wanted, None, tenants[run % 16], run)
            hits.append(id != 0)
            if id:
                core.latent_release(id)
            try:
                core.latent_release(core.latent_fork(reader, held[run].id))
                hits.append(True)
            except hanse.NotFoundError:
                hits.append(False)
            if number % 5 == 0:
                request = SimpleNamespace(
                    request_id="r", prompt_token_ids=lists[run] + [1], cache_salt=salts[tenant]
                )
                found, _ = connector.get_num_new_matched_tokens(request, 0)
                hits.append(found != 0)
                connector.request_finished(request, [])
            if tenant == run % 16:
                own_hits += all(hits)
            else:
                foreign_hits += any(hits)
        assert foreign_hits == 0
        assert own_hits > 60_000  # The look-ups can hit, each way.
        for latent in held + steps:
            latent.release()
        assert kernel.latents.status().handle_count == 0


def connected() -> HanseConnector:
    """vLLM's connector on the attached kernel, of one layer."""

    class FullAttentionSpec(SimpleNamespace):
        pass

    spec = FullAttentionSpec(
        block_size=16, num_kv_heads=1, head_size=4, head_size_v=4, dtype="torch.float32"
    )
    config = SimpleNamespace(
        kv_transfer_config=SimpleNamespace(kv_connector_extra_config={"kernel": "isolation"}),
        parallel_config=SimpleNamespace(world_size=1),
        cache_config=SimpleNamespace(block_size=16),
        model_config=SimpleNamespace(model="org/model", revision="1"),
    )
    group = SimpleNamespace(layer_names=["one"], kv_cache_spec=spec)
    return HanseConnector(config, None, SimpleNamespace(kv_cache_groups=[group]))
