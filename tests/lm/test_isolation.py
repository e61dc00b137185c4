"""No tenant continues another's context through transformers' cache, while it continues its own."""

import numpy as np
import pytest

import hanse

pytestmark = pytest.mark.lm
SPEC = hanse.LatentSpec("model@1", layers=1, kv_heads=1, head_dim=4, order="HND")
TENANTS, LATENTS, TOKENS = 16, 160, 4


def look_up(count: int, seed: int) -> tuple[int, int, int]:
    """Own tries, own hits and hits across tenants of so many random look-ups."""
    from hanse.runtimes.huggingface import LatentCache

    random = np.random.default_rng(seed)
    with hanse.open() as kernel:
        tenants = [kernel.agents.add(f"tenant {i}", kind="group") for i in range(TENANTS)]
        held = [
            kernel.latents.put(
                np.full(SPEC.shape(TOKENS), i, np.float32), SPEC, owner=tenants[i % TENANTS], step=i
            )
            for i in range(LATENTS)
        ]
        tried = own = foreign = 0
        pairs = zip(
            random.integers(0, LATENTS, count), random.integers(0, TENANTS, count), strict=True
        )
        for number, (which, who) in enumerate(pairs):
            which, who = int(which), int(who)
            mine = which % TENANTS == who
            tried += mine
            # By the id alone, as one who guesses it would; or by the owner's own object.
            latent = held[which]
            if number % 2:
                latent = hanse.Latent(kernel, latent.id, tenants[who])
            try:
                cache = LatentCache.of(kernel, latent, owner=tenants[who], room=1)
            except hanse.NotFoundError as error:
                assert error.name == "UnknownLatent"
                continue
            keys = cache.layers[0].keys
            assert keys is not None
            assert float(keys[0, 0, 0, 0]) == which
            own += mine
            foreign += not mine
            cache.close()
        del latent
        for one in held:
            one.release()
        assert kernel.latents.status().handle_count == 0
        return tried, own, foreign


def test_none_of_20000_look_ups_across_tenants_is_a_hit_through_transformers() -> None:
    tried, own, foreign = look_up(20_000, 1)
    assert foreign == 0
    assert own == tried > 1_000  # The look-ups can hit.


@pytest.mark.slow
def test_none_of_a_million_look_ups_across_tenants_is_a_hit_through_transformers() -> None:
    tried, own, foreign = look_up(1_000_000, 2)
    assert foreign == 0
    assert own == tried > 60_000
