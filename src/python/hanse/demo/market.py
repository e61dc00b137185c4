"""What the agents offer: prices, skills, and the generalists that cost twenty times as much."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .embed import Vectors, normalised
from .population import Documented
from .tasks import READING_RUN_WORDS, RunIndex

SMALL, LARGE = 1, 2
TIER_NAMES = {SMALL: "small", LARGE: "large"}
PRICE_RATIO = 20
CHARACTERS_PER_MICRO = 4  # of a callable's docstring, for its fee in micro-dollars
MICRO_PER_UNIT = 1_000_000

# Micro-dollars per million tokens.
RATES_SMALL = {"fresh": 250_000, "cache_read": 25_000, "cache_write": 312_500, "output": 1_000_000}
RATES = {
    SMALL: RATES_SMALL,
    LARGE: {kind: rate * PRICE_RATIO for kind, rate in RATES_SMALL.items()},
}

# One bit each; a callable has the skill when its capability text has a word that begins so.
SKILLS = (
    "file", "path", "parse", "read", "write", "time", "date", "string",
    "byte", "number", "array", "matri", "list", "dict", "set", "iter",
    "sort", "hash", "random", "thread", "process", "async", "socket", "http",
    "url", "email", "xml", "json", "test", "log", "delete", "remove",
)  # fmt: skip
DESTRUCTIVE = ("delete", "remove")
_WORD_BEGIN = re.compile(r"[a-z]+")


def skill_mask(names: tuple[str, ...]) -> int:
    """The bits of these skills."""
    return sum(1 << SKILLS.index(name) for name in names)


def skills_of(text: str) -> int:
    """The bits of every keyword that begins a word of `text`."""
    words = set(_WORD_BEGIN.findall(text.lower()))
    bits = 0
    for bit, keyword in enumerate(SKILLS):
        if any(word.startswith(keyword) for word in words):
            bits |= 1 << bit
    return bits


def price_of(doc: str) -> int:
    """Micro-dollars that the author of this docstring asks for an accepted answer."""
    return max(1, len(doc) // CHARACTERS_PER_MICRO)


@dataclass(frozen=True, slots=True)
class Offers:
    """One row an agent; generalists are in the order of `packages`."""

    prices: NDArray[np.int64]
    skills: NDArray[np.uint64]
    package_of: NDArray[np.int64]
    packages: list[str]
    large_prices: NDArray[np.int64]
    large_skills: NDArray[np.uint64]
    large_vectors: Vectors


def offers_of(callables: list[Documented], vectors: Vectors) -> Offers:
    """`vectors` are the callables' own, of unit length."""
    packages = sorted({each.package for each in callables})
    number = {package: row for row, package in enumerate(packages)}
    package_of = np.array([number[each.package] for each in callables], np.int64)
    prices = np.array([price_of(each.doc) for each in callables], np.int64)
    skills = np.array([skills_of(each.text) for each in callables], np.uint64)

    members = np.bincount(package_of, minlength=len(packages))
    sums = np.zeros((len(packages), vectors.shape[1]), np.float64)
    np.add.at(sums, package_of, vectors)
    total = np.zeros(len(packages), np.int64)
    np.add.at(total, package_of, prices)
    large_skills = np.zeros(len(packages), np.uint64)
    np.bitwise_or.at(large_skills, package_of, skills)
    return Offers(
        prices,
        skills,
        package_of,
        packages,
        np.maximum(1, PRICE_RATIO * total // members),
        large_skills,
        normalised((sums / members[:, None]).astype(np.float32)),
    )


class Reader:
    """What a generalist does with a task: it reads its members' docstrings.

    It returns the one that shares most runs of three words with the task; where none shares any,
    the one whose vector is nearest.
    """

    def __init__(self, callables: list[Documented], offers: Offers, vectors: Vectors) -> None:
        self._index = RunIndex([each.doc for each in callables], READING_RUN_WORDS)
        self._package_of = offers.package_of
        self._vectors = vectors
        self._count = len(callables)

    def best(self, package: int, text: str, vector: Vectors) -> int:
        """Row of the member of `package` that answers `text` best; ties go to the lower row."""
        holders = self._index.holders(text.split(" "))
        holders = holders[self._package_of[holders] == package]
        if len(holders):
            return int(np.bincount(holders, minlength=self._count).argmax())
        members = np.flatnonzero(self._package_of == package)
        return int(members[(self._vectors[members] @ vector).argmax()])


def usage_cost(tokens: dict[str, int], tier: int) -> int:
    """Millionths of a micro-dollar for `tokens` by kind at the rates of `tier`."""
    return sum(count * RATES[tier][kind] for kind, count in tokens.items())
