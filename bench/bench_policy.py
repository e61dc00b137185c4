"""policy: how fast does a kernel decide, with every rule that fits evaluated?"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import hanse
from bench.case import Contest, Settings, case, peer, rate

AGENTS = 256
SEED = 5


def rules(count: int) -> str:
    """A permit, and refusals by kind, team, price, class and depth: all of them are looked at."""
    written = ["permit(principal, action, resource);"]
    shapes = [
        "forbid(principal, action, resource) when {{ context.budget > {big} }};",
        'forbid(principal in Agent::"team {team}", action == Action::"dispatch", resource) '
        "when {{ resource.tier > 3 && context.amount > {big} }};",
        'permit(principal, action in [Action::"dispatch", Action::"send"], resource) '
        'when {{ context.task_class like "audit-{team}*" && principal.depth < 9 }};',
        "forbid(principal, action, resource) when {{ context.attempt * 2 + {team} > {big} }} "
        "unless {{ resource.tier == 1 }};",
    ]
    for n in range(count - 1):
        shape = shapes[n % len(shapes)]
        written.append(shape.format(team=n % 8, big=1_000_000 + n))
    return "\n".join(written)


def facts() -> dict[str, Any]:
    return {"budget": 0, "amount": 0, "attempt": 0, "task_class": ""}


class Cedar:
    """The same rules and agents in Cedar, which takes its policies as text in every call."""

    def __init__(self, text: str, depths: dict[str, int], parents: dict[str, str]) -> None:
        self.text = text
        self.entities = [
            {
                "uid": {"type": "Agent", "id": name},
                "attrs": {"depth": depth, "tier": 0},
                "parents": [{"type": "Agent", "id": parents[name]}] if name in parents else [],
            }
            for name, depth in depths.items()
        ]

    def decide(self, names: list[str], action: str, resource: str) -> list[bool]:
        import cedarpy

        asked = [
            {
                "principal": f'Agent::"{name}"',
                "action": f'Action::"{action}"',
                "resource": f'Agent::"{resource}"',
                "context": facts(),
            }
            for name in names
        ]
        return [r.allowed for r in cedarpy.is_authorized_batch(asked, self.text, self.entities)]


@contextlib.contextmanager
def both(count: int) -> Iterator[tuple[hanse.Kernel, Any, int, Cedar, list[str]]]:
    """A population of eight teams in a kernel and in Cedar, under the same rules."""
    with hanse.open() as kernel:
        depths, parents, ids = {}, {}, []
        for team in range(8):
            above = int(kernel.agents.add(f"team {team}", kind="group"))
            depths[f"team {team}"] = 1
            for n in range(AGENTS // 8):
                name = f"agent {team}-{n}"
                ids.append(int(kernel.agents.add(name, parent=above)))
                depths[name], parents[name] = 2, f"team {team}"
        names = list(parents)
        kernel.policy.load(rules(count))
        yield kernel, np.array(ids, np.uint64), ids[7], Cedar(rules(count), depths, parents), names


def same_answers(kernel: hanse.Kernel, ids: Any, to: int, cedar: Cedar, names: list[str]) -> None:
    ours = kernel.policy.check_many(ids, "dispatch", to, facts())
    assert not ours.error.any()
    theirs = cedar.decide(names, "dispatch", names[7])
    assert ours.allowed.tolist() == theirs


def contest(
    count: int, work: Callable[[hanse.Kernel, Any, int], float], asked: int, *, lower: bool
) -> Iterator[Contest]:
    with both(count) as (kernel, ids, to, cedar, names):
        few = names[:asked]

        def theirs() -> float:
            begin = time.perf_counter_ns()
            cedar.decide(few, "dispatch", names[7])
            each = (time.perf_counter_ns() - begin) / len(few)
            return each / 1_000 if lower else 1e9 / each

        yield Contest(
            hanse=lambda: work(kernel, ids, to),
            check=lambda: same_answers(kernel, ids, to, cedar, names),
            peers=[peer(f"cedarpy, batches of {asked}", theirs, "cedarpy")],
        )


def native_rate(kernel: hanse.Kernel, ids: Any, to: int) -> float:
    times = kernel._core.time_policy(ids, "dispatch", to, 1024, 200)
    return 1e9 / float(times.mean())


def native_p50_us(kernel: hanse.Kernel, ids: Any, to: int) -> float:
    # Blocks of eight: the clock itself costs as much as a decision.
    times = kernel._core.time_policy(ids, "dispatch", to, 8, 10_000)
    return float(np.median(times)) / 1_000


@case("policy", "decisions/s", "higher")
@contextlib.contextmanager
def decisions_of_20_rules(settings: Settings) -> Iterator[Contest]:
    """How many decisions a second on one core, 20 rules, without Python?"""
    yield from contest(20, native_rate, settings.size(256, 16), lower=False)


@case("policy", "decisions/s", "higher")
@contextlib.contextmanager
def decisions_of_100_rules(settings: Settings) -> Iterator[Contest]:
    """The same with 100 rules?"""
    yield from contest(100, native_rate, settings.size(256, 16), lower=False)


@case("policy", "µs", "lower")
@contextlib.contextmanager
def one_decision_of_20_rules(settings: Settings) -> Iterator[Contest]:
    """How long does one decision take, 20 rules, without Python (p50 of blocks of eight)?"""
    yield from contest(20, native_p50_us, 1, lower=True)


@case("policy", "µs", "lower")
@contextlib.contextmanager
def one_decision_of_100_rules(settings: Settings) -> Iterator[Contest]:
    """The same with 100 rules?"""
    yield from contest(100, native_p50_us, 1, lower=True)


@case("policy", "decisions/s", "higher")
@contextlib.contextmanager
def array_of_decisions_from_python(settings: Settings) -> Iterator[Contest]:
    """How many decisions a second by check_many, 20 rules, with what the kernel knows of each?"""
    count = settings.size(100_000, 1_000)
    random = np.random.default_rng(SEED)
    budgets = random.integers(0, 1_000, count)

    def work(kernel: hanse.Kernel, ids: Any, to: int) -> float:
        many = np.resize(ids, count)
        return rate(
            count, lambda: kernel.policy.check_many(many, "dispatch", to, {"budget": budgets})
        )()

    yield from contest(20, work, settings.size(256, 16), lower=False)


@case("policy", "µs", "lower")
@contextlib.contextmanager
def one_decision_from_python(settings: Settings) -> Iterator[Contest]:
    """How long does one policy.check take, 20 rules, from the call to the Decision?"""

    def work(kernel: hanse.Kernel, ids: Any, to: int) -> float:
        agent, check = int(ids[3]), kernel.policy.check
        begin = time.perf_counter_ns()
        for _ in range(1_000):
            check(agent, "dispatch", to)
        return (time.perf_counter_ns() - begin) / 1e6

    yield from contest(20, work, 1, lower=True)
