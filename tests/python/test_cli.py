"""The command: what each subcommand says, and how it refuses."""

import io
import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import hanse
from hanse import cli

pytest.importorskip("wordllama", reason="the demo needs wordllama")
from hanse.demo import orchestrator, population, report

# Enough of the standard library for a few hundred agents.
SOURCES = ("argparse.py", "email", "logging", "unittest", "asyncio", "inspect.py", "typing.py")


def small_population() -> population.Population:
    root = Path(sysconfig.get_path("stdlib"))
    paths = [path for name in SOURCES for path in (root / name, *(root / name).rglob("*.py"))]
    found = []
    for path in sorted(each for each in paths if each.is_file()):
        tree = population.ast.parse(path.read_bytes())
        found += population.documented(tree, population.module_name(path, root))
    return population.build(found, population.Counts(files=len(paths)))


@pytest.fixture(autouse=True)
def few_agents(monkeypatch):
    monkeypatch.setattr(population, "collect", small_population)


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """A directory that a run has left, and the object that the run printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population, "collect", small_population)
        directory = tmp_path_factory.mktemp("demo") / "state"
        out = io.StringIO()
        patch.setattr(sys, "stdout", out)
        assert cli.main(["demo", "--json", "--dir", str(directory), "--tasks", "60"]) == 0
    return directory, json.loads(out.getvalue().splitlines()[-1])


def refused(capsys, *arguments: str) -> str:
    """The one line on stderr of a command that exits with 2."""
    try:
        status = cli.main(list(arguments))
    except SystemExit as exit:
        status = exit.code
    assert status == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("hanse: ")
    return line


# --- demo


def test_a_run_reports_every_promised_figure(state):
    _, row = state
    assert list(row) == list(report.Report().json())
    assert row["tasks"] == 60
    assert row["debits"] == row["credits"] > 0
    assert row["hit_at_10"] >= row["hit_at_1"] > row["hit_at_1_masked"] >= 0
    small, large = row["tiers"]["small"], row["tiers"]["large"]
    assert row["agents"] == small["agents"] + large["agents"]
    assert small["dispatched"] == 60
    assert small["accepted"] + small["rejected"] == 60
    assert large["dispatched"] == small["rejected"]
    assert large["accepted"] + large["rejected"] == large["dispatched"]
    assert row["cost_per_accepted"] == (small["spend"] + large["spend"]) // (
        small["accepted"] + large["accepted"]
    )
    assert 0 < row["cache_read_share"] < 1
    assert row["saving"] > 0
    assert row["refusals"]["denied"] > 0


def test_the_books_and_the_counts_of_the_kernel_agree_with_the_report(state):
    directory, row = state
    with hanse.open(directory, read_only=True) as kernel:
        total = kernel.tasks.economics()
        assert kernel.tasks.count() == row["tasks"]
        assert total.accepted == sum(tier["accepted"] for tier in row["tiers"].values())
        assert total.spend == sum(tier["spend"] for tier in row["tiers"].values())
        assert kernel.ledger.totals().debits_pending == 0
        refusals = [each for each in kernel.journal.events() if each.type == "refused"]
        assert len(refusals) == row["refusals"]["denied"]


def test_the_same_seed_gives_the_same_verdicts_and_spend_in_other_batches(state, tmp_path, capsys):
    _, first = state
    arguments = ["demo", "--json", "--dir", str(tmp_path / "again"), "--tasks", "60"]
    assert cli.main([*arguments, "--batch", "7"]) == 0
    second = json.loads(capsys.readouterr().out.splitlines()[-1])
    for key in ("agents", "tasks", "hit_at_1", "hit_at_10", "refusals", "cost_per_accepted"):
        assert second[key] == first[key], key
    for tier in ("small", "large"):
        # What a tier costs may differ by the remainders of fractions, which the payer carries on in
        # the order of completions; their sum may not.
        assert {**second["tiers"][tier], "spend": 0} == {**first["tiers"][tier], "spend": 0}
    assert second["debits"] == first["debits"]


def test_copies_are_scored_by_their_origin(capsys):
    count = len(small_population().callables)
    assert cli.main(["demo", "--json", "--agents", str(3 * count), "--tasks", "40"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert row["tiers"]["small"]["agents"] == 3 * count
    assert row["hit_at_10"] > 0.2


def test_fewer_agents_than_callables_are_a_sample(capsys):
    assert cli.main(["demo", "--json", "--agents", "150", "--tasks", "20"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert row["tiers"]["small"]["agents"] == 150


def test_people_get_a_table(capsys):
    assert cli.main(["demo", "--tasks", "20"]) == 0
    out = capsys.readouterr().out
    for word in ("hit@1", "chance", "saving", "cost per accepted", "Merkle root", "state hash"):
        assert word in out


def test_a_directory_with_a_state_is_refused_and_left_alone(state, capsys):
    directory, row = state
    line = refused(capsys, "demo", "--dir", str(directory))
    assert "already holds a hanse state" in line
    assert hanse.verify(directory).root == row["root"]


def test_a_directory_with_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    assert "is not empty" in refused(capsys, "demo", "--dir", str(tmp_path))


@pytest.mark.parametrize("command", [["demo", "--dir"], ["verify"], ["show"]])
def test_a_file_is_no_directory(command, tmp_path, capsys):
    path = tmp_path / "file"
    path.write_text("")
    line = refused(capsys, *command, str(path))
    assert str(path) in line


def test_a_missing_model_is_one_line_that_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wordllama", None)
    assert "hanse[demo]" in refused(capsys, "demo")


def test_an_interrupt_leaves_a_state_that_verifies(tmp_path, monkeypatch, capsys):
    settle = orchestrator.Orchestrator._settle
    calls = 0

    def interrupted(self, wave, tier):
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt
        return settle(self, wave, tier)

    monkeypatch.setattr(orchestrator.Orchestrator, "_settle", interrupted)
    directory = tmp_path / "state"
    assert cli.main(["demo", "--json", "--tasks", "60", "--dir", str(directory)]) == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.splitlines()[-1]
    assert last.startswith("hanse: interrupted")
    assert str(directory) in last
    found = hanse.verify(directory)
    assert found.balanced
    with hanse.open(directory) as kernel:
        # What was on its way is handed out again.
        assert [task.attempt for task in kernel.drain().tasks] == [2]


# --- verify, show, explain, doctor


def test_verify_says_what_the_run_said(state, capsys):
    directory, row = state
    assert cli.main(["verify", "--json", str(directory)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["root"], found["state_hash"]) == (row["root"], row["state_hash"])
    assert found["balanced"] is True


def test_verify_names_a_flipped_bit_and_exits_with_1(state, tmp_path, capsys):
    directory, _ = state
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(directory), str(copy)], check=True)
    segment = min(copy.glob("segment-*"))
    flipped = bytearray(segment.read_bytes())
    flipped[len(flipped) // 8] ^= 1
    segment.write_bytes(flipped)
    assert cli.main(["verify", str(copy)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "LogCorrupt" in line
    assert segment.name in line


def test_show_lists_agents_accounts_tasks_and_events(state, capsys):
    directory, row = state
    assert cli.main(["show", str(directory), "--limit", "4"]) == 0
    out = capsys.readouterr().out
    for word in ("agents:", "accounts:", "tasks: 60", "last events", row["root"]):
        assert word in out


def test_explain_follows_a_task_from_its_candidates_to_its_money(state, capsys):
    directory, _ = state
    with hanse.open(directory, read_only=True) as kernel:
        tasks = [kernel.tasks.get(1 << 32 | index) for index in range(60)]
    task = next(each for each in tasks if each.state == "voided")
    assert cli.main(["explain", str(directory), str(task.id)]) == 0
    out = capsys.readouterr().out
    for word in ("candidate 1", "chosen", "open-market", "rejected", "escalated to", "voided"):
        assert word in out
    assert f"spent {task.spent:,}" in out
    assert str(task.dispatched_at) in out
    assert cli.main(["explain", str(directory), str(task.id & 0xFFFFFFFF)]) == 0
    assert capsys.readouterr().out == out


def test_a_task_passed_over_by_policy_shows_the_candidate_that_was_denied(state, capsys):
    directory, _ = state
    with hanse.open(directory, read_only=True) as kernel:
        passed = [
            event
            for event in kernel.journal.events()
            if event.type == "refused" and int(event.fields["considered"]) > 1
        ]
    assert passed
    assert int(passed[0].fields["rules"]) == 1


def test_an_unknown_task_is_one_line(state, capsys):
    directory, _ = state
    assert "UnknownTask" in refused(capsys, "explain", str(directory), "999999")


@pytest.mark.parametrize("command", [["verify"], ["show"], ["explain"]])
def test_a_missing_directory_is_one_line_and_is_not_created(command, tmp_path, capsys):
    missing = tmp_path / "nowhere"
    rest = ["0"] if command == ["explain"] else []
    assert "no such directory" in refused(capsys, *command, str(missing), *rest)
    assert not missing.exists()


@pytest.mark.parametrize("command", [["verify"], ["show"]])
def test_an_empty_directory_is_left_empty(command, tmp_path, capsys):
    assert cli.main([*command, str(tmp_path)]) in (1, 2)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_doctor_names_the_instruction_set_and_the_disk(capsys):
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cpu_level"] in ("baseline", "avx2", "avx512", "neon")
    assert found["flush_p50_us"] > 0
    assert cli.main(["doctor", "--gpu"]) == (0 if found["device_usable"] else 1)


# --- the command line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["demo", "--agents", "none"],
        ["demo", "--agents", "1"],
        ["demo", "--tasks", "0"],
        ["demo", "--batch", "9000"],
        ["demo", "--seed", "-1"],
        ["demo", "--threads", "0"],
        ["verify"],
        ["explain", "."],
        ["explain", ".", "first"],
        ["explain", ".", "-1"],
        ["show", ".", "--limit", "0"],
    ],
)
def test_bad_arguments_are_one_line(arguments, capsys):
    assert "--help" in refused(capsys, *arguments)


@pytest.mark.parametrize("command", ["demo", "verify", "show", "explain", "doctor"])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main([command, "--help"])
    assert exit.value.code == 0
    out = capsys.readouterr().out
    assert "example" in out
    assert f"hanse {command}" in out


def test_the_command_never_shows_a_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "hanse.cli", "demo", "--dir", "/dev/null/state"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_importing_the_package_imports_neither_the_demo_nor_its_extras():
    code = (
        "import sys, hanse, hanse.cli; "
        "print([n for n in ('hanse.demo', 'rich', 'wordllama', 'asyncio') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
