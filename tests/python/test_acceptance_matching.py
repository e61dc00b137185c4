"""Feasible or absent, never nearly: filtered search against numpy over 20,000 offers and more."""

from pathlib import Path

import numpy as np
import pytest
from reopening import Facts, holds_through_a_kill, holds_through_reopening

import hanse

COUNT, DIM, K = 20_000, 128, 10
SHARES = {0: 1.0, 1: 0.1, 2: 0.01, 3: 0.001, 4: 0.0001}  # skill bit: share of the offers


def clusters() -> np.ndarray:
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((64, DIM))
    near = centres[rng.integers(0, 64, COUNT)] + 0.3 * rng.standard_normal((COUNT, DIM))
    return near.astype(np.float32)


def skill_bits() -> np.ndarray:
    rng = np.random.default_rng(6)
    bits = np.zeros(COUNT, np.uint64)
    for bit, share in SHARES.items():
        bits[rng.permutation(COUNT)[: round(COUNT * share)]] |= np.uint64(1 << bit)
    return bits


def queries() -> np.ndarray:
    rng = np.random.default_rng(7)
    return (clusters()[:16] + 0.2 * rng.standard_normal((16, DIM))).astype(np.float32)


def expected(vectors: np.ndarray, feasible: np.ndarray) -> np.ndarray:
    """Row numbers of the K nearest feasible ones, in double precision."""
    rows = np.flatnonzero(feasible)
    unit = vectors[rows].astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    asked = queries().astype(np.float64)
    scores = asked @ unit.T
    return rows[np.argsort(-scores, axis=1, kind="stable")[:, :K]]


def play_population(kernel: hanse.Kernel, clock: hanse.ManualClock) -> Facts:
    team = kernel.agents.add("team", kind="group")
    ids = kernel.agents.add_many(COUNT, parent=team)
    assert (np.diff(ids.astype(np.int64)) == 1).all()
    kernel.capabilities.publish(ids, clusters(), skills=skill_bits(), price=np.arange(COUNT))
    return {"team": team, "first": int(ids[0])}


def check_population(kernel: hanse.Kernel, facts: Facts) -> None:
    vectors, bits = clusters(), skill_bits()
    me = kernel.as_agent(facts["team"])
    for bit, share in SHARES.items():
        feasible = (bits >> np.uint64(bit) & np.uint64(1)).astype(bool)
        want = min(K, round(COUNT * share))
        best = expected(vectors, feasible)
        for recall in (0.95, 1.0):
            found = me.match(queries(), k=K, skills=hanse.all_of(1 << bit), recall=recall)
            assert (found.counts == want).all()
            rows = found.agents[:, :want].astype(np.int64) - facts["first"]
            assert feasible[rows].all()
            hits = sum(np.isin(rows[i], best[i]).sum() for i in range(len(rows)))
            assert hits >= 0.95 * best.size
            if recall == 1 or want < K or share < 0.005:
                np.testing.assert_array_equal(rows, best)
            assert (found.agents[:, want:] == 0).all()
            assert (found.versions[:, :want] == 1).all()
            assert (np.diff(found.scores[:, :want], axis=1) <= 0).all()
    # Filters are one conjunction: price and skills together leave what both leave.
    feasible = (bits & np.uint64(2) != 0) & (np.arange(COUNT) <= 5_000)
    found = me.match(queries(), k=K, skills=hanse.all_of(2), max_price=5_000, recall=1.0)
    rows = found.agents.astype(np.int64) - facts["first"]
    np.testing.assert_array_equal(rows, expected(vectors, feasible))


def test_every_filter_gives_the_nearest_feasible(tmp_path: Path) -> None:
    holds_through_reopening(tmp_path / "closed", play_population, check_population)


