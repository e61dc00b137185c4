"""Agents that think in latent steps and hand the thought over (LatentMAS, Zou et al., 2025).

    mind = Mind(kernel, model, spec_of(model, "org/model@rev"))
    thought = mind.think([ids_a], steps=10, owner=planner)          # one latent a sequence
    answer = mind.answer(thought, [ids_b], new_tokens=40, owner=solver)

A latent step takes the last hidden state, realigns it to the input embeddings and runs the model on
that instead of a token. The handle is the hand-off: the next agent continues behind it.

Two things are done otherwise than in the paper's published code, whose batches and truncations go
wrong by them:

- padding is left out of attention for good, and takes no position. There the mask of the past is
  all ones, so that later agents of a batch see the padding of earlier ones;
- what is kept of a longer past (`last`) is turned back to the positions where it then stands. There
  keys keep the rotation of the old positions while new ones count from the shorter length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..latent import Latent
from ..reasons import refuse
from ..transform import Realignment, realignment
from .huggingface import LatentCache

if TYPE_CHECKING:
    from ..kernel import Kernel
    from ..latent_spec import LatentSpec

__all__ = ["Mind"]


class Mind:
    """A causal language model of transformers whose thoughts are latents.

    Input and output embeddings give the realignment, once, in double. One thread at a time.
    """

    def __init__(
        self, kernel: Kernel, model: Any, spec: LatentSpec, *, epsilon: float = 1e-5
    ) -> None:
        self._kernel = kernel
        self._model = model
        self.spec = spec
        w_in = model.get_input_embeddings().weight.detach().to(torch.float32).numpy()
        w_out = model.get_output_embeddings().weight.detach().to(torch.float32).numpy()
        self.realignment: Realignment = realignment(w_in, w_out, epsilon=epsilon)
        self._matrix = torch.from_numpy(self.realignment.matrix)

    def think(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        steps: int,
        past: Sequence[Latent] | None = None,
        last: int | None = None,
        owner: int | None = None,
        step: int = 0,
        gloss: str | None = None,
        label: int = 0,
    ) -> list[Latent]:
        """Reads each prompt behind its past, then thinks `steps` latent steps; a latent each.

        prompts: token ids; of different lengths as they are. past: one latent a prompt. last: keep
        only so many tokens of each past. step names what is made where it has no tokens. gloss,
        label: of what begins here. Owners and terms as in `LatentCache.export`.
        """
        cache, hidden = self._read(prompts, past, last, owner)
        for _ in range(steps):
            hidden = self._hidden(cache, inputs_embeds=self._realigned(hidden).unsqueeze(1))
        terms: dict[str, Any] = {} if past else {"gloss": gloss, "label": label}
        thoughts = [cache.export(row, step=step, **terms) for row in range(len(prompts))]
        cache.close()
        return thoughts

    def answer(
        self,
        past: Sequence[Latent] | None,
        prompts: Sequence[Sequence[int]],
        *,
        new_tokens: int,
        last: int | None = None,
        owner: int | None = None,
        end: int | None = None,
    ) -> list[list[int]]:
        """Reads each prompt behind its past and writes text, greedily; token ids of each.

        end: a token that ends a text, which is not part of it.
        """
        cache, hidden = self._read(prompts, past, last, owner)
        texts: list[list[int]] = [[] for _ in prompts]
        ended = [False] * len(prompts)
        for _ in range(new_tokens):
            with torch.no_grad():
                logits = self._model.get_output_embeddings()(hidden)
            chosen = logits.argmax(dim=-1)
            for row, token in enumerate(chosen.tolist()):
                ended[row] = ended[row] or token == end
                if not ended[row]:
                    texts[row].append(token)
            if all(ended):
                break
            hidden = self._hidden(cache, input_ids=chosen.unsqueeze(1))
        cache.close()
        return texts

    def hidden(
        self,
        past: Sequence[Latent] | None,
        prompts: Sequence[Sequence[int]],
        *,
        last: int | None = None,
        owner: int | None = None,
    ) -> torch.Tensor:
        """The last hidden state of each prompt behind its past, [batch, d], after the norm."""
        cache, hidden = self._read(prompts, past, last, owner)
        cache.close()
        return hidden

    def _read(
        self,
        prompts: Sequence[Sequence[int]],
        past: Sequence[Latent] | None,
        last: int | None,
        owner: int | None,
    ) -> tuple[LatentCache, torch.Tensor]:
        if not prompts or not all(len(prompt) for prompt in prompts):
            refuse("Empty", "prompts", "want at least one token each")
        if past is not None and len(past) != len(prompts):
            refuse("DimensionMismatch", "past", f"want {len(prompts)} latents, have {len(past)}")
        if past is None:
            cache = LatentCache(self._kernel, self.spec, owner=owner)
        else:
            cache = self._begin(past, last, owner)
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.zeros(len(prompts), longest, dtype=torch.int64)
        mask = torch.zeros(len(prompts), longest, dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(list(prompt))
            mask[row, longest - len(prompt) :] = 1
        return cache, self._hidden(cache, mask=mask, input_ids=ids)

    def _begin(self, past: Sequence[Latent], last: int | None, owner: int | None) -> LatentCache:
        by = past[0].reader if owner is None else owner
        parts = [Latent(self._kernel, latent.id, by) for latent in past]
        if last is None:
            return LatentCache.of(self._kernel, parts, owner=by, spec=self.spec)
        if last < 1:
            refuse("OutOfRange", "last", f"want at least 1, have {last}")
        kept = [self._kept(part, last) for part in parts]
        cache = LatentCache.of(self._kernel, kept, owner=by, spec=self.spec)
        for latent in kept:
            latent.release()
        return cache

    def _kept(self, latent: Latent, last: int) -> Latent:
        """The last tokens, with keys turned back to begin at position 0."""
        _, count, base = latent._facts()
        n = min(last, count)
        with latent.slice(n, first=count - n) as tail:
            return tail.rebase(0) if base + count - n else tail.fork()

    def _hidden(self, cache: LatentCache, **inputs: Any) -> torch.Tensor:
        """The last hidden state of each sequence, after the final norm."""
        base = self._model.base_model
        with torch.no_grad():
            states: torch.Tensor = cache.forward(base, **inputs).last_hidden_state
        return states[:, -1]

    def _realigned(self, hidden: torch.Tensor) -> torch.Tensor:
        turned = hidden.to(torch.float64) @ self._matrix
        size = turned.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return (turned * (self.realignment.norm / size)).to(hidden.dtype)
