"""Agents that think in latent steps: by handle, alone and in batches, and cut as they like."""

from typing import Any

import numpy as np
import pytest

import hanse

pytestmark = pytest.mark.lm
NAME = "HuggingFaceTB/SmolLM2-135M-Instruct@1"


def prompt(count: int, seed: int) -> list[int]:
    return [int(i) for i in np.random.default_rng(seed).integers(100, 40_000, count)]


@pytest.fixture
def mind(kernel: hanse.Kernel, model: Any) -> Any:
    from hanse.runtimes.huggingface import spec_of
    from hanse.runtimes.latentmas import Mind

    return Mind(kernel, model, spec_of(model, NAME))


def test_a_thought_is_the_prompt_and_its_steps_and_the_next_agent_owns_what_it_adds(
    kernel: hanse.Kernel, mind: Any
) -> None:
    planner, solver = (kernel.agents.add(name, parent=kernel.root) for name in ("p", "s"))
    (thought,) = mind.think([prompt(12, 1)], steps=5, owner=planner, gloss="a plan", label=2)
    assert (thought.tokens, thought.info.owner, thought.info.gloss) == (17, planner, "a plan")
    (next_one,) = mind.think([prompt(4, 2)], steps=3, past=[thought], owner=solver)
    info = next_one.info
    assert (info.tokens, info.owner, info.label, info.gloss) == (24, solver, 2, "a plan")
    assert info.parent == thought.info.content
    text = mind.answer([next_one], [prompt(3, 3)], new_tokens=4, owner=solver)
    assert len(text[0]) == 4


def test_what_is_handed_over_is_what_one_agent_alone_would_have_thought(mind: Any) -> None:
    first, second, third = prompt(20, 4), prompt(9, 5), prompt(5, 6)
    by_handle = mind.think([second], steps=0, past=mind.think([first], steps=0))
    alone = mind.think([first + second], steps=0)
    a = mind.hidden(by_handle, [third])
    b = mind.hidden(alone, [third])
    assert float((a - b).abs().max()) < 1e-2 * float(b.abs().max())
    other = mind.hidden(None, [third])
    assert float((other - b).abs().max()) > 0.1 * float(b.abs().max())


def test_padding_in_a_batch_changes_nothing_for_anyone_of_it(mind: Any) -> None:
    firsts = [prompt(n, 10 + n) for n in (5, 17, 11)]
    seconds = [prompt(n, 20 + n) for n in (8, 3, 6)]
    thirds = [prompt(n, 30 + n) for n in (2, 4, 7)]
    together = mind.think(seconds, steps=2, past=mind.think(firsts, steps=3))
    together_hidden = mind.hidden(together, thirds)
    for row in range(3):
        alone = mind.think([seconds[row]], steps=2, past=mind.think([firsts[row]], steps=3))
        assert alone[0].tokens == together[row].tokens == len(firsts[row]) + len(seconds[row]) + 5
        np.testing.assert_allclose(together[row].read(), alone[0].read(), atol=5e-3)
        hidden = mind.hidden(alone, [thirds[row]])[0]
        difference = (together_hidden[row] - hidden).abs().max()
        assert float(difference) < 2e-3 * float(hidden.abs().max())


def test_a_mask_of_ones_for_the_past_would_be_noticed(
    kernel: hanse.Kernel, model: Any, mind: Any
) -> None:
    import torch

    from hanse.runtimes.huggingface import LatentCache

    thoughts = mind.think([prompt(5, 15), prompt(17, 27)], steps=0)
    ids = torch.tensor([prompt(4, 1), prompt(4, 2)])
    found = []
    for sees_padding in (False, True):
        cache = LatentCache.of(kernel, thoughts)
        if sees_padding:
            cache._valid = torch.ones_like(cache._valid)
        with torch.no_grad():
            found.append(cache.forward(model, input_ids=ids).logits)
    right, wrong = found
    assert float((right[0] - wrong[0]).abs().max()) > 0.1  # It had padding
    assert float((right[1] - wrong[1]).abs().max()) == 0  # and this one had none.


def test_what_is_kept_of_a_past_stands_where_it_counts_from(
    kernel: hanse.Kernel, model: Any, mind: Any
) -> None:
    import torch

    from hanse.runtimes.huggingface import LatentCache

    (thought,) = mind.think([prompt(30, 7)], steps=10)
    question = prompt(5, 8)
    kept = mind.hidden([thought], [question], last=10)
    # The same tokens left at their own positions, with the question behind them: only distances
    # count, so that is what it must be.
    tail = thought.slice(10, first=30)
    cache = LatentCache.of(kernel, tail)
    assert cache.position_base == 30
    with torch.no_grad():
        there = cache.forward(model.base_model, input_ids=torch.tensor([question]))
    expected = there.last_hidden_state[:, -1]
    assert float((kept - expected).abs().max()) < 2e-3 * float(expected.abs().max())
    # Positions that count from the shorter length, with keys as they were: far off.
    stale = LatentCache.of(kernel, tail)
    stale.position_base = 0
    with torch.no_grad():
        wrong = stale.forward(model.base_model, input_ids=torch.tensor([question]))
    difference = (wrong.last_hidden_state[:, -1] - expected).abs().max()
    assert float(difference) > 0.02 * float(expected.abs().max())


def test_prompts_and_pasts_that_do_not_fit_are_refused(mind: Any) -> None:
    (thought,) = mind.think([prompt(3, 1)], steps=1)
    for refused, want in (
        (lambda: mind.think([], steps=1), "prompts"),
        (lambda: mind.think([[]], steps=1), "prompts"),
        (lambda: mind.think([[1], [2]], steps=1, past=[thought]), "past"),
        (lambda: mind.think([[1]], steps=1, past=[thought], last=0), "last"),
    ):
        with pytest.raises(hanse.InvalidError, match=want):
            refused()
