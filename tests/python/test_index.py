"""The index alone."""

import pickle
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import hanse


class OnADevice:
    """What an array of another library looks like."""

    __cuda_array_interface__: ClassVar = {
        "shape": (1, 2),
        "typestr": "<f4",
        "data": (0, True),
        "version": 3,
    }


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
        (lambda index: index.search(np.ones((1, 2), np.float32), recall=0), "OutOfRange"),
        (lambda index: index.search(np.ones((1, 2), np.float32), effort=3), "OutOfRange"),
        (lambda index: index.search(np.ones((1, 2), np.float32), filter="price < 3"), "WrongType"),
        (
            lambda index: index.search(np.ones((2, 2), np.float32), filter=[hanse.where()] * 3),
            "DimensionMismatch",
        ),
        (
            lambda index: index.search(np.ones((1, 2), np.float32), mask=np.ones(3, np.int8)),
            "WrongType",
        ),
        (
            lambda index: index.search(np.ones((3, 2), np.float32), mask=np.ones((2, 1), bool)),
            "BadArray",
        ),
        (lambda index: index.search(np.asfortranarray(np.ones((2, 2), np.float32))), "BadArray"),
        (lambda index: index.search(np.zeros((1, 2), np.float32)), "BadVector"),
        (lambda index: index.search(np.ones((1, 2), np.float32), rank=3), "WrongType"),
        (
            lambda index: index.search(
                np.ones((1, 2), np.float32), rank=hanse.Ranking(explore=float("nan"))
            ),
            "OutOfRange",
        ),
        (
            lambda index: index.search(np.ones((2, 2), np.float32), max_price=np.array([1, -1])),
            "OutOfRange",
        ),
        (
            lambda index: index.add(np.ones(1, np.uint64), np.ones((1, 2), np.float32), price=-1),
            "OutOfRange",
        ),
        (
            lambda index: index.add(
                np.ones(1, np.uint64), np.ones((1, 2), np.float32), load=np.ones(1)
            ),
            "WrongType",
        ),
        (lambda index: hanse.where(tier=(3, 2)), "OutOfRange"),
        (lambda index: hanse.where(max_price=-1), "OutOfRange"),
        (lambda index: hanse.where(max_price=1.5), "WrongType"),
        (lambda index: hanse.where(max_load=float("nan")), "OutOfRange"),
        (lambda index: hanse.where(tenant="me"), "WrongType"),
        (lambda index: hanse.where(policy=hanse.any_of(1)), "OutOfRange"),
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


def attributed() -> tuple[hanse.CapabilityIndex, np.ndarray]:
    index = hanse.CapabilityIndex(2, metric="inner_product", background=False)
    ids = np.arange(10, 18, dtype=np.uint64)
    vectors = np.array([[8 - i, 1] for i in range(8)], np.float32)
    index.add(
        ids,
        vectors,
        price=np.arange(8),
        load=np.linspace(0, 0.7, 8, dtype=np.float32),
        reputation=np.array([0, 1, 0, 1, 2, 2, 2, 2], np.float32),
        skills=np.arange(8, dtype=np.uint64),
        tenant=np.array([1, 1, 1, 1, 2, 2, 2, 2], np.uint32),
        updated=np.arange(100, 108),
    )
    return index, ids


