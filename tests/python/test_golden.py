"""A journal that was written once and is kept: it is read as it was, or its damage is found."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

import hanse
from tests.golden.make import facts, make

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
EXPECTED = json.loads((GOLDEN / "format-1.json").read_text())
FILES = sorted(
    str(path.relative_to(GOLDEN / "format-1"))
    for path in (GOLDEN / "format-1").rglob("*")
    if path.is_file()
)
SEGMENTS = [name for name in FILES if name.startswith("segment-")]
# The one that records go into, and the empty one that waits behind it.
ACTIVE, SPARE = SEGMENTS[-2:]
IN_USE = [name for name in FILES if name != SPARE]
SAMPLE = 64
SEED = 64


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy that may be written to."""
    return Path(shutil.copytree(GOLDEN / "format-1", tmp_path / "golden"))


def read(directory: Path) -> dict[str, object]:
    with hanse.open(directory, read_only=True) as kernel:
        return json.loads(json.dumps(facts(kernel)))


def test_the_golden_journal_reads_as_it_was_written(copy):
    assert read(copy) == EXPECTED
    verified = hanse.verify(copy)
    assert verified.balanced
    assert (verified.count, verified.root) == (EXPECTED["count"], EXPECTED["root"])
    assert verified.state_hash == EXPECTED["state_hashes"]["all"]


def test_the_golden_journal_holds_every_type_of_event():
    every = "genesis agents_added agent_revoked space_created published withdrawn policy_loaded"
    every += " funded rates_set transferred dispatched refused completed judged escalated expired"
    every += " redelivered"  # refusals_counted needs a thousand refusals first
    assert set(EXPECTED["events"]) == set(every.split())


def test_this_build_writes_the_golden_journal_byte_for_byte(tmp_path):
    assert json.loads(json.dumps(make(tmp_path / "again"))) == EXPECTED
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (
            GOLDEN / "format-1" / name
        ).read_bytes(), name


def test_the_golden_journal_goes_on(copy):
    unfinished = [task[0] for task in EXPECTED["tasks"] if task[1] == "dispatched"]
    with hanse.open(copy) as kernel:
        assert kernel.journal.root_at(EXPECTED["count"]) == EXPECTED["root"]
        again = kernel.drain().tasks
        assert [task.task for task in again] == unfinished
        assert kernel.journal.event(EXPECTED["count"]).type == "redelivered"
        buyer = kernel.agents.find("team")
        kernel.ledger.fund(buyer, 1)
    assert hanse.verify(copy).balanced


def located(error: hanse.StorageError, name: str, what: str) -> None:
    """It names the file, and the place where it is not the whole file that fails."""
    assert error.name == "LogCorrupt", f"{what}: {error}"
    assert name in error.field or Path(name).stem in str(error), f"{what}: {error}"
    assert "offset" in error.detail or name.startswith("extents"), f"{what}: {error}"


def refused(directory: Path, name: str, what: str) -> bool:
    """Whether reading finds the damage and says where; else nothing but padding was hit."""
    try:
        with hanse.open(directory, read_only=True) as kernel:
            found = kernel.journal.root, kernel.state_hash
            kernel.tasks.get(EXPECTED["tasks"][0][0])  # its payload is the extent
    except hanse.StorageError as error:
        located(error, name, what)
        return True
    assert found == (EXPECTED["root"], EXPECTED["state_hashes"]["all"]), (
        f"{what} was read as something else"
    )
    return False


@pytest.mark.parametrize("name", IN_USE)
def test_a_flipped_bit_is_found_or_harmless(name, copy):
    path = copy / name
    sound = path.read_bytes()
    places = random.Random(SEED).sample(range(len(sound)), SAMPLE)
    found = 0
    for place in places:
        for bit in range(8):
            damaged = bytearray(sound)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            found += refused(copy, name, f"{name}: bit {bit} of byte {place}")
    # Behind the last record there is only padding; elsewhere every bit counts.
    assert 0 < found < 8 * SAMPLE if name == ACTIVE else found == 8 * SAMPLE


@pytest.mark.parametrize("name", IN_USE)
@pytest.mark.parametrize("length", [0, 1, 4096, 4097])
def test_a_truncated_file_is_found(name, length, copy):
    path = copy / name
    sound = path.read_bytes()
    path.write_bytes(sound[: min(length, len(sound) - 1)])
    assert refused(copy, name, f"{name} cut to {length}")


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"\0" * (1 << 16)])
def test_whatever_is_in_the_spare_segment_changes_nothing(content, copy):
    (copy / SPARE).write_bytes(content)
    assert not refused(copy, SPARE, "the spare")
    (copy / SPARE).unlink()
    assert not refused(copy, SPARE, "no spare")


@pytest.mark.parametrize("name", IN_USE)
def test_a_missing_file_is_found(name, copy):
    (copy / name).unlink()
    with pytest.raises(hanse.StorageError) as failure:
        read(copy)
    assert failure.value.name in ("LogCorrupt", "ExtentMissing", "UnusableDirectory")


@pytest.mark.parametrize("name", SEGMENTS[:-1])
def test_a_segment_in_the_place_of_another_is_found(name, copy):
    other = SEGMENTS[SEGMENTS.index(name) - 1]
    (copy / name).write_bytes((GOLDEN / "format-1" / other).read_bytes())
    assert refused(copy, name, f"{other} in the place of {name}")
