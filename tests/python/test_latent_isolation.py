"""No tenant finds or reads what is another's, while it finds its own."""

import numpy as np

import hanse

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