def test_a_filter_is_an_expression_a_mask_or_both() -> None:
    index, _ids = attributed()
    query = np.array([1, 0], np.float32)

    def found(**options: object) -> list[int]:
        result = index.search(query, 8, **options)  # type: ignore[call-overload]
        return (result.ids[0, : result.counts[0]] - 10).tolist()

    where = hanse.where
    assert found() == list(range(8))
    assert found(filter=where(max_price=2)) == [0, 1, 2]
    assert found(filter=where(min_price=6)) == [6, 7]
    assert found(max_price=1) == [0, 1]
    assert found(filter=where(max_load=0.35)) == [0, 1, 2, 3]
    assert found(filter=where(min_reputation=2) & where(skills=hanse.none_of(1))) == [4, 6]
    assert found(filter=where(tenant=2, until=105)) == [4, 5]
    assert found(filter=where(since=106)) == [6, 7]
    assert found(filter=where(tenant=1) & where(tenant=2)) == []
    mask = np.array([1, 0, 1, 0, 1, 0, 1, 0], bool)
    assert found(filter=mask) == [0, 2, 4, 6]
    assert found(mask=np.array([0b1010_0001], np.uint64)) == [0, 5, 7]
    assert found(mask=mask, filter=where(tenant=2)) == [4, 6]
    assert found(mask=mask[:4]) == [0, 2]
    each = index.search(np.stack([query] * 2), 8, mask=np.stack([mask, ~mask]))
    assert each.counts.tolist() == [4, 4]
    assert (each.ids[1, :4] - 10).tolist() == [1, 3, 5, 7]
    result = index.search(query, 8, filter=where(max_price=2), explain=True)
    assert result.reasons["price"] == 5
    assert result.explanations[0].feasible == 3
    assert found(rank=hanse.Ranking(load=100)) == list(range(8))
    assert found(rank=hanse.Ranking(reputation=100))[:4] == [4, 5, 6, 7]


def test_an_update_is_seen_by_the_next_search_and_places_stay() -> None:
    index, ids = attributed()
    query = np.array([1, 0], np.float32)
    index.update(ids[:2].copy(), price=50)
    found = index.search(query, filter=hanse.where(max_price=7))
    assert found.counts.tolist() == [6]
    index.update(ids, price=np.arange(8)[::-1].copy(), tier=np.arange(8, dtype=np.uint8))
    found = index.search(query, filter=hanse.where(max_price=1, tier=(0, 6)))
    assert (found.ids[0, :1] - 10).tolist() == [6]
    with pytest.raises(hanse.NotFoundError):
        index.update(np.array([10, 99], np.uint64), price=0)
    assert index.search(query, filter=hanse.where(max_price=0)).counts.tolist() == [1]
    assert index.places(ids).tolist() == list(range(8))
    index.remove(ids[3:4].copy())
    held, filled = index.ids()
    assert filled.tolist() == [True] * 3 + [False] + [True] * 4
    assert held[filled].tolist() == [*range(10, 13), *range(14, 18)]
    index.add(np.array([77], np.uint64), np.ones((1, 2), np.float32))
    assert index.places(np.array([77, 13], np.uint64)).tolist() == [3, 2**32 - 1]
    # What was not given is 0, not what the place held before.
    assert 77 in index.search(query, 8, filter=hanse.where(max_price=0, tier=0)).ids


def test_an_index_comes_back_from_a_file_and_from_a_pickle(tmp_path: Path) -> None:
    index, _ids = attributed()
    query = np.array([1, 0], np.float32)
    index.save(tmp_path / "index")
    for again in (
        hanse.CapabilityIndex.load(tmp_path / "index"),
        hanse.CapabilityIndex.view(tmp_path / "index"),
        pickle.loads(pickle.dumps(index)),
    ):
        assert len(again) == 8
        assert again.metric == "inner_product"
        found = again.search(query, 3, filter=hanse.where(max_price=5, tenant=2))
        assert (found.ids[0, :2] - 10).tolist() == [4, 5]
    torn = (tmp_path / "index").read_bytes()[:-1]
    (tmp_path / "index").write_bytes(torn)
    with pytest.raises(hanse.StorageError) as caught:
        hanse.CapabilityIndex.view(tmp_path / "index")
    assert str(tmp_path / "index") in str(caught.value)
    with pytest.raises(hanse.StorageError):
        hanse.CapabilityIndex.load(tmp_path / "nothing")


