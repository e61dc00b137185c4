"""vLLM's connector: what one tenant stored comes back block by block, and for no one else."""

import ast
import inspect
import json
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import hanse
from hanse.runtimes import vllm as connector_module
from hanse.runtimes.vllm import HanseConnector

RECORDED = Path(__file__).parent / "vllm_signatures.json"
LAYERS, HEADS, DIM, BLOCK, BLOCKS = ("model.0", "model.1", "model.2"), 2, 4, 8, 64


class FullAttentionSpec(SimpleNamespace):
    """As much of vLLM's as the connector reads."""


class Engine:
    """One vLLM engine, as the connector sees it: a scheduler with blocks and a worker with memory.

    The model is that the content of a block's place follows from the tokens up to it, by a hash.
    """

    def __init__(self, kernel: hanse.Kernel, layers: tuple[str, ...] = LAYERS, groups: int = 1):
        connector_module.attach(kernel, "test")
        config = SimpleNamespace(
            kv_transfer_config=SimpleNamespace(kv_connector_extra_config={"kernel": "test"}),
            parallel_config=SimpleNamespace(world_size=1),
            cache_config=SimpleNamespace(block_size=BLOCK),
            model_config=SimpleNamespace(model="org/model", revision="1"),
        )
        spec = FullAttentionSpec(
            block_size=BLOCK, num_kv_heads=HEADS, head_size=DIM, head_size_v=DIM,
            dtype="torch.float32",
        )  # fmt: skip
        share = -(-len(layers) // groups)
        named = [layers[i * share : (i + 1) * share] for i in range(groups)]
        caches = SimpleNamespace(
            kv_cache_groups=[SimpleNamespace(layer_names=n, kv_cache_spec=spec) for n in named]
        )
        self.groups = groups
        self.group_of = {name: g for g, names in enumerate(named) for name in names}
        self.connector = HanseConnector(config, None, caches)
        self.memory = {
            name: np.zeros((BLOCKS, HEADS, BLOCK, 2 * DIM), np.float32) for name in layers
        }
        self.connector.register_kv_caches(self.memory)
        self.next_block, self.next_request = 0, 0

    def blocks(self, tokens: int) -> tuple[list[int], ...]:
        count = -(-tokens // BLOCK)
        places = []
        for _ in range(self.groups):
            places.append([(self.next_block + i) % BLOCKS for i in range(count)])
            self.next_block += count
        return tuple(places)

    def run(self, tokens: list[int], salt: str | None = None, **more: Any) -> tuple[int, set[int]]:
        """Prefill of one request; how many tokens came from the pool, and failed blocks."""
        self.next_request += 1
        request = SimpleNamespace(
            request_id=f"r{self.next_request}", prompt_token_ids=tokens, cache_salt=salt, **more
        )
        connector = self.connector
        found, waits = connector.get_num_new_matched_tokens(request, 0)
        assert waits is False
        assert found is not None
        assert found % BLOCK == 0
        assert found < len(tokens)  # One is always left to compute.
        places = self.blocks(len(tokens))
        given = SimpleNamespace(get_block_ids=lambda: places)
        connector.update_state_after_alloc(request, given, found)
        step = SimpleNamespace(
            scheduled_new_reqs=[
                SimpleNamespace(req_id=request.request_id, block_ids=places,
                                num_computed_tokens=found)
            ],
            scheduled_cached_reqs=SimpleNamespace(
                req_ids=[], resumed_req_ids=set(), new_block_ids=[], num_computed_tokens=[]
            ),
            num_scheduled_tokens={request.request_id: len(tokens) - found},
        )  # fmt: skip
        connector.bind_connector_metadata(connector.build_connector_meta(step))
        connector.start_load_kv(SimpleNamespace())
        failed = connector.get_block_ids_with_load_errors()
        for number, (name, memory) in enumerate(self.memory.items()):
            connector.wait_for_layer_load(name)
            content = computed(tokens, number)
            for at in range(len(tokens)):
                block = places[self.group_of[name]][at // BLOCK]
                if at >= found:
                    memory[block, :, at % BLOCK] = content[at]
                elif block not in failed:
                    np.testing.assert_array_equal(memory[block, :, at % BLOCK], content[at])
            connector.save_kv_layer(name, memory, None)
        connector.wait_for_save()
        connector.clear_connector_metadata()
        assert connector.request_finished_all_groups(request, places) == (False, None)
        assert connector.get_finished(set()) == (None, None)
        return found, failed


def computed(tokens: list[int], layer: int) -> np.ndarray:
    """[tokens, heads, 2 * dim], each from all tokens up to it."""
    mixed = np.cumsum(np.array(tokens, np.int64) * 7919 + 13 * layer) % 65_521
    return (mixed[:, None, None] + np.arange(HEADS * 2 * DIM).reshape(HEADS, -1)).astype(np.float32)


def prompt(seed: int, count: int) -> list[int]:
    return [int(t) for t in np.random.default_rng(seed).integers(0, 50_000, count)]


@pytest.mark.parametrize("groups", [1, 3])
def test_a_second_request_takes_its_prefix_from_the_pool(groups: int) -> None:
    with hanse.open() as kernel:
        engine = Engine(kernel, groups=groups)
        first = prompt(1, 70)
        assert engine.run(first) == (0, set())
        assert engine.run(first) == (64, set())
        assert engine.run(first[:40] + prompt(2, 30)) == (32, set())
        assert engine.run(first[:16]) == (0, set())  # One token must be computed, in whole pages.
        # Another engine on the same kernel finds it, too.
        assert Engine(kernel, groups=groups).run(first) == (64, set())


def test_a_salt_is_a_tenant_and_others_miss() -> None:
    with hanse.open() as kernel:
        engine = Engine(kernel)
        tokens = prompt(3, 50)
        assert engine.run(tokens, "alice")[0] == 0
        found = [engine.run(tokens, salt)[0] for salt in ("bob", None, "", "alice ")]
        assert found == [0, 0, 48, 0]
        assert engine.run(tokens, "alice")[0] == 48
        owners = {agent.tenant for agent in kernel.agents if agent.name.startswith("vllm-")}
        assert len(owners) == 4  # None and "" are one.
        assert not any("alice" in agent.name for agent in kernel.agents)


def test_what_tokens_do_not_describe_is_neither_stored_nor_found() -> None:
    with hanse.open() as kernel:
        engine = Engine(kernel)
        tokens = prompt(4, 50)
        for more in ({"mm_features": ["image"]}, {"lora_request": 1}, {"prompt_embeds": 1}):
            assert engine.run(tokens, **more)[0] == 0
        assert engine.run(tokens)[0] == 0
        assert engine.run(tokens)[0] == 48
        assert engine.run(tokens, mm_features=["image"])[0] == 0


def test_blocks_that_could_not_be_loaded_are_named() -> None:
    with hanse.open() as kernel:
        engine = Engine(kernel)
        tokens = prompt(5, 50)
        engine.run(tokens)
        connector = engine.connector
        fork = hanse.Latent.fork
        try:
            hanse.Latent.fork = lambda self: hanse.Latent(kernel, 1 << 40, self.reader)  # type: ignore[method-assign]
            with pytest.raises(hanse.NotFoundError):
                engine.run(tokens)  # Even releasing it says so.
        finally:
            hanse.Latent.fork = fork  # type: ignore[method-assign]
        assert len(connector.get_block_ids_with_load_errors()) == 6
        assert connector.get_block_ids_with_load_errors() == set()


def test_a_tenant_keeps_no_more_than_its_quota_and_nothing_leaks() -> None:
    with hanse.open() as kernel:
        engine = Engine(kernel)
        engine.run(prompt(0, 60))
        (tenant,) = [agent.id for agent in kernel.agents if agent.name.startswith("vllm-")]
        kernel.latents.set_quota(tenant, 20_000)  # Two of 9,216 bytes.
        for seed in range(30):
            engine.run(prompt(seed, 60))
        status = kernel.latents.status()
        assert (status.kept_bytes, status.handle_count) == (2 * 9_216, 0)
        assert engine.run(prompt(29, 60))[0] == 48
        assert engine.run(prompt(0, 60))[0] == 0
        kernel.latents.set_quota(tenant, 1_000)  # Less than one: computed each time, and no error.
        assert [engine.run(prompt(1, 60))[0] for _ in range(2)] == [0, 0]


def test_what_a_connector_cannot_hold_is_refused() -> None:
    with hanse.open() as kernel:
        engine = Engine(kernel)
        config = engine.connector._vllm_config

        class SlidingWindowSpec(FullAttentionSpec):
            pass

        good = FullAttentionSpec(
            block_size=BLOCK, num_kv_heads=1, head_size=4, head_size_v=4, dtype="torch.float32"
        )
        sliding = SlidingWindowSpec(**vars(good))
        for spec, name in (
            (sliding, "kv_cache_groups"),
            (FullAttentionSpec(**{**vars(good), "block_size": 4}), "block_size"),
            (FullAttentionSpec(**{**vars(good), "dtype": "torch.float8_e4m3fn"}), "dtype"),
        ):
            group = SimpleNamespace(layer_names=["a"], kv_cache_spec=spec)
            with pytest.raises(hanse.LatentError, match=name):
                HanseConnector(config, None, SimpleNamespace(kv_cache_groups=[group]))
        config.parallel_config.world_size = 2
        group = SimpleNamespace(layer_names=["a"], kv_cache_spec=good)
        with pytest.raises(hanse.LatentError, match="world_size"):
            HanseConnector(config, None, SimpleNamespace(kv_cache_groups=[group]))


def published(source: str) -> dict[str, Any]:
    """Of vLLM's base classes: each method's parameters and whether it is abstract."""
    found: dict[str, Any] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name in ("KVConnectorBase_V1", "SupportsHMA"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef):
                    names = [a.arg for a in method.args.posonlyargs + method.args.args]
                    if method.args.kwarg is not None:
                        names.append("**" + method.args.kwarg.arg)
                    marks = [ast.unparse(mark) for mark in method.decorator_list]
                    found[method.name] = {
                        "parameters": names,
                        "abstract": "abstractmethod" in marks,
                    }
    return found


def signatures() -> dict[str, Any]:
    """From the wheel that HANSE_VLLM_WHEEL names, which is only unpacked; else as recorded of
    0.33.0, so that the check doesn't need 336 MB everywhere."""
    recorded: dict[str, Any] = json.loads(RECORDED.read_text())
    wheel = os.environ.get("HANSE_VLLM_WHEEL")
    if not wheel:
        return recorded
    with zipfile.ZipFile(wheel) as archive:
        base = archive.read("vllm/distributed/kv_transfer/kv_connector/v1/base.py").decode()
    found = published(base)
    assert {name: found[name] for name in recorded} == recorded
    return found


def test_the_connector_has_what_vllm_publishes_as_vllm_calls_it() -> None:
    found = signatures()
    abstract = {name for name, method in found.items() if method["abstract"]}
    assert len(abstract) >= 8
    assert "request_finished_all_groups" in abstract
    for name in abstract:
        assert callable(getattr(HanseConnector, name)), name
    compared = 0
    for name, method in vars(HanseConnector).items():
        if name in found:
            have = [
                ("**" if p.kind is p.VAR_KEYWORD else "") + p.name
                for p in inspect.signature(method).parameters.values()
            ]
            assert have == found[name]["parameters"], name
            compared += 1
    assert compared >= len(abstract) + 4
