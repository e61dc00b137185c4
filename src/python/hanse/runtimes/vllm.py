"""KV blocks of vLLM in the latent pool: a connector of its version-1 interface.

    vllm serve … --kv-transfer-config '{"kv_connector": "HanseConnector", "kv_role": "kv_both",
      "kv_connector_module_path": "hanse.runtimes.vllm"}'

A prompt's full blocks are stored when they are computed, and found by whoever comes with the same
tokens and the same `cache_salt`: each salt is a tenant of the kernel, so nothing that one stored
can be seen, found or timed by another. `attach` names the kernel; without it one in memory is made.

The pool lies in the process of the connector, so scheduler and worker must share one (a single
worker, vLLM's default for one device). What tokens alone don't describe (images, adapters, prompt
embeddings) is neither stored nor looked up.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BusyError, HanseError
from ..kernel import Kernel
from ..kernel import open as open_kernel
from ..latent import Latent, Prefixes
from ..latent_spec import LatentSpec, core_spec
from ..reasons import refuse

try:
    from vllm.distributed.kv_transfer.kv_connector.v1.base import (
        KVConnectorBase_V1,
        KVConnectorMetadata,
        SupportsHMA,
    )
except ImportError:

    class KVConnectorMetadata:  # type: ignore[no-redef]
        """What vLLM's scheduler sends to its worker."""

    class SupportsHMA:  # type: ignore[no-redef]
        """Takes blocks of several groups."""

    class KVConnectorBase_V1:  # type: ignore[no-redef]
        """As much of vLLM's base as the connector calls, so that it can be tried without vLLM."""

        def __init__(self, vllm_config: Any, role: Any, kv_cache_config: Any) -> None:
            self._vllm_config = vllm_config
            self._kv_transfer_config = vllm_config.kv_transfer_config
            self._connector_metadata: Any = None

        def bind_connector_metadata(self, connector_metadata: Any) -> None:
            self._connector_metadata = connector_metadata

        def clear_connector_metadata(self) -> None:
            self._connector_metadata = None


__all__ = ["HanseConnector", "HanseMetadata", "attach"]

TENANTS_MAX = 1 << 16
REQUESTS_MAX = 1 << 16
# vLLM groups whose blocks hold every token of a sequence.
_GROUPS = ("FullAttentionSpec", "MLAAttentionSpec", "TQFullAttentionSpec")
_DTYPES = {"float32": 4, "float16": 2, "bfloat16": 2}

_kernels: dict[str, Kernel] = {}


def attach(kernel: Kernel, name: str = "default") -> None:
    """The kernel that connectors use whose extra configuration says `"kernel": name`."""
    _kernels[name] = kernel


@dataclass(slots=True)
class _Load:
    request: str
    latent: Latent
    first: int  # tokens that are there already
    end: int
    blocks: tuple[list[int], ...]  # of the whole sequence, by group


@dataclass(slots=True)
class _Save:
    tenant: int
    tokens: NDArray[np.uint32]
    blocks: tuple[list[int], ...]
    planes: dict[str, list[NDArray[Any]]] = field(default_factory=dict)


@dataclass(slots=True)
class HanseMetadata(KVConnectorMetadata):
    """What one step loads and saves."""

    loads: list[_Load] = field(default_factory=list)
    saves: list[_Save] = field(default_factory=list)


@dataclass(slots=True)
class _Request:
    tenant: int
    tokens: NDArray[np.uint32]  # of the prompt
    blocks: tuple[list[int], ...] = ()
    matched: int = 0
    hit: Latent | None = None
    saved: bool = False


