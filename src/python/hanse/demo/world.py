"""The population in a kernel: who joined, what they publish, who pays, and under which rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import hanse

from .embed import MODEL_NAME, Embedder, Vectors, normalised
from .market import DESTRUCTIVE, LARGE, RATES, SMALL, Offers, skill_mask
from .population import Documented
from .progress import Progress
from .tasks import Task

UNIT = "usd_micro"
# In full for one task, both tiers: the longest docstring at the large rates and its fee fit.
BUDGET = 250_000
BUDGET_RAISED = 300_000
# Texts are cut at 500 characters; the longest of them need the raised budget.
PAYLOAD_AT_BUDGET_MAX = 495
NOISE_NORM = 0.5
_PUBLISH_ROWS = 16_384

BRIEFING = (
    "You are one of the callables of a Python installation. You will be given a passage from the "
    "documentation of exactly one callable, without its first sentence. Answer with your own "
    "documentation, whole and unchanged. If you speak for a module, read the documentation of your "
    "members and answer with the one that the passage comes from. Your answer is accepted if it "
    "contains the passage. You are paid for the tokens you use whatever the verdict, and your fee "
    "when the answer is accepted."
)
LAYERS, KV_HEADS, HEAD_DIM = 2, 2, 32  # 2 layers x (key, value) x 2 heads x 32 = 256


def policy_text() -> str:
    """Everyone may do everything, but for two kinds of work that ask for the raised budget.

    The first rule speaks of the request: whoever is asked, it is refused. The second speaks of the
    worker: the request goes on to its next candidate.
    """
    return f"""
@id("open-market")
permit(principal, action, resource);

@id("long-text-needs-budget")
forbid(principal, action == Action::"dispatch", resource)
when {{ context.payload_size > {PAYLOAD_AT_BUDGET_MAX} && context.budget < {BUDGET_RAISED} }};

@id("destructive-needs-budget")
forbid(principal, action == Action::"dispatch", resource)
when {{ resource.skills.hasAny({skill_mask(DESTRUCTIVE)}) && context.budget < {BUDGET_RAISED} }};
"""


@dataclass(slots=True)
class World:
    """`origin_of` maps the index of an agent (the low half of its id) to the row of the callable
    that it is, or is a copy of; -1 for all others. `package_of` likewise for generalists."""

    requester: int
    auditor: int
    origin_of: NDArray[np.int64]
    package_of: NDArray[np.int64]
    context: hanse.Latent
    context_kv: Vectors

    def origins(self, agents: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rows of the callables behind these ids; -1 where there is none."""
        index = (agents & np.uint64(0xFFFFFFFF)).astype(np.int64)
        rows: NDArray[np.int64] = np.where(agents == 0, -1, self.origin_of[index])
        return rows


def copies_of(count: int, copies: int) -> NDArray[np.int64]:
    """The row that each copy is made from: round after round over the population."""
    return np.arange(copies, dtype=np.int64) % count


