"""What is to be done: find, from the rest of a docstring alone, the one callable that it describes.

A task's text is contained in exactly one agent's docstring. Candidates are found by hashing every
run of eight words (a count by substring over all pairs takes a minute), then checked by substring.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .population import Documented

TEXT_CHARACTERS_MAX = 500
TEXT_WORDS_MIN = 12
# Long enough that few docstrings share a run by chance, short enough for the shortest task.
UNIQUE_RUN_WORDS = 8
# What a reader compares: short, so that a docstring that is merely alike counts for something.
READING_RUN_WORDS = 3

_U64 = np.uint64
_MULTIPLIER = _U64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Task:
    """`origin` is the row of the one callable whose docstring contains `text`."""

    origin: int
    text: str


def cut(text: str) -> str:
    """At most 500 characters, cut at the end of a word."""
    if len(text) <= TEXT_CHARACTERS_MAX:
        return text
    head = text[: TEXT_CHARACTERS_MAX + 1]
    return head[: head.rfind(" ")] if " " in head else head[:TEXT_CHARACTERS_MAX]


def _run_hashes(words: NDArray[np.uint64], run: int) -> NDArray[np.uint64]:
    """Hash of each run of `run` word numbers; empty where there are fewer words."""
    count = len(words) - run + 1
    if count <= 0:
        return np.empty(0, np.uint64)
    hashes = np.zeros(count, np.uint64)
    for offset in range(run):
        hashes = (hashes + words[offset : offset + count]) * _MULTIPLIER
        hashes ^= hashes >> _U64(29)
    return hashes


class RunIndex:
    """Which docstrings hold a run of so many words."""

    def __init__(self, docs: list[str], run: int) -> None:
        self._run = run
        self._numbers: dict[str, int] = {}
        hashes = [_run_hashes(self._numbered(doc.split(" ")), run) for doc in docs]
        owners = np.repeat(np.arange(len(docs)), [len(each) for each in hashes])
        flat = np.concatenate(hashes) if hashes else np.empty(0, np.uint64)
        order = np.argsort(flat, kind="stable")
        self._hashes = flat[order]
        self._owners = owners[order]

    def _numbered(self, words: list[str]) -> NDArray[np.uint64]:
        numbers = self._numbers
        return np.array([numbers.setdefault(word, len(numbers) + 1) for word in words], np.uint64)

    def holders(self, words: list[str]) -> NDArray[np.int64]:
        """The rows that hold the runs of `words`, once for each run that they hold."""
        wanted = np.unique(_run_hashes(self._numbered(words), self._run))
        begins = np.searchsorted(self._hashes, wanted, side="left")
        ends = np.searchsorted(self._hashes, wanted, side="right")
        found = [
            np.unique(self._owners[begin:end])
            for begin, end in zip(begins, ends, strict=True)
            if begin < end
        ]
        return np.concatenate(found) if found else np.empty(0, np.int64)


def derive(callables: list[Documented]) -> list[Task]:
    """Every task that the population allows, in the order of the callables."""
    docs = [each.doc for each in callables]
    index = RunIndex(docs, UNIQUE_RUN_WORDS)
    tasks = []
    for origin, each in enumerate(callables):
        text = cut(each.rest)
        if text.count(" ") + 1 < TEXT_WORDS_MIN:
            continue
        # The outermost words of the text may be parts of longer ones in another docstring.
        candidates = index.holders(text.split(" ")[1 : 1 + UNIQUE_RUN_WORDS])
        holders = [row for row in candidates.tolist() if text in docs[row]]
        if holders == [origin]:
            tasks.append(Task(origin, text))
    return tasks


def sample(tasks: list[Task], count_max: int, seed: int) -> list[Task]:
    """At most `count_max` tasks, chosen by their hash under `seed`, in that order.

    The order mixes packages, so that a batch is like the whole.
    """
    salt = str(seed).encode()

    def rank(task: Task) -> bytes:
        return hashlib.sha256(salt + b"\0" + task.text.encode()).digest()

    return sorted(tasks, key=rank)[:count_max]


_WORD_IN_NAME = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def masked(text: str, name: str) -> str:
    """`text` without the callable's own name: qualified, bare, and in words.

    `read_table` would still be given away by "read a table", so the words of the bare name go too.
    """
    parts = name.split(".")
    # Every qualified form from the longest to the bare name: "a.b.c", "b.c", "c".
    forms = [".".join(parts[start:]) for start in range(len(parts))]
    forms += [word for word in _WORD_IN_NAME.findall(parts[-1]) if len(word) > 1]
    pattern = "|".join(re.escape(form) for form in forms)
    return re.sub(rf"(?<![^\W_])(?:{pattern})(?![^\W_])", "_", text, flags=re.IGNORECASE)
