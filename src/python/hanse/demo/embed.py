"""Real sentence vectors, off line: wordllama's static embeddings, read from its own wheel."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIM = 256
MODEL = "l2_supercat"
MODEL_NAME = f"wordllama/{MODEL}-{DIM}"
_BATCH = 256

Vectors = NDArray[np.float32]


class MissingModelError(Exception):
    """wordllama, or its weights, are not installed."""


class Embedder:
    """Texts to vectors and to token counts."""

    def __init__(self) -> None:
        # wordllama configures the root logger when it is imported; that is not its to decide.
        root = logging.getLogger()
        level, handlers = root.level, list(root.handlers)
        try:
            wordllama: Any = importlib.import_module("wordllama")
        except ImportError as error:
            raise MissingModelError(
                f"the demo needs wordllama for its vectors: pip install 'hanse[demo]' ({error})"
            ) from error
        root.setLevel(level)
        root.handlers[:] = handlers
        folder = Path(wordllama.__file__).parent
        try:
            self._model: Any = wordllama.WordLlama.load(
                MODEL, dim=DIM, cache_dir=folder, disable_download=True
            )
        except (FileNotFoundError, ValueError) as error:
            raise MissingModelError(
                f"wordllama holds no weights: pip install --force-reinstall wordllama ({error})"
            ) from error
        # Counting tokens must not pad a batch to its longest text.
        self._model.tokenizer.no_truncation()

    def embed(self, texts: list[str]) -> Vectors:
        """[n, DIM] float32, neither centred nor normalised."""
        vectors = np.empty((len(texts), DIM), np.float32)
        # Texts of a like length share a batch: the model pads each batch to its longest text.
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for begin in range(0, len(order), _BATCH):
            rows = order[begin : begin + _BATCH]
            # A text of no known token at all would be an empty matrix.
            vectors[rows] = self._model.embed(
                [texts[row] or "_" for row in rows], batch_size=_BATCH
            )
        return vectors

    def token_ids(self, text: str) -> list[int]:
        """Numbers of the tokens of a text, without special ones."""
        encoded = self._model.tokenizer.encode(text, add_special_tokens=False)
        return [
            number for number, real in zip(encoded.ids, encoded.attention_mask, strict=True) if real
        ]

    def token_count(self, text: str) -> int:
        """How many tokens a text has."""
        return len(self.token_ids(text))

    def token_vectors(self, ids: list[int]) -> Vectors:
        """[n, DIM] float32: the model's own vector of each token."""
        table: Vectors = self._model.embedding
        return np.ascontiguousarray(table[np.clip(ids, 0, len(table) - 1)], dtype=np.float32)


def centred(vectors: Vectors, mean: Vectors | None = None) -> Vectors:
    """Unit vectors around the mean: what all texts have in common tells none from another."""
    shifted = vectors - (vectors.mean(axis=0, dtype=np.float64) if mean is None else mean)
    return normalised(shifted.astype(np.float32))


def normalised(vectors: Vectors) -> Vectors:
    """Rows of length one. A row of zeros becomes the first axis: no index takes a zero vector."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    flat = lengths[:, 0] <= 1e-12
    unit: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    unit[flat] = 0
    unit[flat, 0] = 1
    return unit
