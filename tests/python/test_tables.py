"""Numbers that callers compile in are the same in C++, C and Python."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hanse
import hanse.errors
from hanse import _core

SOURCE = Path(__file__).resolve().parents[2] / "src" / "cpp"
ERROR_ROW = re.compile(r'X\((\d{4}), (\w+), "(\w+)", (\w+)\)')


def errors_in_cpp() -> list[tuple[int, str, str, str]]:
    """(number, name in C++, public name, kind), in the order of the table."""
    rows = ERROR_ROW.findall((SOURCE / "base" / "error.hpp").read_text())
    return [(int(number), cpp, public, kind) for number, cpp, public, kind in rows]


def enum_in_cpp(path: str, name: str) -> dict[str, int]:
    """Members of `enum class name` that have a number, or rows X(number, name)."""
    text = (SOURCE / path).read_text()
    if rows := re.findall(r"X\((\d+), (\w+)\)", text):
        return {member: int(number) for number, member in rows}
    body = re.search(rf"enum class {name}\b[^{{]*\{{(.*?)\}};", text, re.DOTALL)
    assert body, f"{path} has no enum {name}"
    return {member: int(n) for member, n in re.findall(r"(\w+) = (\d+)", body[1])}


def numbers_in_c(prefix: str) -> dict[str, int]:
    """The enumerators hanse_<prefix>_<name> of hanse_error.h."""
    text = (SOURCE / "c" / "hanse_error.h").read_text()
    found = re.findall(rf"\bhanse_{prefix}_(\w+) = (-?\d+)", text)
    return {name: int(number) for name, number in found}


def test_error_numbers_and_names_are_unique_and_grouped_by_kind() -> None:
    rows = errors_in_cpp()
    assert len(rows) > 50
    for column in range(3):
        assert len({row[column] for row in rows}) == len(rows)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    kinds = {
        "invalid": "1", "not_found": "20", "conflict": "21", "denied": "3", "budget": "4",
        "busy": "5", "timeout": "5", "storage": "6", "latent": "70", "device": "71",
        "internal": "9",
    }  # fmt: skip
    assert [row for row in rows if not str(row[0]).startswith(kinds[row[3]])] == []


def test_errors_are_the_same_in_cpp_and_python() -> None:
    python = [(number, name) for number, name, _ in _core.error_codes()]
    assert python == [(number, public) for number, _, public, _ in errors_in_cpp()]


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        ("InvalidError", ValueError),
        ("NotFoundError", LookupError),
        ("ConflictError", Exception),
        ("DeniedError", PermissionError),
        ("BudgetError", Exception),
        ("BusyError", Exception),
        ("TimedOutError", TimeoutError),
        ("StorageError", OSError),
        ("LatentError", Exception),
        ("DeviceError", Exception),
        ("InternalError", Exception),
    ],
)
def test_each_class_is_a_hanse_error_and_the_builtin_that_a_reader_expects(
    kind: str, builtin: type[Exception]
) -> None:
    assert kind in {row[2] for row in _core.error_codes()}
    cls = getattr(hanse.errors, kind)
    assert issubclass(cls, hanse.errors.HanseError)
    assert issubclass(cls, builtin)


def test_errors_are_the_same_in_cpp_and_c() -> None:
    assert numbers_in_c("error") == {cpp: number for number, cpp, _, _ in errors_in_cpp()}


def test_outcomes_are_the_same_in_cpp_c_and_python() -> None:
    in_cpp = enum_in_cpp("base/outcome.hpp", "Outcome")
    assert {member.name: int(member) for member in hanse.Outcome} == in_cpp
    assert numbers_in_c("outcome") == in_cpp


def test_transfer_outcomes_are_the_same_in_cpp_and_python() -> None:
    in_cpp = enum_in_cpp("ledger/transfer.hpp", "TransferOutcome")
    in_python = {member.name: int(member) for member in hanse.TransferOutcome}
    assert in_python == in_cpp