@pytest.mark.parametrize("count", [30_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_large_index_keeps_its_recall_at_every_share_of_the_feasible(count: int) -> None:
    rng = np.random.default_rng(9)
    centres = rng.standard_normal((256, DIM), dtype=np.float32)
    vectors = centres[rng.integers(0, 256, count)]
    vectors += 0.5 * rng.standard_normal(vectors.shape, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    asked = vectors[:100] + 0.03 * rng.standard_normal((100, DIM), dtype=np.float32)
    price = rng.permutation(count)
    index = hanse.CapabilityIndex(DIM, background=False)
    index.add(np.arange(count, dtype=np.uint64), vectors, price=price, threads=2)
    scores = asked @ vectors.T
    for share in (1, 0.5, 0.1, 0.01, 0.001, 0.0001):
        most = round(share * count) - 1
        feasible = price <= most
        want = min(K, most + 1)
        found = index.search(asked, K, filter=hanse.where(max_price=most))
        assert (found.counts == want).all()
        ids = found.ids[:, :want].astype(np.int64)
        assert feasible[ids].all()
        masked = np.where(feasible, scores, -np.inf)
        worst = np.partition(masked, -want, axis=1)[:, -want]
        good = (np.take_along_axis(scores, ids, axis=1) >= worst[:, None] - 1e-5).mean()
        assert good >= 0.95
        if share <= 0.001:
            assert good == 1


def play_republish(kernel: hanse.Kernel, clock: hanse.ManualClock) -> Facts:
    ids = kernel.agents.add_many(200)
    there, here = np.eye(2, 8, dtype=np.float32)
    kernel.capabilities.publish(ids, np.repeat(there[None], 200, 0), price=7)
    versions = kernel.capabilities.publish(ids[::2].copy(), np.repeat(here[None], 100, 0), price=9)
    assert (versions == 2).all()
    kernel.capabilities.withdraw(int(ids[1]))
    return {"ids": ids.tolist()}


def check_republish(kernel: hanse.Kernel, facts: Facts) -> None:
    ids = np.array(facts["ids"], np.uint64)
    there, here = np.eye(2, 8, dtype=np.float32)
    found = kernel.match(np.stack([there, here]), k=1_000)
    assert found.counts.tolist() == [199, 199]
    for row in range(2):
        agents, versions = found.agents[row, :199], found.versions[row, :199]
        assert len(np.unique(agents)) == 199
        assert int(ids[1]) not in agents
        assert (versions == np.where(np.isin(agents, ids[::2]), 2, 1)).all()
    assert set(found.agents[1, :100].tolist()) == set(ids[::2].tolist())
    assert set(found.agents[0, :99].tolist()) == set(ids[3::2].tolist())
    # Nor does the old price stand: what costs 9 now is not found for 8.
    assert set(kernel.match(here, k=1_000, max_price=8).agents[0, :99].tolist()) == set(
        ids[3::2].tolist()
    )


def test_after_a_republish_the_old_version_is_never_found(tmp_path: Path) -> None:
    holds_through_reopening(tmp_path / "closed", play_republish, check_republish)
    holds_through_a_kill(tmp_path / "killed", play_republish, check_republish)


def test_money_ranks_only_among_the_feasible() -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(4)
        vectors = np.array([[10, 1], [10, 2], [10, 3], [10, 0]], np.float32)
        kernel.capabilities.publish(
            ids, vectors, price=np.array([90, 10, 20, 0]), skills=np.array([1, 1, 1, 2], np.uint64)
        )
        query = np.array([1, 0], np.float32)

        def order(**options: object) -> list[int]:
            found = kernel.match(query, k=4, **options)  # type: ignore[arg-type]
            return (found.agents[0, : found.counts[0]] - ids[0]).tolist()

        assert order() == [3, 0, 1, 2]
        assert order(filter=hanse.where(skills=1)) == [0, 1, 2]
        assert order(filter=hanse.where(skills=1), rank=hanse.Ranking(price=0.01)) == [1, 2, 0]
        assert order(filter=hanse.where(skills=1) & hanse.where(max_price=50)) == [1, 2]
        assert order(skills=1, rank=hanse.Ranking(recency=1, now=4)) == [2, 1, 0]
        # Each query its own terms.
        both = np.stack([query, query])
        filters = [hanse.where(max_price=15, skills=1), hanse.where(skills=2)]
        found = kernel.match(both, k=2, filter=filters)
        assert (found.agents[:, 0] - ids[0]).tolist() == [1, 3]
        found = kernel.match(both, k=2, skills=1, max_price=np.array([15, 20]), explain=True)
        assert found.counts.tolist() == [1, 2]
        assert [one.plan for one in found.explanations] == ["rows", "rows"]
        assert found.reasons["skills"] == 0
        assert found.reasons["price"] == 2 + 1


def nonzero(reasons: dict[str, int]) -> dict[str, int]:
    return {why: count for why, count in reasons.items() if count}


def test_a_dispatch_that_finds_no_one_says_why_and_for_how_many() -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(60)
        vectors = np.random.default_rng(8).standard_normal((60, 8)).astype(np.float32)
        price = np.where(np.arange(60) < 41, 900, 10)
        skills = np.where(np.arange(60) < 53, 1, 2).astype(np.uint64)
        kernel.capabilities.publish(ids, vectors, price=price, skills=skills)
        kernel.ledger.fund(kernel.root, 10_000)
        kernel.agents.revoke(int(ids[59]))
        count = kernel.journal.count
        with pytest.raises(hanse.NotFoundError) as caught:
            kernel.dispatch(query=vectors[0], budget=100, max_price=50, skills=4)
        assert caught.value.name == "NoFeasibleAgent"
        assert nonzero(caught.value.reasons) == {"price": 41, "skills": 18, "revoked": 1}
        assert kernel.journal.count == count  # scarcity is no refusal by policy or money
        found = kernel.match(vectors[:2], k=5, max_price=50, skills=4, explain=True)
        assert found.counts.tolist() == [0, 0]
        assert nonzero(found.reasons) == {"price": 41, "skills": 18, "revoked": 1}
        with pytest.raises(hanse.NotFoundError) as caught:
            kernel.dispatch(query=vectors[0], budget=9)  # the budget is a limit of price, too
        assert nonzero(caught.value.reasons) == {"price": 59, "revoked": 1}


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        (np.ones((2, 7), np.float32), "DimensionMismatch"),
        (np.array([[1] * 8, [np.nan] + [1] * 7], np.float32), "BadVector"),
        (np.array([[1] * 8, [np.inf] + [1] * 7], np.float32), "BadVector"),
        (np.array([[1] * 8, [0] * 8], np.float32), "BadVector"),
    ],
)
def test_a_bad_vector_publishes_nothing_not_even_the_first_space(
    bad: np.ndarray, name: str
) -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(2)
        if name != "DimensionMismatch":
            state = kernel.state_hash
            with pytest.raises(hanse.InvalidError) as caught:
                kernel.capabilities.publish(ids, bad)
            assert caught.value.name == name
            assert kernel.state_hash == state
            assert kernel.capabilities.spaces() == []
        kernel.capabilities.publish(ids, np.eye(2, 8, dtype=np.float32))
        state = kernel.state_hash
        for call in (
            lambda: kernel.capabilities.publish(ids, bad),
            lambda: kernel.match(bad),
            lambda: kernel.dispatch(query=bad[1], budget=1),
        ):
            with pytest.raises(hanse.InvalidError) as caught:
                call()
            assert caught.value.name == name
        assert kernel.state_hash == state


def test_a_version_must_be_greater_than_the_one_that_stands() -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(2)
        vectors = np.eye(2, 8, dtype=np.float32)
        publish = kernel.capabilities.publish
        assert publish(ids, vectors, versions=np.array([5, 9], np.uint32)).tolist() == [5, 9]
        state = kernel.state_hash
        for versions in ([5, 10], [6, 9], [4, 8], [0, 0]):
            with pytest.raises(hanse.ConflictError) as caught:
                publish(ids, vectors, versions=np.array(versions, np.uint32))
            assert caught.value.name == "StaleVersion"
        assert kernel.state_hash == state
        assert publish(ids, vectors).tolist() == [6, 10]
