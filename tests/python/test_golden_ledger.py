"""The golden journal of the ledger's later records reads as written, and is written again."""

import json
from pathlib import Path
from shutil import copytree

import hanse
from tests.golden.make import facts
from tests.golden.make_ledger import make

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "ledger"
EXPECTED = json.loads(GOLDEN.with_suffix(".json").read_text())


def test_the_golden_ledger_reads_as_it_was_written(tmp_path: Path) -> None:
    copy = copytree(GOLDEN, tmp_path / "golden")
    with hanse.open(copy, read_only=True) as kernel:
        assert json.loads(json.dumps(facts(kernel))) == EXPECTED
    assert hanse.verify(copy).state_hash == EXPECTED["state_hashes"]["all"]


def test_the_golden_ledger_holds_every_type_of_event_of_the_ledger() -> None:
    assert set(EXPECTED["events"]) >= {"moved", "account_opened", "budget_set", "settled"}


def test_this_build_writes_the_golden_ledger_byte_for_byte(tmp_path: Path) -> None:
    assert json.loads(json.dumps(make(tmp_path / "again"))) == EXPECTED
    for path in GOLDEN.iterdir():
        if path.is_file():
            assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name
