"""The measuring itself: contenders take turns, medians are taken, nothing missing is hidden."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.case import Case, Contest, Peer, Settings, each, measure, p50, peer, rate
from bench.limits import Limits
from bench.report import json_line, number, print_plain

LIMITS = Limits(memcpy_gb_per_s=10.0, fdatasync_p50_us=100.0, cache_line_round_trip_ns=90.0)
SETTINGS = Settings(quick=True, directory=Path("."), limits=LIMITS)


def scripted(log: list[str], name: str, values: list[float]) -> Callable[[], float]:
    """A contender that answers with these values in turn and notes that it was called."""
    left = iter(values)

    def sample() -> float:
        log.append(name)
        return next(left)

    return sample


def a_case(contest: Contest, better: str = "higher") -> Case:
    @contextlib.contextmanager
    def set_up(settings: Settings) -> Iterator[Contest]:
        yield contest

    return Case("mailbox", "storm", "?", "M/s", better, set_up)  # type: ignore[arg-type]


def test_contenders_are_checked_warmed_and_then_take_turns() -> None:
    log: list[str] = []
    contest = Contest(
        hanse=scripted(log, "a", [99, 1, 9, 5]),
        check=lambda: log.append("check"),
        peers=[Peer("b", scripted(log, "b", [99, 2, 2, 4]))],
        limit="wire",
        limit_sample=scripted(log, "l", [99, 10, 10, 10]),
    )
    (result,) = measure(a_case(contest), SETTINGS)
    assert log == ["check", *"abl" * 4]
    assert (result.value, result.peer_value, result.limit_value) == (5, 2, 10)
    assert result.ratio == 2.5


def test_where_lower_is_better_the_ratio_says_how_many_times_faster() -> None:
    contest = Contest(lambda: 10.0, lambda: None, [Peer("b", lambda: 40.0)])
    (result,) = measure(a_case(contest, "lower"), SETTINGS)
    assert result.ratio == 4


def test_a_wrong_answer_stops_a_case_before_it_is_timed() -> None:
    def wrong() -> None:
        raise AssertionError("wrong answer")

    timed: list[str] = []
    contest = Contest(scripted(timed, "a", [1.0]), wrong)
    with pytest.raises(AssertionError, match="wrong answer"):
        list(measure(a_case(contest), SETTINGS))
    assert timed == []


def test_a_peer_that_is_not_installed_is_named_as_missing() -> None:
    absent = peer("Nowhere MQ", lambda: 1.0, requires="a_module_that_no_one_has")
    present = peer("json", lambda: 1.0, requires="json")
    contest = Contest(lambda: 2.0, lambda: None, [absent, present])
    missing, found = measure(a_case(contest), SETTINGS)
    assert (missing.peer, missing.peer_value, missing.ratio) == ("Nowhere MQ (missing)", None, None)
    assert (found.peer, found.peer_value, found.ratio) == ("json", 1.0, 2.0)


def test_a_json_line_has_the_agreed_fields_and_no_nan() -> None:
    contest = Contest(lambda: 2.0, lambda: None, limit="x", limit_sample=float("nan"))
    (result,) = measure(a_case(contest), SETTINGS)
    line = json.loads(json_line(result), parse_constant=lambda name: pytest.fail(name))
    assert line == {
        "bench": "mailbox", "case": "storm", "value": 2.0, "unit": "M/s", "peer": None,
        "peer_value": None, "ratio": None, "limit": "x", "limit_value": None,
    }  # fmt: skip


def test_a_plain_table_is_aligned_and_cuts_nothing() -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_plain([("case", "value"), ("a long name", number(1234567.0)), ("b", number(None))])
    assert out.getvalue() == "case         value\na long name  1,234,567\nb            –\n"


@pytest.mark.parametrize("sample", [rate(5, lambda: None), each(5, lambda: None)])
def test_a_timed_sample_is_positive(sample: Callable[[], float]) -> None:
    assert sample() > 0


def test_a_median_sample_calls_once_for_each_number() -> None:
    seen: list[int] = []
    p50(4, seen.append)()
    assert seen == [0, 1, 2, 3]