class HanseConnector(KVConnectorBase_V1, SupportsHMA):
    """See the module. Loading and saving are done when vLLM asks, not behind it."""

    def __init__(self, vllm_config: Any, role: Any, kv_cache_config: Any) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        if getattr(vllm_config.parallel_config, "world_size", 1) != 1:
            refuse("LatentIncompatible", "world_size", "want 1: the pool lies in one process")
        extra = getattr(vllm_config.kv_transfer_config, "kv_connector_extra_config", None) or {}
        name = str(extra.get("kernel", "default"))
        if name not in _kernels:
            _kernels[name] = open_kernel()
        self._kernel = _kernels[name]
        self._block_size = int(vllm_config.cache_config.block_size)
        self._groups: dict[str, int] = {}
        for number, group in enumerate(kv_cache_config.kv_cache_groups):
            spec = group.kv_cache_spec
            if type(spec).__name__ not in _GROUPS or getattr(spec, "sliding_window", None):
                refuse("LatentIncompatible", "kv_cache_groups", f"have {type(spec).__name__}")
            if spec.block_size != self._block_size:
                refuse("LatentIncompatible", "block_size", f"have {spec.block_size}, too")
            self._groups.update(dict.fromkeys(group.layer_names, number))
        self._spec = _spec_of(vllm_config.model_config, kv_cache_config, len(self._groups))
        self._page = math.lcm(self._block_size, 16)
        self._requests: dict[str, _Request] = {}
        self._loads: list[_Load] = []
        self._tenants: dict[str, tuple[int, Prefixes]] = {}
        self._caches: dict[str, Any] = {}
        self._errors: set[int] = set()

    # --- the scheduler's side

    def get_num_new_matched_tokens(
        self, request: Any, num_computed_tokens: int
    ) -> tuple[int | None, bool]:
        """How many tokens more than those computed the pool has of this tenant's; never all: one
        is left to compute."""
        known = self._known(request)
        if known is None:
            return 0, False
        self._let_go(known)
        limit = (len(known.tokens) - 1) // self._page * self._page
        if limit <= num_computed_tokens:
            return 0, False
        prefixes = self._tenant(getattr(request, "cache_salt", None))[1]
        id, matched = prefixes.acquire(known.tokens[:limit])
        matched = matched // self._page * self._page
        if id:
            known.hit = Latent(self._kernel, id, known.tenant)
        if matched <= num_computed_tokens:
            self._let_go(known)
            return 0, False
        known.matched = matched
        return matched - num_computed_tokens, False

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        """Remembers where what was found is to be loaded."""
        known = self._requests.get(request.request_id)
        if known is None:
            return
        if num_external_tokens > 0 and known.hit is not None:
            places = tuple(list(group) for group in blocks.get_block_ids())
            first = known.matched - num_external_tokens
            self._loads.append(
                _Load(request.request_id, known.hit.fork(), first, known.matched, places)
            )
        self._let_go(known)

    def build_connector_meta(self, scheduler_output: Any) -> HanseMetadata:
        """What this step loads, and what it saves: prompts whose last token it computes."""
        meta = HanseMetadata(loads=self._loads)
        self._loads = []
        scheduled = scheduler_output.num_scheduled_tokens
        for new in scheduler_output.scheduled_new_reqs:
            known = self._requests.get(new.req_id)
            if known is not None:
                known.blocks = tuple(list(group) for group in new.block_ids)
                self._plan(meta, known, new.num_computed_tokens + scheduled.get(new.req_id, 0))
        cached = scheduler_output.scheduled_cached_reqs
        for i, id in enumerate(cached.req_ids):
            known = self._requests.get(id)
            if known is None:
                continue
            more = cached.new_block_ids[i]
            if more is not None and id in cached.resumed_req_ids:
                known.blocks = tuple(list(group) for group in more)
            elif more is not None:
                known.blocks = tuple(
                    [*have, *added] for have, added in zip(known.blocks, more, strict=True)
                )
            self._plan(meta, known, cached.num_computed_tokens[i] + scheduled.get(id, 0))
        return meta

    def request_finished(
        self, request: Any, block_ids: list[int]
    ) -> tuple[bool, dict[str, Any] | None]:
        """Its blocks may be freed: what was worth it is stored."""
        known = self._requests.pop(request.request_id, None)
        if known is not None:
            self._let_go(known)
        for load in [load for load in self._loads if load.request == request.request_id]:
            self._loads.remove(load)
            load.latent.release()
        return False, None

    def request_finished_all_groups(
        self, request: Any, block_ids: tuple[list[int], ...]
    ) -> tuple[bool, dict[str, Any] | None]:
        """The same for blocks of several groups."""
        return self.request_finished(request, [])

    def take_events(self) -> Iterable[Any]:
        """None: the pool's state is asked of the kernel."""
        return ()

    # --- the worker's side

    def register_kv_caches(self, kv_caches: dict[str, Any]) -> None:
        """Each layer's blocks, [blocks, heads, block_size, content]."""
        self._caches = dict(kv_caches)

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        """Writes what was found into vLLM's blocks, all layers of it."""
        for load in self._metadata().loads:
            try:
                self._load(load)
            except HanseError:
                for group in load.blocks:
                    self._errors.update(
                        group[load.first // self._block_size : load.end // self._block_size]
                    )
            finally:
                load.latent.release()

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Everything was loaded before the forward pass."""

    def save_kv_layer(
        self, layer_name: str, kv_layer: Any, attn_metadata: Any, **kwargs: Any
    ) -> None:
        """Takes the blocks of one layer."""
        for save in self._metadata().saves:
            group = self._groups.get(layer_name)
            if group is not None:
                count = len(save.tokens) // self._block_size
                save.planes[layer_name] = self._planes(_take(kv_layer, save.blocks[group][:count]))

    def wait_for_save(self) -> None:
        """Puts what was taken into the pool, to be kept while there is room."""
        for save in self._metadata().saves:
            if set(save.planes) != set(self._groups):
                continue
            planes = [plane for layer in self._groups for plane in save.planes[layer]]
            try:
                with self._kernel.latents.put(
                    planes, self._spec, tokens=save.tokens, owner=save.tenant
                ) as stored:
                    stored.keep()
            except BusyError:
                continue  # A full pool is a miss for those who come.

    def get_finished(self, finished_req_ids: set[str]) -> tuple[set[str] | None, set[str] | None]:
        """None: nothing is done behind vLLM."""
        return None, None

    def get_block_ids_with_load_errors(self) -> set[int]:
        """Blocks that could not be loaded since the last call."""
        errors, self._errors = self._errors, set()
        return errors

    def shutdown(self) -> None:
        """Lets go of what is found and not loaded yet."""
        for known in self._requests.values():
            self._let_go(known)
        self._requests.clear()

    # --- inside

    def _metadata(self) -> HanseMetadata:
        meta = self._connector_metadata
        return meta if isinstance(meta, HanseMetadata) else HanseMetadata()

    def _tenant(self, salt: str | None) -> tuple[int, Prefixes]:
        """The tenant of a salt, a group below the root, and its prefixes. A salt is a secret: its
        hash is the name."""
        name = "vllm-" + hashlib.sha256((salt or "").encode()).hexdigest()[:32]
        found = self._tenants.get(name)
        if found is None:
            if len(self._tenants) >= TENANTS_MAX:
                refuse("QuotaExceeded", "cache_salt", f"want at most {TENANTS_MAX} tenants")
            agents, root = self._kernel.agents, self._kernel.root
            agent = agents.find(name, parent=root)
            if agent is None:
                agent = agents.add(name, kind="group", parent=root)
            found = (agent, Prefixes(self._kernel._core, agent, core_spec(self._spec)))
            self._tenants[name] = found
        return found

    def _known(self, request: Any) -> _Request | None:
        """The request, unless more than its tokens says what its blocks hold."""
        known = self._requests.get(request.request_id)
        if known is not None:
            return known
        tokens = request.prompt_token_ids
        if (
            not tokens
            or getattr(request, "mm_features", None)
            or getattr(request, "lora_request", None) is not None
            or getattr(request, "prompt_embeds", None) is not None
            or len(self._requests) >= REQUESTS_MAX
        ):
            return None
        tenant = self._tenant(getattr(request, "cache_salt", None))[0]
        known = self._requests[request.request_id] = _Request(tenant, np.array(tokens, np.uint32))
        return known

    def _let_go(self, known: _Request) -> None:
        if known.hit is not None:
            known.hit.release()
        known.hit, known.matched = None, 0

    def _plan(self, meta: HanseMetadata, known: _Request, computed: int) -> None:
        count = len(known.tokens) // self._page * self._page
        if known.saved or count == 0 or computed < len(known.tokens):
            return
        known.saved = True
        prefixes = next(p for tenant, p in self._tenants.values() if tenant == known.tenant)
        if prefixes.match(known.tokens[:count]) < count:
            meta.saves.append(_Save(known.tenant, known.tokens[:count], known.blocks))

    def _load(self, load: _Load) -> None:
        kv = load.latent.read(self._spec)  # [layers, 2, heads, tokens, dim], or without the 2
        first, end = load.first // self._block_size, load.end // self._block_size
        for layer, (name, group) in enumerate(self._groups.items()):
            planes = kv[layer] if self._spec.kind == "kv" else kv[layer][None]
            rows = np.concatenate([self._blocks(plane) for plane in planes], axis=-1)
            _give(self._caches[name], load.blocks[group][first:end], rows[first:end])

    def _blocks(self, plane: NDArray[Any]) -> NDArray[Any]:
        """[heads, tokens, dim] as [blocks, heads, block_size, dim]."""
        heads, tokens, dim = plane.shape
        shape = (heads, tokens // self._block_size, self._block_size, dim)
        return plane.reshape(shape).transpose(1, 0, 2, 3)

    def _planes(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        """[blocks, heads, block_size, content] as [heads, tokens, dim] of keys and of values."""
        blocks, heads, size, content = rows.shape
        whole = rows.transpose(1, 0, 2, 3).reshape(heads, blocks * size, content)
        if self._spec.kind == "hidden":
            return [np.ascontiguousarray(whole)]
        dim = self._spec.head_dim
        return [np.ascontiguousarray(whole[..., :dim]), np.ascontiguousarray(whole[..., dim:])]


def _spec_of(model: Any, kv_cache_config: Any, layers: int) -> LatentSpec:
    """What the blocks of a model hold: keys and then values of each head where both are as wide,
    else whatever vLLM keeps there, as plain states."""
    spec = kv_cache_config.kv_cache_groups[0].kv_cache_spec
    dtype = str(spec.dtype).rpartition(".")[2]
    if dtype not in _DTYPES:
        refuse("LatentIncompatible", "dtype", f"want one of {', '.join(_DTYPES)}, have {dtype}")
    width = getattr(spec, "head_size_v", None)
    width = spec.head_size if width is None else width
    both = width == spec.head_size
    return LatentSpec(
        f"{model.model}@{getattr(model, 'revision', None) or 'main'}",
        layers=layers,
        kv_heads=spec.num_kv_heads,
        head_dim=spec.head_size if both else spec.head_size + width,
        dtype=dtype,
        kind="kv" if both else "hidden",
        order="HND",
    )


def _take(cache: Any, blocks: list[int]) -> NDArray[Any]:
    """A host copy of some blocks; bfloat16 as uint16."""
    if isinstance(cache, np.ndarray):
        return cache[blocks]
    import torch

    rows = cache[torch.as_tensor(blocks, device=cache.device)].detach().cpu()
    array: NDArray[Any] = (
        rows.view(torch.uint16) if rows.dtype == torch.bfloat16 else rows
    ).numpy()
    return array


def _give(cache: Any, blocks: list[int], rows: NDArray[Any]) -> None:
    if isinstance(cache, np.ndarray):
        cache[blocks] = rows
        return
    import torch

    values = torch.from_numpy(np.ascontiguousarray(rows))
    if cache.dtype == torch.bfloat16:
        values = values.view(torch.bfloat16)
    cache[torch.as_tensor(blocks, device=cache.device)] = values.to(cache.device)
