"""KV caches of transformers that live in the latent pool.

    cache = LatentCache(kernel, spec_of(model, "org/model@rev"), owner=agent)
    model(input_ids, past_key_values=cache)
    context = cache.export(tokens=ids)                   # a handle, without a copy
    other = LatentCache.of(kernel, context, owner=friend)  # continues it

A layer writes new keys and values behind the old ones, where transformers' own `DynamicCache`
concatenates, which copies all of them at each step. One sequence lies in a block of the pool, so
exporting it and continuing it are free of copies; several (a batch) lie in the runtime's memory and
are copied, each without its padding.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from ..errors import HanseError
from ..latent import Latent
from ..latent_block import LatentBlock, continue_block, open_block
from ..latent_spec import LatentSpec
from ..reasons import refuse

if TYPE_CHECKING:
    from ..kernel import Kernel

__all__ = ["LatentCache", "LatentLayer", "spec_of", "tensor_of"]

_DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
ROOM = 64  # tokens that a block gets beyond what it is made for; it doubles when it is full


def spec_of(model: Any, name: str, *, tokenizer: str = "") -> LatentSpec:
    """What latents of a causal language model are made of.

    name: "org/model@revision", which the model does not know for certain. Raises LatentError where
    its attention is not one that a plain KV latent holds (several head sizes, sliding windows).
    """
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        refuse("LatentIncompatible", "layer_types", f"want full_attention, have {sorted(kinds)}")
    rope = dict(getattr(config, "rope_parameters", None) or {})
    base = rope.get("rope_theta") or getattr(config, "rope_theta", None) or 0.0
    scaling = str(rope.get("rope_type", "default"))
    part = float(rope.get("partial_rotary_factor") or 1.0)
    return LatentSpec(
        name,
        layers=config.num_hidden_layers,
        kv_heads=heads,
        head_dim=dim,
        dtype=_DTYPES[model.dtype],
        tokenizer=tokenizer,
        rope_base=float(base),
        rotary_dim=0 if part == 1.0 else int(dim * part),
        rope_scaling="" if scaling == "default" else scaling,
        order="HND",
        position_max=getattr(config, "max_position_embeddings", None) or 0,
    )


def tensor_of(array: np.ndarray[Any, Any], spec: LatentSpec) -> torch.Tensor:
    """The same memory as a tensor of the spec's dtype; it must not be written where the array is
    read-only."""
    if not array.flags.writeable:
        # torch has no read-only tensors and warns of such arrays; the interface below says the
        # address alone. The tensor keeps the array, so that the memory stays.
        array = np.asarray(_Readable(array))
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if spec.dtype == "bfloat16" else tensor


class _Readable:
    """A read-only array that says it could be written."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array = array
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


class LatentLayer(CacheLayerMixin):
    """One layer of a `LatentCache`."""

    is_croppable = True
    is_sliding = False

    def __init__(self, cache: LatentCache, index: int) -> None:
        super().__init__()
        # Else each would keep the other, and its room in the pool, until the collector comes.
        self._cache: Any = weakref.proxy(cache)
        self._index = index
        self.count = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Takes dtype and device from the first keys."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes [batch, kv_heads, n, head_dim] behind what there is; shows all of it."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.count + key_states.shape[-2]
        self._cache._make_room(key_states, self.count, end)
        assert self._cache._whole is not None
        keys, values = self._cache._whole[self._index]
        keys[:, :, self.count : end] = key_states
        values[:, :, self.count : end] = value_states
        self.count = end
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """How many tokens it holds, padding included."""
        return self.count

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many tokens attention sees with so many new ones, and from which on."""
        return self.count + query_length, 0

    def get_max_length(self) -> int:
        """No maximum: a full block is left for a larger one."""
        return -1

    def reset(self) -> None:
        """Forgets its tokens; what was exported stays."""
        self.keys = self.values = None
        self.count = 0

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the last tokens; negative, as transformers counts them."""
        if tokens_to_remove > 0:
            refuse("OutOfRange", "tokens_to_remove", f"want at most 0, have {tokens_to_remove}")
        if tokens_to_remove:
            self.count = max(0, self.count + tokens_to_remove)
            self._show()

    def offload(self) -> None:
        """The pool is on the host."""

    def prefetch(self) -> None:
        """The pool is on the host."""

    def _show(self) -> None:
        if self.count and self._cache._whole is not None:
            keys, values = self._cache._whole[self._index]
            self.keys, self.values = keys[:, :, : self.count], values[:, :, : self.count]


