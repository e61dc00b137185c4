"""Rules against Cedar's own evaluator, and Cedar's laws as properties."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_sets import KEEP, Tally, Writer, compare, hanse_answer, load, population

import hanse


def tally_of(seeds: range, requests: int) -> Tally:
    tally = Tally()
    with hanse.open() as kernel:
        people = population(kernel)
        for seed in seeds:
            compare(people, seed, requests, tally)
    return tally


def test_twenty_thousand_requests_are_answered_as_cedar_answers_them() -> None:
    pytest.importorskip("cedarpy")
    tally = tally_of(range(400), 50)
    assert not tally.differences, "\n\n".join(tally.differences[:3])
    assert tally.requests == 20_000
    # The sets are worth the time only if every kind of answer is common.
    assert min(tally.allowed, tally.denied, tally.errors) > 1_000


SEEDS = st.integers(0, 10**9)


def decide(rules: list[str], seed: int) -> hanse.Decision:
    with hanse.open() as kernel:
        people = population(kernel)
        load(kernel, "\n".join(rules))
        writer = Writer(seed, people.names)
        return kernel.policy.check(
            people.ids[writer.random.choice(people.names)[0]],
            writer.random.choice(["dispatch", "send"]),
            people.ids[writer.random.choice(people.names)[0]],
            writer.context(),
        )


def rules_of(seed: int) -> list[str]:
    with hanse.open() as kernel:
        writer = Writer(seed, population(kernel).names)
        return [writer.rule() for _ in range(writer.random.randint(1, 6))]


@settings(max_examples=60, deadline=None)
@given(SEEDS, SEEDS, st.randoms())
def test_the_order_of_rules_never_matters(rules: int, asked: int, shuffle: object) -> None:
    written = rules_of(rules)
    shuffled = list(written)
    shuffle.shuffle(shuffled)  # type: ignore[attr-defined]
    a, b = decide(written, asked), decide(shuffled, asked)
    assert (a.allowed, a.error) == (b.allowed, b.error)
    texts = [written[int(name[4:])] for name in a.rules]
    assert sorted(texts) == sorted(shuffled[int(name[4:])] for name in b.rules)


@settings(max_examples=60, deadline=None)
@given(SEEDS, SEEDS)
def test_a_forbid_that_fires_denies_whatever_else_is_written(rules: int, asked: int) -> None:
    assert not decide([*rules_of(rules), "forbid(principal, action, resource);"], asked).allowed


@settings(max_examples=60, deadline=None)
@given(SEEDS, SEEDS)
def test_nothing_is_allowed_but_by_a_permit_that_fired(rules: int, asked: int) -> None:
    written = rules_of(rules)
    decision = decide(written, asked)
    if decision.allowed:
        assert decision.rules
        assert all(written[int(name[4:])].startswith("permit") for name in decision.rules)
    forbids = [rule for rule in written if rule.startswith("forbid")]
    assert not decide(forbids or ["forbid(principal, action, resource);"], asked).allowed


@settings(max_examples=60, deadline=None)
@given(SEEDS, SEEDS)
def test_an_error_never_permits(rules: int, asked: int) -> None:
    broken = "permit(principal, action, resource) when { context.nowhere == 1 };"
    decision = decide([*rules_of(rules), broken], asked)
    assert decision.error
    assert not decision.allowed


def test_cedar_s_json_is_loaded_as_its_text_is() -> None:
    cedarpy = pytest.importorskip("cedarpy")
    with hanse.open() as kernel:
        people = population(kernel)
        for seed in range(60):
            writer = Writer(seed, people.names)
            text = writer.policies()
            request = {
                "principal": "ada",
                "action": "dispatch",
                "resource": "bot",
                "context": writer.context(),
            }
            text = load(kernel, text)
            by_text = hanse_answer(people, request)
            kernel.policy.load(cedarpy.policies_to_json_str(text + KEEP))
            by_json = hanse_answer(people, request)
            assert (by_text.allowed, by_text.error) == (by_json.allowed, by_json.error), text


@pytest.mark.parametrize(
    "json",
    [
        {},
        "{",
        "{}",
        {"staticPolicies": {"a": 5}},
        {"staticPolicies": {"a": {"effect": "allow"}}},
        {"staticPolicies": {}, "templates": {"t": {}}},
        {"staticPolicies": {"a": {"effect": "permit", "principal": {"op": "like"}}}},
    ],
)
def test_json_that_is_no_policy_is_refused(json: object) -> None:
    with hanse.open() as kernel, pytest.raises(hanse.InvalidError) as caught:
        kernel.policy.load(json)  # type: ignore[arg-type]
    assert caught.value.name == "PolicyCompileError"


@pytest.mark.slow
def test_a_million_requests_are_answered_as_cedar_answers_them() -> None:
    pytest.importorskip("cedarpy")
    for first in range(0, 5_000, 100):
        tally = tally_of(range(first, first + 100), 200)
        assert not tally.differences, "\n\n".join(tally.differences[:3])
        assert tally.requests == 20_000