def test_half_precision_is_widened() -> None:
    index = hanse.CapabilityIndex(2, metric="inner_product")
    vectors = np.array([[1.5, 0], [0, 2]], np.float32)
    index.add(np.arange(2, dtype=np.uint64), vectors.astype(np.float16))
    brain = (vectors.view(np.uint32) >> 16).astype(np.uint16)
    index.add(np.arange(2, 4, dtype=np.uint64), brain)
    found = index.search(vectors[:1].astype(np.float16), 4)
    assert found.ids.tolist() == [[0, 2, 1, 3]]
    assert found.scores.tolist() == [[2.25, 2.25, 0, 0]]


class IndexAgainstModel(RuleBasedStateMachine):
    """Publishes, updates, withdrawals and searches agree with a brute-force model."""

    def __init__(self) -> None:
        super().__init__()
        self.index = hanse.CapabilityIndex(4, metric="inner_product", background=False)
        self.model: dict[int, tuple[int, np.ndarray, int, int]] = {}
        self.added = 0

    @rule(id=st.integers(0, 12), seed=st.integers(0, 999), price=st.integers(0, 3))
    def upsert(self, id: int, seed: int, price: int) -> None:
        vector = np.random.default_rng(seed).integers(-3, 4, 4).astype(np.float32)
        vector[0] = 4
        self.index.upsert(np.array([id], np.uint64), vector[None], price=price, skills=id % 4)
        order = self.model[id][0] if id in self.model else self.added
        self.added += id not in self.model
        self.model[id] = (order, vector, price, id % 4)

    @rule(id=st.integers(0, 12), price=st.integers(0, 3))
    def update(self, id: int, price: int) -> None:
        if id in self.model:
            self.index.update(np.array([id], np.uint64), price=price)
            order, vector, _, skills = self.model[id]
            self.model[id] = (order, vector, price, skills)

    @rule(id=st.integers(0, 12))
    def remove(self, id: int) -> None:
        removed = self.index.remove(np.array([id], np.uint64))
        assert removed == (self.model.pop(id, None) is not None)

    @rule(seed=st.integers(0, 999), price=st.integers(0, 3), skills=st.integers(0, 3))
    def search(self, seed: int, price: int, skills: int) -> None:
        query = np.random.default_rng(seed).integers(-3, 4, 4).astype(np.float32)
        query[0] = 1
        found = self.index.search(query, 5, filter=hanse.where(max_price=price, skills=skills))
        expected = sorted(
            (-float(query @ vector), order, id)
            for id, (order, vector, cost, bits) in self.model.items()
            if cost <= price and bits & skills == skills
        )[:5]
        assert found.counts[0] == len(expected)
        assert found.ids[0, : len(expected)].tolist() == [id for _, _, id in expected]

    @invariant()
    def sizes_agree(self) -> None:
        assert len(self.index) == len(self.model)


TestIndexAgainstModel = IndexAgainstModel.TestCase
TestIndexAgainstModel.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_an_array_on_a_device_needs_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSE_CUDA_PLUGIN", "/nowhere/libhanse_cuda.so")
    index = hanse.CapabilityIndex(2)
    with pytest.raises(hanse.DeviceError, match="HANSE_CUDA_PLUGIN") as caught:
        index.add(np.ones(1, np.uint64), OnADevice())
    assert (caught.value.name, caught.value.field) == ("NoDevice", "vectors")
    assert len(index) == 0


def test_rows_that_wait_for_the_graph_are_found_as_well_as_those_in_it() -> None:
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((64, 128))
    vectors = centres[rng.integers(0, 64, 20_000)] + 0.3 * rng.standard_normal((20_000, 128))
    asked = (vectors[:64] + 0.2 * rng.standard_normal((64, 128))).astype(np.float32)
    index = hanse.CapabilityIndex(128)
    index.add(np.arange(20_000, dtype=np.uint64), vectors.astype(np.float32))
    index.fold(10_000)
    found = index.search(asked, 10, effort=128, explain=True)
    assert min(one.pending for one in found.explanations) > 1_000
    scores = asked @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
    best = np.argsort(-scores, axis=1)[:, :10]
    hits = sum(np.isin(ids, rows).sum() for ids, rows in zip(found.ids, best, strict=True))
    assert hits >= 0.95 * best.size
