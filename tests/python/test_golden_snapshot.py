"""A journal with a snapshot that was written once and is kept: it is read as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import hanse
from tests.golden.make_snapshot import make_snapshot

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
EXPECTED = json.loads((GOLDEN / "snapshot-1.json").read_text())
FORMAT_OFFSET, CRC_OFFSET, HEADER = 12, 8, 4096


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "snapshot-1", tmp_path / "golden"))


def test_the_golden_snapshot_reads_as_it_was_written(copy: Path) -> None:
    with hanse.open(copy, read_only=True) as kernel:
        status = kernel.journal.status()
        assert status.replayed_from == EXPECTED["snapshots"][0][0]
        assert (status.count, status.oldest) == (EXPECTED["count"], EXPECTED["oldest"])
        assert kernel.journal.root == EXPECTED["root"]
        assert kernel.state_hashes() == EXPECTED["state_hashes"]
        assert list(kernel.journal.prove(3).path) == EXPECTED["proof_of_3"]
    assert hanse.verify(copy, jobs=2).state_hash == EXPECTED["state_hashes"]["all"]


def test_this_build_writes_the_golden_snapshot_byte_for_byte(tmp_path: Path) -> None:
    facts = json.loads(json.dumps(make_snapshot(tmp_path / "again")))
    # One more stays after a compaction than did when the golden was written.
    newest = facts.pop("snapshots")[: len(EXPECTED["snapshots"])]
    assert {**facts, "snapshots": newest} == EXPECTED
    for path in (GOLDEN / "snapshot-1").rglob("*"):
        if path.is_file():
            again = tmp_path / "again" / path.relative_to(GOLDEN / "snapshot-1")
            assert again.read_bytes() == path.read_bytes(), path.name


def test_a_snapshot_of_a_newer_format_is_refused_by_verify_and_passed_over(copy: Path) -> None:
    newest = sorted((copy / "snapshots").iterdir())[-1]
    data = bytearray(newest.read_bytes())
    data[FORMAT_OFFSET] += 1
    data[CRC_OFFSET : CRC_OFFSET + 4] = bytes(4)
    data[CRC_OFFSET : CRC_OFFSET + 4] = crc32c(bytes(data[:HEADER])).to_bytes(4, "little")
    newest.write_bytes(data)
    with pytest.raises(hanse.StorageError) as caught:
        hanse.verify(copy)
    assert caught.value.name == "LogVersion"
    assert newest.name in caught.value.field
    with hanse.open(copy, read_only=True) as kernel:
        assert kernel.journal.status().replayed_from == EXPECTED["snapshots"][1][0]
        assert kernel.state_hashes() == EXPECTED["state_hashes"]
