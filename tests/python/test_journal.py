"""Evidence: proofs that anyone can check with hashlib, and nothing else passes."""

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hanse


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.data())
def test_every_proof_holds_and_no_changed_one_does(count: int, data: st.DataObject) -> None:
    with hanse.open() as kernel:
        for _ in range(count):
            kernel.agents.add()
        total = kernel.journal.count
        of = data.draw(st.integers(1, total))
        position = data.draw(st.integers(0, of - 1))
        proof = kernel.journal.prove(position, count=of)
        assert proof.verify()
        assert proof.root == kernel.journal.root_at(of)
        assert proof.leaf == kernel.journal.leaf(position)
    other = "00" * 32
    assert not replace(proof, leaf=other).verify()
    assert not replace(proof, root=other).verify()
    assert not replace(proof, index=of).verify()
    assert not replace(proof, path=(*proof.path, other)).verify()
    assert not replace(proof, leaf="no hex").verify()
    for i in range(len(proof.path)):
        assert not replace(proof, path=proof.path[:i] + proof.path[i + 1 :]).verify()
        changed = (*proof.path[:i], other, *proof.path[i + 1 :])
        assert not replace(proof, path=changed).verify()


def test_the_roots_are_those_of_rfc_6962_computed_anew() -> None:
    with hanse.open() as kernel:
        for _ in range(12):
            kernel.agents.add()
        leaves = [bytes.fromhex(kernel.journal.leaf(i)) for i in range(kernel.journal.count)]

        def root(part: list[bytes]) -> bytes:
            if len(part) == 1:
                return part[0]
            half = 1 << (len(part) - 1).bit_length() - 1
            return sha256(b"\x01" + root(part[:half]) + root(part[half:])).digest()

        for count in range(1, len(leaves) + 1):
            assert kernel.journal.root_at(count) == root(leaves[:count]).hex()
        assert kernel.journal.prove_consistency(3)


def test_a_position_that_is_not_there_is_not_found() -> None:
    with hanse.open() as kernel:
        kernel.agents.add()
        count = kernel.journal.count
        for call in (
            lambda: kernel.journal.prove(count),
            lambda: kernel.journal.leaf(count),
            lambda: kernel.journal.event(count),
        ):
            with pytest.raises(hanse.NotFoundError) as caught:
                call()
            assert caught.value.name == "UnknownEvent"
        with pytest.raises(hanse.InvalidError):
            kernel.journal.leaf(-1)


def test_the_status_counts() -> None:
    with hanse.open() as kernel:
        kernel.agents.add()
        status = kernel.journal.status()
        assert status.count == status.durable_count == kernel.journal.count
        assert status.poisoned == ""