def perturbed(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    """Each unit vector with noise of norm 0.5 added, of unit length again."""
    noise = rng.standard_normal(vectors.shape, dtype=np.float32)
    noise *= NOISE_NORM / np.linalg.norm(noise, axis=1, keepdims=True)
    return normalised(vectors + noise)


def _chunks(count: int) -> Iterator[slice]:
    for begin in range(0, count, _PUBLISH_ROWS):
        yield slice(begin, min(begin + _PUBLISH_ROWS, count))


def _join(
    kernel: hanse.Kernel,
    callables: list[Documented],
    offers: Offers,
    copy_rows: NDArray[np.int64],
    progress: Progress,
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
    """Ids of the callables, of the generalists, and of the copies."""
    ids = np.zeros(len(callables), np.uint64)
    large = np.zeros(len(offers.packages), np.uint64)
    copies = np.zeros(len(copy_rows), np.uint64)
    copy_package = offers.package_of[copy_rows]
    with progress.stage("agents join", len(ids) + len(large) + len(copies)) as stage:
        for number, package in enumerate(offers.packages):
            tenant = kernel.agents.add(package, kind="group")
            members = np.flatnonzero(offers.package_of == number)
            ids[members] = kernel.agents.add_many(
                [callables[row].name for row in members], parent=tenant
            )
            large[number] = kernel.agents.add(f"{package} (generalist)", parent=tenant)
            mine = np.flatnonzero(copy_package == number)
            for rows in _chunks(len(mine)):
                copies[mine[rows]] = kernel.agents.add_many(len(mine[rows]), parent=tenant)
            stage.advance(len(members) + 1 + len(mine))
    return ids, large, copies


def _publish(
    kernel: hanse.Kernel,
    ids: tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]],
    offers: Offers,
    vectors: Vectors,
    copy_rows: NDArray[np.int64],
    seed: int,
    progress: Progress,
) -> None:
    small, large, copies = ids
    publish = kernel.capabilities.publish
    with progress.stage("offers published", sum(map(len, ids))) as stage:
        for rows in _chunks(len(small)):
            publish(
                small[rows],
                np.ascontiguousarray(vectors[rows]),
                price=offers.prices[rows],
                tier=SMALL,
                skills=offers.skills[rows],
            )
            stage.advance(len(small[rows]))
        for rows in _chunks(len(large)):
            publish(
                large[rows],
                np.ascontiguousarray(offers.large_vectors[rows]),
                price=offers.large_prices[rows],
                tier=LARGE,
                skills=offers.large_skills[rows],
            )
            stage.advance(len(large[rows]))
        for number, rows in enumerate(_chunks(len(copies))):
            # A chunk at a time: a million vectors are never in memory twice.
            origin = copy_rows[rows]
            rng = np.random.default_rng([seed, number])
            publish(
                copies[rows],
                perturbed(vectors[origin], rng),
                price=offers.prices[origin],
                tier=SMALL,
                skills=offers.skills[origin],
            )
            stage.advance(len(origin))


def build(
    kernel: hanse.Kernel,
    callables: list[Documented],
    vectors: Vectors,
    offers: Offers,
    tasks: list[Task],
    *,
    copies: int,
    seed: int,
    embedder: Embedder,
    progress: Progress,
) -> World:
    """Everything that must stand before the first dispatch. `vectors` are of unit length."""
    copy_rows = copies_of(len(callables), copies)
    kernel.capabilities.create_space("default", vectors.shape[1], model=MODEL_NAME)
    ids = _join(kernel, callables, offers, copy_rows, progress)
    house = kernel.agents.add("house", kind="group")
    auditor = kernel.agents.add("auditor", kind="tool", parent=house)
    _publish(kernel, ids, offers, vectors, copy_rows, seed, progress)

    # Only the root sees the agents of every tenant, so the root asks, and pays.
    requester = kernel.root
    kernel.ledger.fund(requester, max(1, len(tasks)) * BUDGET_RAISED, unit=UNIT)
    for tier, rates in RATES.items():
        kernel.ledger.set_rates(UNIT, tier, **rates)
    kernel.policy.load(policy_text())

    origin_of = np.full(kernel.agents.count(), -1, np.int64)
    package_of = np.full(kernel.agents.count(), -1, np.int64)
    low = np.uint64(0xFFFFFFFF)
    origin_of[(ids[0] & low).astype(np.int64)] = np.arange(len(callables))
    origin_of[(ids[2] & low).astype(np.int64)] = copy_rows
    package_of[(ids[1] & low).astype(np.int64)] = np.arange(len(offers.packages))

    # The briefing's own token vectors, in the shape of a small model's cache.
    token_ids = embedder.token_ids(BRIEFING)
    flat = embedder.token_vectors(token_ids)
    kv = np.ascontiguousarray(
        flat.reshape(len(token_ids), LAYERS, 2, KV_HEADS, HEAD_DIM).transpose(1, 2, 0, 3, 4)
    )
    spec = hanse.LatentSpec(
        model=MODEL_NAME, layers=LAYERS, kv_heads=KV_HEADS, head_dim=HEAD_DIM, dtype="float32"
    )
    context = kernel.latents.put(kv, spec, tokens=np.array(token_ids, np.uint32))
    return World(requester, auditor, origin_of, package_of, context, kv)
