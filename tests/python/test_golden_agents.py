"""The golden journal of agents, tasks and people reads as written, and is written again."""

import json
from pathlib import Path
from shutil import copytree

import pytest

import hanse
from tests.golden.make import facts
from tests.golden.make_agents import make

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "agents"
EXPECTED = json.loads(GOLDEN.with_suffix(".json").read_text())


def test_the_golden_agents_reads_as_it_was_written(tmp_path: Path) -> None:
    copy = copytree(GOLDEN, tmp_path / "golden")
    with hanse.open(copy, read_only=True) as kernel:
        assert json.loads(json.dumps(facts(kernel))) == EXPECTED
    assert hanse.verify(copy).state_hash == EXPECTED["state_hashes"]["all"]


def test_the_golden_agents_holds_every_type_of_event_of_agents_and_tasks() -> None:
    every = "identity_changed agent_moved agent_narrowed reclaimed steered rated role_set"
    every += " reputation_terms tasked task_started task_returned task_verified task_unknown"
    every += " cancelled approval_answered attention_set"
    assert set(EXPECTED["events"]) >= set(every.split())


def test_this_build_writes_the_golden_agents_byte_for_byte(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="signatures need the extra sign")
    assert json.loads(json.dumps(make(tmp_path / "again"))) == EXPECTED
    for path in GOLDEN.iterdir():
        if path.is_file():
            assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name
