"""The index alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hanse


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 8), st.integers(0, 2**32))
def test_search_agrees_with_a_full_sort(count: int, dim: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.integers(-3, 4, (count, dim)).astype(np.float32)
    vectors[~vectors.any(axis=1)] = 1
    query = vectors[0]
    ids = random.permutation(1_000)[:count].astype(np.uint64)
    index = hanse.CapabilityIndex(dim, metric="inner_product")
    index.add(ids, vectors)
    found = index.search(query, k)
    scores = vectors @ query
    order = np.argsort(-scores, kind="stable")[:k]
    assert found.counts.tolist() == [len(order)]
    np.testing.assert_array_equal(found.ids[0, : len(order)], ids[order])
    np.testing.assert_array_equal(found.scores[0, : len(order)], scores[order])


def test_ids_are_added_replaced_and_removed() -> None:
    index = hanse.CapabilityIndex(dim=2)
    ids = np.array([5, 0, 7], np.uint64)
    vectors = np.array([[1, 0], [0, 2], [3, 3]], np.float32)
    index.add(ids, vectors)
    assert len(index) == 3
    assert 5 in index
    assert 6 not in index
    assert -1 not in index
    np.testing.assert_allclose(index.get(0), [0, 1])
    with pytest.raises(hanse.ConflictError):
        index.add(np.array([9, 5], np.uint64), vectors[:2])
    assert 9 not in index
    index.upsert(np.array([5], np.uint64), np.array([[0, 1]], np.float32))
    np.testing.assert_allclose(index.get(5), [0, 1])
    assert index.remove(np.array([5, 6], np.uint64)) == 1
    assert len(index) == 2
    with pytest.raises(hanse.NotFoundError):
        index.get(5)
    assert index.memory() > 0
    assert index.dim == 2


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda index: index.add([1], np.ones((1, 2), np.float32)), "WrongType"),
        (
            lambda index: index.add(np.ones(1, np.uint64), np.ones((1, 3), np.float32)),
            "DimensionMismatch",
        ),
        (
            lambda index: index.add(np.ones(2, np.uint64), np.ones((1, 2), np.float32)),
            "DimensionMismatch",
        ),
        (
            lambda index: index.add(np.ones(1, np.uint64), np.full((1, 2), np.nan, np.float32)),
            "BadVector",
        ),
        (lambda index: index.search(np.ones(2, np.float32), k=0), "OutOfRange"),
        (lambda index: index.search(np.ones(2)), "WrongType"),
        (lambda index: index.search(np.ones((1, 2), np.float32), threads=0), "OutOfRange"),
        (lambda index: hanse.CapabilityIndex(0), "OutOfRange"),
        (lambda index: hanse.CapabilityIndex(4, "euclid"), "OutOfRange"),
    ],
)
def test_a_bad_argument_is_refused_and_nothing_is_added(call, name: str) -> None:
    index = hanse.CapabilityIndex(2)
    with pytest.raises(hanse.InvalidError) as caught:
        call(index)
    assert caught.value.name == name
    assert len(index) == 0
