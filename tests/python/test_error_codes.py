"""Each error code is provoked through the face, here or in a test named here, or listed as one that
can't be, with the reason."""

import re
from pathlib import Path

from hanse import _core

HERE = Path(__file__).parent

# Codes that no call from Python can bring about.
OUT_OF_REACH = {
    "UnknownTier": "reserved: a tier is any number of 0 … 255, so an unknown one has no offers",
    "UnitMismatch": "accounts are named by agent and unit, so both sides are of one unit",
    "BatchAborted": "an atomic batch answers by element: the outcome aborted",
    "AmountOverflow": "",
    "LatentCorrupt": "reserved: pages live in memory alone, and are never altered",
    "PositionOverlap": "",
    "StorageFailed": "a failing disk: tests/cpp/journal_crash_test.cpp",
    "LogFull": "a full disk: tests/cpp/journal_crash_test.cpp",
    "Poisoned": "what follows a failing disk: tests/cpp/journal_crash_test.cpp",
    "DeviceFailed": "needs a device",
    "Invariant": "a bug of ours",
}


def provoked() -> set[str]:
    """Code names that tests of the face assert on."""
    names = {name for _, name, _ in _core.error_codes()}
    found: set[str] = set()
    for path in HERE.glob("test_*.py"):
        if path.name != Path(__file__).name:
            found |= set(re.findall(r'"(\w+)"', path.read_text())) & names
    return found


def test_every_code_is_provoked_by_a_test_or_has_a_reason_why_not() -> None:
    names = {name for _, name, _ in _core.error_codes()}
    print(sorted(names - provoked() - set(OUT_OF_REACH)))
    print(sorted(provoked() & set(OUT_OF_REACH)))
    assert provoked() | set(OUT_OF_REACH) == names
