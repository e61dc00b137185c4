"""Small tiers first, large ones where a verifier or a declared need says so."""

from __future__ import annotations

from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from reopening import Facts, holds_through_a_kill

import hanse

SMALL, LARGE = 0, 1
PRICES = (1, 20)
ABILITY = (0.70, 0.98)


class World:
    """Scripted tasks of difficulty (i + 1/2) / n, permuted; a tier solves what it is able to."""

    def __init__(self, kernel: hanse.Kernel) -> None:
        self.kernel = kernel
        self.team = kernel.agents.add("team", kind="group")
        self.workers = kernel.agents.add_many(2).tolist()
        vectors = np.ones((2, 4), np.float32)
        kernel.capabilities.publish(
            np.array(self.workers, np.uint64),
            vectors,
            price=np.array(PRICES, np.int64),
            tier=np.array([SMALL, LARGE], np.uint8),
        )
        kernel.ledger.fund(self.team, 1 << 40)
        # A model is paid whatever the verdict: by usage, one token at one unit.
        for tier, price in enumerate(PRICES):
            kernel.ledger.set_rates(tier=tier, output=price * 1_000_000)
        self.me = kernel.as_agent(self.team)

    def attempt(self, tasks: np.ndarray, tier: np.ndarray, difficulty: np.ndarray) -> np.ndarray:
        """Completes and judges; returns which were solved."""
        solved = difficulty < np.array(ABILITY)[tier]
        names = b"".join(sha256(f"{t}".encode()).digest() for t in tasks.tolist())
        usage = np.zeros((len(tasks), 4), np.uint64)
        usage[:, 3] = 1
        artifacts = np.frombuffer(names, np.uint8).reshape(-1, 32)
        assert not self.kernel.complete_many(tasks, artifacts, usage).any()
        assert not self.me.accept_many(tasks[solved]).any()
        assert not self.me.reject_many(tasks[~solved]).any()
        return solved

    def route(self, router: hanse.Router, difficulty: np.ndarray, classes: list[str]) -> None:
        """Chunks of 100: the router learns between them."""
        for start in range(0, len(difficulty), 100):
            part = slice(start, min(start + 100, len(difficulty)))
            tier = np.array([router.choose(name) for name in classes[part]])
            for name in dict.fromkeys(classes[part]):
                for each in (SMALL, LARGE):
                    rows = np.flatnonzero((tier == each) & (np.array(classes[part]) == name))
                    if len(rows):
                        self.run(difficulty[part][rows], each, name)

    def run(self, difficulty: np.ndarray, tier: int, name: str) -> None:
        n = len(difficulty)
        tasks = self.me.dispatch_many(
            to=np.full(n, self.workers[tier], np.uint64), budgets=64, task_class=name
        ).tasks
        solved = self.attempt(tasks, np.full(n, tier), difficulty)
        failed = tasks[~solved]
        if tier == SMALL and len(failed):
            to = np.full(len(failed), self.workers[LARGE], np.uint64)
            assert not self.me.escalate_many(failed, to=to).status.any()
            large = np.full(len(failed), LARGE)
            failed = failed[~self.attempt(failed, large, difficulty[~solved])]
        if len(failed):
            assert not self.me.void_many(failed).any()


def difficulties(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation((np.arange(count) + 0.5) / count)


def router_of(kernel: hanse.Kernel, **options: object) -> hanse.Router:
    return hanse.Router(kernel, tiers=(SMALL, LARGE), prices=PRICES, **options)  # type: ignore[arg-type]


def play_small_first(kernel: hanse.Kernel, clock: hanse.ManualClock) -> Facts:
    world = World(kernel)
    for tier in (SMALL, LARGE):  # no fee: what an attempt costs is its usage
        kernel.capabilities.publish(
            np.array([world.workers[tier]], np.uint64), np.ones((1, 4), np.float32), price=0,
            tier=tier,
        )  # fmt: skip
    world.route(router_of(kernel), difficulties(10_000, 1), ["any"] * 10_000)
    return {}


def check_small_first(kernel: hanse.Kernel, facts: Facts) -> None:
    report = router_of(kernel).report(["any"])
    assert (report.spend, report.accepted, report.tasks) == (70_000, 9_800, 10_000)
    assert report.saving == report.law == 1 / (Fraction(1, 20) + Fraction(3, 10))
    assert round(float(report.saving), 3) == 2.857
    assert kernel.tasks.cost(tier=SMALL).spend == 10_000
    assert kernel.tasks.cost(tier=LARGE).spend == 60_000


def test_small_first_saves_what_the_law_says_and_the_journal_remembers(tmp_path: Path) -> None:
    holds_through_a_kill(tmp_path / "killed", play_small_first, check_small_first,
                         durability="batch")  # fmt: skip


@pytest.mark.parametrize(("count", "seed"), [(1_000, 5), (3_000, 9)])
def test_labels_once_learned_send_the_hard_ones_to_the_large_tier(count: int, seed: int) -> None:
    with hanse.open() as kernel:
        play_prices(kernel, count, seed)
        report = router_of(kernel).report(["easy", "hard"])
        # The first 100 hard ones taught it: until then they went to the small tier first.
        taught = kernel.tasks.odds("hard", SMALL).attempts
        assert 0 < taught <= 100
        assert report.spend == 0.7 * count + 0.3 * count * 20 + taught
        assert report.accepted == 0.98 * count


def play_prices(kernel: hanse.Kernel, count: int, seed: int) -> hanse.Router:
    world = World(kernel)
    for tier in (SMALL, LARGE):
        kernel.capabilities.publish(
            np.array([world.workers[tier]], np.uint64), np.ones((1, 4), np.float32), price=0,
            tier=tier,
        )  # fmt: skip
    router = router_of(kernel, seed=seed)
    hard = difficulties(count, seed)
    world.route(router, hard, ["hard" if d >= ABILITY[SMALL] else "easy" for d in hard])
    return router


def test_the_same_seed_and_journal_make_the_same_choices_and_exploration_is_bounded() -> None:
    with hanse.open() as kernel:
        play_prices(kernel, 1_000, 3)

        def choices(seed: int) -> list[int]:
            router = router_of(kernel, seed=seed, explore=0.1)
            return [router.choose("hard") for _ in range(2_000)]

        assert choices(1) == choices(1) != choices(2)
        assert 150 < choices(1).count(SMALL) < 250
        assert router_of(kernel).choose("hard", need=SMALL) == SMALL


def test_a_router_refuses_what_it_can_not_mean() -> None:
    with hanse.open() as kernel:
        router = router_of(kernel)
        for call, name in (
            (lambda: router.choose("x", need=7), "UnknownTier"),
            (lambda: router.above(7), "UnknownTier"),
            (lambda: router.expected("x", 7), "UnknownTier"),
            (lambda: hanse.Router(kernel, tiers=(1, 0), prices=(1, 2)), "UnknownTier"),
            (lambda: hanse.Router(kernel, tiers=(0, 1), prices=(1,)), "OutOfRange"),
            (lambda: hanse.Router(kernel, tiers=(0,), prices=(1,), explore=2), "OutOfRange"),
        ):
            with pytest.raises(hanse.InvalidError) as caught:
                call()
            assert caught.value.name == name
        assert router.above(SMALL) == LARGE
        assert router.above(LARGE) is None
        report = router.report(["nothing"])
        assert (report.saving, report.law, report.tasks) == (None, None, 0)
