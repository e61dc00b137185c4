"""The demo without a kernel: tasks, masks, offers, and the arithmetic of the report."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.demo import market, report, tasks
from hanse.demo.population import Counts, Documented, build

KEYS = (
    *("agents", "tasks", "hit_at_1", "hit_at_10", "hit_at_1_masked", "dispatch", "tiers"),
    *("saving", "cost_per_accepted", "cache_read_share", "refusals", "debits", "credits"),
    *("journal_bytes", "root", "state_hash", "seconds"),
)
REST = "Alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi"


def callables(docs: dict[str, str]) -> list[Documented]:
    return build(list(docs.items()), Counts()).callables


# --- tasks


def test_a_task_is_the_rest_of_a_docstring_that_one_callable_holds():
    found = callables({"a.one": f"Does one thing. {REST}", "b.two": "Does two things. Briefly."})
    assert tasks.derive(found) == [tasks.Task(0, REST)]


def test_a_text_that_two_callables_hold_is_no_task():
    found = callables({"a.one": f"Does one thing. {REST}", "b.two": f"Does two things. {REST} pi"})
    assert [task.text for task in tasks.derive(found)] == [f"{REST} pi"]


def test_a_text_inside_longer_words_of_another_docstring_is_no_task():
    found = callables({"a.one": f"Does one thing. {REST}", "b.two": f"See pre{REST}post here."})
    assert tasks.derive(found) == []


def test_a_task_has_at_least_twelve_words():
    short = " ".join(REST.split(" ")[:11])
    assert tasks.derive(callables({"a.one": f"Does one thing. {short}"})) == []


@given(st.integers(1, 40), st.integers(1, 60))
def test_a_cut_text_is_a_prefix_of_at_most_five_hundred_characters(size, count):
    text = " ".join(["w" * size] * count)
    cut = tasks.cut(text)
    assert len(cut) <= tasks.TEXT_CHARACTERS_MAX
    assert text.startswith(cut)
    assert cut == text or text[len(cut)] == " "


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=4, max_size=30), min_size=1, max_size=6))
def test_candidates_by_runs_miss_no_docstring_that_contains_the_text(docs):
    texts = [" ".join(words) for words in docs]
    index = tasks.RunIndex(texts, 3)
    for words in docs:
        probe = words[:3]
        holders = set(index.holders(probe).tolist())
        assert {row for row, text in enumerate(texts) if " ".join(probe) in text} <= holders


def test_a_sample_is_the_same_for_the_same_seed_and_another_for_another():
    every = [tasks.Task(number, f"text number {number}") for number in range(100)]
    first = tasks.sample(every, 10, 7)
    assert first == tasks.sample(every[::-1], 10, 7)
    assert first != tasks.sample(every, 10, 8)
    assert first == tasks.sample(every, 20, 7)[:10]


@pytest.mark.parametrize(
    ("text", "name", "left"),
    [
        ("Call read_table or pandas.read_table now", "pandas.read_table", "Call _ or _ now"),
        ("This will Read a table of data", "pandas.read_table", "This will _ a _ of data"),
        ("A StringIO is a kind of string", "io.StringIO", "A _ is a kind of _"),
        ("Spread tables, bread", "pandas.read_table", "Spread tables, bread"),
    ],
)
def test_the_own_name_is_masked_qualified_bare_and_in_words(text, name, left):
    assert tasks.masked(text, name) == left


# --- offers


def unit_rows(rows: list[list[float]]) -> np.ndarray:
    matrix = np.array(rows, np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def test_a_generalist_is_the_mean_of_its_members_at_twenty_times_their_price():
    found = callables(
        {"a.x": "Does x " + "y" * 93, "a.y": "Does y " + "z" * 193, "b.z": "Does z now."}
    )
    offers = market.offers_of(found, unit_rows([[1, 0], [0, 1], [1, 0]]))
    assert offers.packages == ["a", "b"]
    assert offers.prices.tolist() == [25, 50, 2]
    assert offers.large_prices.tolist() == [20 * 75 // 2, 20 * 2]
    np.testing.assert_allclose(offers.large_vectors, unit_rows([[1, 1], [1, 0]]), atol=1e-6)


def test_a_generalist_has_every_skill_of_its_members():
    found = callables({"a.x": "Parses the words.", "a.y": "Sorts the words."})
    offers = market.offers_of(found, unit_rows([[1, 0], [0, 1]]))
    assert int(offers.large_skills[0]) == market.skill_mask(("parse", "sort"))


def test_each_keyword_has_a_bit_of_its_own():
    masks = [market.skill_mask((name,)) for name in market.SKILLS]
    assert len(set(market.SKILLS)) == len(masks) == 32
    assert sum(masks) == 2**32 - 1


def test_a_generalist_answers_with_the_member_that_shares_most_of_the_text():
    found = callables(
        {
            "a.far": "Does it. One two three four.",
            "a.near": "Does it. One two three four five six.",
            "b.best": "Does it. Zero one two three four five six seven.",
        }
    )
    vectors = unit_rows([[1, 0], [0, 1], [1, 1]])
    reader = market.Reader(found, market.offers_of(found, vectors), vectors)
    assert reader.best(0, "two three four five", vectors[0]) == 1
    assert reader.best(0, "nothing in common here", vectors[0]) == 0
    assert reader.best(1, "two three four five", vectors[0]) == 2


def test_usage_costs_twenty_times_as_much_at_the_large_tier():
    tokens = {"fresh": 3, "cache_read": 5, "cache_write": 7, "output": 11}
    small = market.usage_cost(tokens, market.SMALL)
    assert small == 3 * 250_000 + 5 * 25_000 + 7 * 312_500 + 11 * 1_000_000
    assert market.usage_cost(tokens, market.LARGE) == 20 * small


# --- report


def test_the_saving_follows_its_law():
    assert report.saving_law(20, 0) == pytest.approx(20)
    assert report.saving_law(20, 0.5) == pytest.approx(1 / 0.55)
    assert report.saving_law(20, 1) < 1


def test_saving_is_spend_at_large_over_spend():
    found = report.Report(spend=100, spend_all_large_micro=250_000_000, price_ratio=20)
    found.small.dispatched, found.large.dispatched = 10, 4
    assert found.saving == 2.5
    assert found.escalation_share == 0.4
    assert found.saving_by_law == pytest.approx(1 / 0.45)


def test_a_report_of_nothing_divides_by_nothing():
    found = report.Report()
    assert (found.saving, found.saving_by_law, found.escalation_share) == (0, 0, 0)
    assert dict(report.lines(found))["cost per accepted"] == "nothing accepted"


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300), st.sampled_from([0.5, 0.99, 1.0]))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values, share):
    found = report.percentile(values, share)
    assert found in values
    assert sum(each <= found for each in values) >= share * len(values)
    below = [each for each in values if each < found]
    assert len(below) < share * len(values)


def test_hits_are_counted_among_the_first_k():
    found = [[3, 1], [2, 5], [7, 8]]
    assert report.hit_rate(found, [3, 5, 9], 1) == pytest.approx(1 / 3)
    assert report.hit_rate(found, [3, 5, 9], 2) == pytest.approx(2 / 3)


def test_the_json_object_has_the_promised_keys():
    found = report.Report()
    found.refusals["denied"] = 3
    row = found.json()
    assert tuple(row) == KEYS
    assert list(row["dispatch"]) == ["rate", "p50_us", "p99_us"]
    assert row["refusals"] == {"denied": 3}
