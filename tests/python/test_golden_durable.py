"""The golden journal of durable boxes is read as it was, and written the same again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import hanse
from tests.golden.make_durable import NAME, facts, make

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
EXPECTED = json.loads((GOLDEN / f"{NAME}.json").read_text())


def test_the_golden_journal_of_durable_boxes_reads_as_it_was_written(tmp_path):
    copy = Path(shutil.copytree(GOLDEN / NAME, tmp_path / "copy"))
    with hanse.open(copy, read_only=True) as kernel:
        assert json.loads(json.dumps(facts(kernel))) == EXPECTED
    verified = hanse.verify(copy)
    assert (verified.count, verified.root) == (EXPECTED["count"], EXPECTED["root"])
    assert verified.state_hash == EXPECTED["state_hashes"]["all"]


def test_it_holds_every_record_of_durable_boxes():
    assert {"durable_declared", "durable_committed", "durable_returned"} <= set(EXPECTED["events"])
    assert EXPECTED["dead"]["first"][0][:3] == [2, 2, "expired"]
    assert EXPECTED["dead"]["gone"][0][2] == "revoked"
    assert EXPECTED["boxes"]["first"]["acknowledged"] == 1


def test_this_build_writes_it_byte_for_byte(tmp_path):
    again = tmp_path / "again"
    assert json.loads(json.dumps(make(again))) == EXPECTED
    files = [path for path in (GOLDEN / NAME).rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert (again / path.relative_to(GOLDEN / NAME)).read_bytes() == path.read_bytes(), path
