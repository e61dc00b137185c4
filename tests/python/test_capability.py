"""Offers: found by similarity among the feasible ones only, versions strictly increasing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hanse

CSV, SQL, WEB = 1, 2, 4


def test_a_new_version_replaces_the_old_one() -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(2)
        east, north = np.eye(2, dtype=np.float32)
        assert kernel.capabilities.publish(ids, np.stack([east, east])).tolist() == [1, 1]
        assert kernel.capabilities.publish(ids[:1], north[None]).tolist() == [2]
        found = kernel.match(north, k=2)
        assert found.agents[0].tolist() == ids.tolist()
        assert found.versions[0].tolist() == [2, 1]
        np.testing.assert_allclose(found.scores[0], [1, 0], atol=1e-6)
        kernel.capabilities.withdraw(int(ids[0]))
        found = kernel.match(north, k=2)
        assert found.counts.tolist() == [1]
        assert found.agents[0].tolist() == [int(ids[1]), 0]
        assert found.scores[0, 1] == 0


def test_only_the_feasible_are_found_and_the_rest_is_explained() -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(6)
        vectors = np.ones((6, 3), np.float32)
        kernel.capabilities.publish(
            ids,
            vectors,
            price=np.array([1, 2, 3, 4, 5, 6]),
            tier=np.array([0, 0, 1, 1, 2, 2], np.uint8),
            skills=np.array([CSV, SQL, CSV | SQL, WEB, CSV | WEB, 0], np.uint64),
            region=np.array([1, 1, 1, 2, 2, 2], np.uint16),
        )
        query = vectors[0]

        def found(**filters: object) -> list[int]:
            matches = kernel.match(query, **filters)  # type: ignore[arg-type]
            return (matches.agents[0, : matches.counts[0]] - ids[0]).tolist()

        assert found() == [0, 1, 2, 3, 4, 5]
        assert found(max_price=2) == [0, 1]
        assert found(tier=1) == [2, 3]
        assert found(tier=(1, 2)) == [2, 3, 4, 5]
        assert found(region=2) == [3, 4, 5]
        assert found(skills=hanse.all_of(CSV | SQL)) == [2]
        assert found(skills=hanse.any_of(CSV | SQL)) == [0, 1, 2, 4]
        assert found(skills=hanse.none_of(CSV)) == [1, 3, 5]
        assert found(skills=hanse.any_of(CSV | WEB) & hanse.none_of(SQL)) == [0, 3, 4]
        assert found(skills=CSV) == [0, 2, 4]
        reasons = kernel.match(query, max_price=2, tier=0, skills=SQL, explain=True).reasons
        assert reasons["price"] == 4
        assert reasons["skills"] == 1
        assert sum(reasons.values()) == 5


def test_a_conjunction_has_one_any_of() -> None:
    with pytest.raises(hanse.InvalidError):
        _ = hanse.any_of(1) & hanse.any_of(2)


def test_a_tenants_offers_can_be_asked_for() -> None:
    with hanse.open() as kernel:
        team = kernel.agents.add("team", kind="group")
        inside = kernel.agents.add("inside", parent=team)
        outside = kernel.agents.add("outside")
        ids = np.array([inside, outside], np.uint64)
        kernel.capabilities.publish(ids, np.ones((2, 2), np.float32))
        found = kernel.match(np.ones(2, np.float32), tenant=team)
        assert found.counts.tolist() == [1]
        assert found.agents[0, 0] == inside


def test_spaces_are_apart() -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(1)
        number = kernel.capabilities.create_space("text", 5, metric="inner_product", model="m")
        assert number == 0
        kernel.capabilities.publish(ids, 2 * np.ones((1, 5), np.float32), space="text")
        kernel.capabilities.publish(ids, np.ones((1, 3), np.float32))
        assert kernel.capabilities.spaces() == [
            hanse.Space("text", 5, "inner_product", "m"),
            hanse.Space("default", 3, "cosine", ""),
        ]
        found = kernel.match(np.ones(5, np.float32), space="text", k=1)
        assert found.scores[0, 0] == 10
        for options in ({"metric": "euclid"}, {"dim": 0}, {"dim": 5000}, {"name": "text"}):
            with pytest.raises(hanse.HanseError):
                kernel.capabilities.create_space(**({"name": "x", "dim": 2} | options))  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 12), st.integers(0, 2**32))
def test_match_agrees_with_a_full_sort(count: int, dim: int, k: int, seed: int) -> None:
    # Small whole numbers as floats: sums are exact, ties are common.
    random = np.random.default_rng(seed)
    vectors = random.integers(-3, 4, (count, dim)).astype(np.float32)
    vectors[~vectors.any(axis=1)] = 1
    queries = random.integers(-3, 4, (5, dim)).astype(np.float32)
    queries[~queries.any(axis=1)] = 1
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(count)
        kernel.capabilities.create_space("s", dim, metric="inner_product")
        kernel.capabilities.publish(ids, vectors, space="s")
        found = kernel.match(queries, k=k, space="s")
    scores = queries @ vectors.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    width = min(k, count)
    assert (found.counts == width).all()
    np.testing.assert_array_equal(found.agents[:, :width], ids[order])
    np.testing.assert_array_equal(
        found.scores[:, :width], np.take_along_axis(scores, order, axis=1)
    )
    assert (found.agents[:, width:] == 0).all()
