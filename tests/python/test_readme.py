"""README cannot drift: its example runs, its limits are the headers' limits."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SOURCE = ROOT / "src" / "cpp"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_two_commands_stand_in_one_block_and_nothing_else_does() -> None:
    lines = blocks("sh")[1].splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("python3 -m venv .venv && ")
    assert lines[0].endswith("hanse demo")
    assert lines[1].endswith(".venv/bin/pytest")


def test_the_example_has_at_most_20_lines_and_runs(tmp_path: Path) -> None:
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
    ran = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert "same state" in ran.stdout


def test_the_example_of_messages_runs(tmp_path: Path) -> None:
    (example,) = blocks("py")
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
    ran = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == "b'ONE'"
    assert ran.stdout.splitlines()[1].endswith("of 100 have voted")


def constant(file: str, name: str) -> int:
    """The value of an integer constant or a default of a header, from its text."""
    match = re.search(rf"\b{name}\s*=\s*([^;]+);", (SOURCE / file).read_text())
    assert match, f"{file} has no {name}"
    value = re.sub(r"\buint64_t\((\d+)\)", r"\1", match[1])
    value = re.sub(r"(?<=\d)(u|ull)?\b|'", "", value.replace("UINT64_MAX", str(2**64 - 1)))
    assert re.fullmatch(r"[\d\s<*+-]+", value), f"{name} = {match[1]} is not a plain number"
    return int(eval(value))  # digits, shifts and products only: checked above


def in_words(value: int, unit: str) -> str:
    if unit == "size":
        for shift, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
            if value >= 1 << shift and value % (1 << shift) == 0:
                return f"{value >> shift} {name}"
        return f"{value} B"
    return f"{value:,}"


LIMITS = [
    ("task/task.hpp", "payload_size_max", "size"),
    ("task/task.hpp", "payload_inline_max", "size"),
    ("task/task.hpp", "key_size_max", "size"),
    ("task/task.hpp", "task_class_size_max", "size"),
    ("task/task.hpp", "latents_per_task_max", "count"),
    ("agent/agent.hpp", "delegation_depth_max", "count"),
    ("journal/journal.hpp", "record_size_bytes_max", "size"),
    ("kernel/inner.hpp", "transfers_per_record_max", "count"),
    ("mailbox/mailbox.hpp", "payload_size_bytes_max", "size"),
    ("mailbox/mailbox.hpp", "box_capacity_messages", "count"),
    ("mailbox/mailbox.hpp", "message_count_max", "count"),
    ("mailbox/mailbox.hpp", "payload_bytes_max", "size"),
    ("mailbox/mailbox.hpp", "ring_count_max", "count"),
    ("latent/layout.hpp", "latent_page_tokens", "count"),
    ("latent/latent.hpp", "size_bytes_max", "size"),
    ("latent/latent.hpp", "handle_count_max", "count"),
]


@pytest.mark.parametrize(("file", "name", "unit"), LIMITS)
def test_a_limit_in_the_table_is_the_limit_in_the_header(file: str, name: str, unit: str) -> None:
    row = next((line for line in README.splitlines() if f"`{name}`" in line and file in line), "")
    assert row, f"README's table has no row for {name} of {file}"
    assert f"| {in_words(constant(file, name), unit)} |" in row