class LatentCache(Cache):
    """A cache of transformers whose keys and values are latents of `owner`, and so of its tenant.

    One sequence or a batch of them. It remembers which tokens are real, wherever padding lies:
    `forward` says so to the model and counts positions without it. spec: from `spec_of`; HND,
    float32, float16 or bfloat16. On the host. One thread at a time.
    """

    def __init__(
        self, kernel: Kernel, spec: LatentSpec, *, owner: int | None = None, capacity: int = 0
    ) -> None:
        if spec.order != "HND" or spec.kind != "kv" or spec.dtype not in _DTYPES.values():
            refuse("LatentIncompatible", "spec", "want kv in HND order and floats")
        self._kernel = kernel
        self.spec = spec
        self.owner = kernel._acting() if owner is None else owner
        self._capacity = capacity
        self._block: LatentBlock | None = None  # of one sequence
        self._whole: torch.Tensor | None = None  # [layers, 2, batch, heads, capacity, dim]
        self._valid = torch.ones(0, 0, dtype=torch.int64)  # [batch, tokens]: 0 is padding
        self._starts: list[Latent | None] = []  # what each sequence began with
        self.position_base = 0
        super().__init__(layers=[LatentLayer(self, i) for i in range(spec.layers)])

    def __del__(self) -> None:
        self._let_go()

    def close(self) -> None:
        """Lets go of its room and of what it began with; what was exported stays."""
        self._let_go()
        self._block = self._whole = None
        self._valid = torch.ones(0, 0, dtype=torch.int64)
        for layer in getattr(self, "layers", []):
            layer.reset()

    def _let_go(self) -> None:
        starts, self._starts = getattr(self, "_starts", []), []
        for start in starts:
            if start is not None:
                with contextlib.suppress(HanseError):
                    start.release()

    @classmethod
    def of(
        cls,
        kernel: Kernel,
        latents: Latent | Sequence[Latent],
        *,
        owner: int | None = None,
        spec: LatentSpec | None = None,
        room: int = ROOM,
        shift: int = 0,
    ) -> LatentCache:
        """A cache that begins with a latent, or a batch that begins with one each.

        One: nothing is copied where the pool can share it (`continue_block`). Several: copied next
        to each other with padding at the left, and each must begin at position 0. owner: None: who
        reads through the handle. spec: what the model wants. shift: keys of the one are turned on
        by so many positions. Raises as `Latent.read` does.
        """
        parts = list(latents) if isinstance(latents, Sequence) else [latents]
        if not parts:
            refuse("Empty", "latents", "want at least 1")
        if shift and len(parts) > 1:
            refuse("OutOfRange", "shift", "want 0 for a batch: shift one by one")
        by = parts[0].reader if owner is None else owner
        facts = [part._facts() for part in parts]
        cache = cls(kernel, facts[0][0] if spec is None else spec, owner=by)
        given = [Latent(kernel, part.id, by) for part in parts]
        base = facts[0][2] + shift
        starts = [part.rebase(base, room=room) if shift else part.fork() for part in given]
        cache._starts = list(starts)
        longest = max(tokens for _, tokens, _ in facts)
        if len(parts) == 1:
            cache._use(continue_block(kernel, starts[0], room=room, spec=spec, owner=by))
            cache.position_base = base
        else:
            cache._whole = cache._new_rows(len(parts), longest + room)
        cache._valid = torch.ones(len(parts), longest, dtype=torch.int64)
        for row, (start, (_, tokens, base)) in enumerate(zip(starts, facts, strict=True)):
            cache._valid[row, : longest - tokens] = 0
            if len(parts) == 1:
                break
            if base != 0:
                refuse("LatentIncompatible", "position_base", f"want 0, have {base}")
            assert cache._whole is not None
            copy = tensor_of(start.read(cache.spec), cache.spec)
            cache._whole[:, :, row, :, longest - tokens : longest] = copy
        for layer in cache.layers:
            layer.is_initialized, layer.device = True, torch.device("cpu")
            layer.count = longest
            layer._show()
        return cache

    @property
    def batch_size(self) -> int:
        """How many sequences it holds; 0: nothing was written."""
        return int(self._valid.shape[0])

    @property
    def block(self) -> LatentBlock | None:
        """Where the one sequence lies; None: nothing was written, or it is a batch."""
        return self._block

    def mask(self, new: torch.Tensor) -> torch.Tensor:
        """What attention may look at: int64 [batch, tokens + n] for the mask [batch, n] of what
        comes next. Padding stays left out, however long ago it came."""
        rows, count = new.shape[0], self.get_seq_length()
        past = torch.ones(rows, count, dtype=torch.int64)
        known = min(count, self._valid.shape[1])
        if known:
            past[:, :known] = self._valid[:, :known]
        return torch.cat([past, new.to(torch.int64)], dim=1)

    def positions(self, new: torch.Tensor) -> torch.Tensor:
        """Positions of what comes next, int64 [batch, n]: padding takes none."""
        count = self.get_seq_length()
        before = self.mask(new)[:, :count].sum(dim=1, keepdim=True)
        return self.position_base + before + (new.to(torch.int64).cumsum(dim=1) - 1).clamp(min=0)

    def forward(self, model: Any, *, mask: torch.Tensor | None = None, **inputs: Any) -> Any:
        """model(...) on what comes next, with the right mask and positions.

        inputs: input_ids [batch, n] or inputs_embeds [batch, n, d] and what else the model takes.
        mask: [batch, n], 0 is padding; None: there is none.
        """
        shape = (inputs["input_ids"] if "input_ids" in inputs else inputs["inputs_embeds"]).shape
        new = torch.ones(shape[:2], dtype=torch.int64) if mask is None else mask.to(torch.int64)
        whole = self.mask(new)
        answer = model(
            attention_mask=whole,
            position_ids=self.positions(new),
            past_key_values=self,
            use_cache=True,
            **inputs,
        )
        self._valid = whole
        return answer

    def export(
        self,
        row: int = 0,
        *,
        tokens: Sequence[int] | np.ndarray[Any, Any] | None = None,
        step: int = 0,
        ttl: float | None = None,
        label: int = 0,
        gloss: str | None = None,
        price: int = 0,
    ) -> Latent:
        """One sequence as a latent, without its padding.

        Without a copy where the cache holds one sequence without padding; else what is new in it
        is copied behind what it began with. tokens: ids of the real ones behind what it began with;
        without them (owner, step) is its identity. The rest as in `Latents.put`; a batch that began
        with latents has their terms. Raises InvalidError, DeniedError, BusyError.
        """
        counts = {layer.count for layer in self.layers}
        if len(counts) != 1 or not 0 <= row < self.batch_size:
            refuse("OutOfRange", "row", f"want one of {self.batch_size}, lengths {sorted(counts)}")
        count = counts.pop()
        ids = None if tokens is None else np.ascontiguousarray(tokens, np.uint32)
        valid = self.mask(torch.ones(self.batch_size, 0))[row].bool()
        if self._block is not None and bool(valid.all()):
            return self._block.publish(
                count, tokens=ids, step=step, ttl=ttl, label=label, gloss=gloss, price=price
            )
        assert self._whole is not None
        start = self._starts[row] if row < len(self._starts) else None
        real = valid.nonzero()[:, 0]
        shared = 0 if start is None else min(start.tokens, len(real))
        planes = [
            _array(plane[:, real[shared:]].contiguous(), self.spec)
            for pair in self._whole[:, :, row]
            for plane in pair
        ]
        latents = self._kernel.latents
        if start is None:
            return latents.put(
                planes, self.spec, tokens=ids, step=step, position_base=self.position_base,
                ttl=ttl, owner=self.owner, label=label, gloss=gloss, price=price,
            )  # fmt: skip
        if shared == len(real) or ttl is not None or label or gloss is not None or price:
            refuse("OutOfRange", "row", "want new tokens, and the terms of what it began with")
        with start.slice(shared) as kept:
            return kept.append(planes, tokens=ids, step=step)

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the last tokens, of all sequences; negative, as transformers counts them."""
        for layer in self.layers:
            layer.crop(tokens_to_remove)
        self._valid = self._valid[:, : self.get_seq_length()]

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Sequences in another order, or some of them several times: a copy."""
        if self._whole is None:
            return
        rows = [int(i) for i in beam_idx]
        if self._block is not None and rows == [0]:
            return
        starts = [self._starts[i] if i < len(self._starts) else None for i in rows]
        kept = [None if start is None else start.fork() for start in starts]
        self._let_go()
        self._starts, self._block = kept, None
        self._whole = self._whole[:, :, beam_idx]
        self._valid = self.mask(torch.ones(self.batch_size, 0))[beam_idx]
        for layer in self.layers:
            layer._show()

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each sequence so many times: a copy."""
        self.reorder_cache(torch.arange(self.batch_size).repeat_interleave(repeats))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Some of the sequences: a copy."""
        self.reorder_cache(indices)

    def _use(self, block: LatentBlock) -> None:
        self._block = block
        self._whole = tensor_of(block.array, self.spec).unsqueeze(2)

    def _new_rows(self, batch: int, capacity: int) -> torch.Tensor:
        spec = self.spec
        dtype = next(kind for kind, name in _DTYPES.items() if name == spec.dtype)
        return torch.zeros(
            (spec.layers, 2, batch, spec.kv_heads, capacity, spec.head_dim), dtype=dtype
        )

    def _make_room(self, states: torch.Tensor, first: int, end: int) -> None:
        """So that tokens [first, end) may be written: room, and no latent shows them."""
        if states.device.type != "cpu":
            refuse("NoDevice", "key_states", f"want the host, have {states.device}")
        if _DTYPES.get(states.dtype) != self.spec.dtype:
            refuse("LatentIncompatible", "dtype", f"want {self.spec.dtype}, have {states.dtype}")
        want = (self.batch_size or states.shape[0], self.spec.kv_heads, self.spec.head_dim)
        have = (states.shape[0], states.shape[1], states.shape[3])
        if want != have:
            refuse("DimensionMismatch", "key_states", f"want {want}, have {have}")
        if self.batch_size == 0:
            self._valid = torch.ones(states.shape[0], 0, dtype=torch.int64)
        held = 0 if self._whole is None else int(self._whole.shape[-2])
        shown = 0 if self._block is None else self._block.written
        if held >= end and first >= shown:
            return
        capacity = max(self._capacity, end + ROOM, 2 * held if held < end else held)
        if self.batch_size == 1 and (self._block is not None or self._whole is None):
            self._move(capacity, first)
        else:
            rows = self._new_rows(self.batch_size, capacity)
            if self._whole is not None:
                rows[..., :held, :] = self._whole
            self._whole = rows
        for layer in self.layers:
            layer._show()

    def _move(self, capacity: int, count: int) -> None:
        """The first `count` tokens to another block, which has the same parent: label, lease and
        grants come from there."""
        old, owner = self._block, self.owner
        start = self._starts[0] if self._starts else None
        kept = 0 if old is None else min(count, old.begun)
        if start is None or kept == 0:
            block = open_block(
                self._kernel, self.spec, capacity, position_base=self.position_base, owner=owner
            )
            self._let_go()
        else:
            with start.slice(kept) as beginning:
                room = capacity - kept
                block = continue_block(self._kernel, beginning, room=room, owner=owner)
                self._starts = [beginning.fork()]
            start.release()
        if old is not None:
            block.array[:, :, :, kept:count] = old.array[:, :, :, kept:count]
        self._use(block)


def _array(plane: torch.Tensor, spec: LatentSpec) -> np.ndarray[Any, Any]:
    bits = plane.view(torch.uint16) if spec.dtype == "bfloat16" else plane
    array: np.ndarray[Any, Any] = bits.numpy()
    return array
