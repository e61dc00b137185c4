"""The history of the books: by account, task, hold and time, paged, at every position, exported."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import hanse
from hanse import EntryKind, _core, cli

START_NS = 1_700_000_000_000_000_000
FIELDS = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")


def snapshot(kernel: hanse.Kernel) -> dict[tuple[int, str, str], tuple[int, ...]]:
    return {
        (a.owner, a.purpose, a.unit): tuple(getattr(a, f) for f in FIELDS)
        for a in kernel.ledger.accounts()
    }


def play(directory: Path) -> tuple[dict[int, dict], dict[str, int]]:
    """A run of everything that moves money, and the accounts as they were after each call."""
    clock = hanse.ManualClock(START_NS)
    seen: dict[int, dict] = {}
    with hanse.open(directory, clock=clock, fee_basis_points=300, background=False) as kernel:
        team = kernel.agents.add("team", kind="group")
        a, b, c = (int(id) for id in kernel.agents.add_many(3, parent=team))
        other = kernel.agents.add("other", kind="group")
        me, ledger = kernel.as_agent(a), kernel.ledger

        def note() -> None:
            seen[kernel.journal.count - 1] = snapshot(kernel)

        def three(task: int) -> None:
            kernel.as_agent(b).complete(task, artifact=task.to_bytes(32, "big"),
                                        usage=hanse.Usage(output=1))  # fmt: skip

        ledger.set_rates(output=2_000_000)
        ledger.fund(a, 10_000)
        ledger.fund(b, 500, unit="gold")
        note()
        kernel.capabilities.publish(
            np.array([b], np.uint64), np.eye(1, 2, dtype=np.float32), price=9
        )
        task = me.dispatch(query=np.eye(1, 2, dtype=np.float32)[0], budget=100).task
        note()
        three(task)
        note()
        me.accept(task)
        note()
        moved = me.dispatch(to=b, budget=200).task
        three(moved)
        me.reject(moved)
        note()
        me.escalate(moved, to=c)
        note()
        me.void(moved)
        me.dispatch(to=c, budget=30, deadline_ns=clock.now_ns + 1000)
        held = ledger.hold_many(
            np.full(3, a, np.uint64), np.array([b, c, other], np.uint64), 40,
            expires_ns=np.array([0, 0, clock.now_ns + 1000], np.uint64),
        )  # fmt: skip
        note()
        clock.advance(2000)
        kernel.tick()
        note()
        ledger.post_many(held.holds[:1], 15)
        note()
        unknown = int(held.holds[1])
        ledger.mark_unknown(unknown)
        ledger.reconcile(unknown, paid=True)
        note()
        ledger.post(ledger.escrow(a, b, 1_000, code=77))
        ledger.transfer(a, other, 5, code=3, user_data_64=8)
        note()
        facts = {"a": a, "b": b, "other": other, "task": task, "unknown": unknown, "team": team}
        live = kernel.state_hashes()["ledger"]
        assert live
    return seen, facts


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, dict]:
    directory = tmp_path_factory.mktemp("history") / "state"
    return directory, *play(directory)


def test_every_account_is_known_as_it_was_at_every_position(played) -> None:
    directory, seen, _ = played
    with hanse.open(directory, read_only=True) as kernel:
        assert len(seen) > 10
        for position, accounts in seen.items():
            known = {
                (a.owner, a.purpose, a.unit): tuple(getattr(a, f) for f in FIELDS)
                for a in kernel.ledger.accounts(at=position)
            }
            for key, counters in known.items():
                assert counters == accounts.get(key, (0, 0, 0, 0)), (position, key)
            for owner, purpose, unit in accounts:
                one = kernel.ledger.account(owner, unit=unit, purpose=purpose, at=position)
                assert tuple(getattr(one, f) for f in FIELDS) == accounts[owner, purpose, unit]
            debits, credits = (sum(c[i] for c in known.values()) for i in (1, 3))
            assert debits == credits
        with pytest.raises(hanse.NotFoundError):
            kernel.ledger.accounts(at=kernel.journal.count)


def test_pages_together_are_the_whole(played) -> None:
    directory, _, _ = played
    with hanse.open(directory, read_only=True) as kernel:
        told: list[tuple[int, int]] = []
        whole = kernel.ledger.export_columns(progress=lambda done, of: told.append((done, of)))
        assert told[-1] == (kernel.journal.count, kernel.journal.count)
        assert (np.diff(whole["position"].astype(np.int64)) >= 0).all()
        pages = list(kernel.ledger.entry_pages(limit=3))
        assert max(map(len, pages)) == 3
        for name, column in whole.items():
            assert column.flags.c_contiguous
            np.testing.assert_array_equal(np.concatenate([p.columns[name] for p in pages]), column)


def test_entries_are_found_by_account_task_hold_and_time(played) -> None:
    directory, _, facts = played
    with hanse.open(directory, read_only=True) as kernel:
        whole = kernel.ledger.export_columns()
        mine = kernel.ledger.entries(facts["b"], unit="usd_micro")
        want = ((whole["debit"] == facts["b"]) | (whole["credit"] == facts["b"])) & (
            whole["unit"] == 0
        )
        np.testing.assert_array_equal(mine.amount, whole["amount"][want])
        task = kernel.ledger.entries(task=facts["task"])
        kinds = [EntryKind(int(kind)).name for kind in task.kind]
        assert kinds == ["held", "posted", "posted", "released"]
        assert task.amount.tolist() == [100, 2, 9, 89]
        hold = kernel.ledger.entries(hold=facts["unknown"])
        assert [EntryKind(int(kind)).name for kind in hold.kind] == ["held", "posted"]
        noted = kernel.ledger.entries(facts["other"])
        assert (noted.code[-1], noted.user_data_64[-1]) == (3, 8)
        middle = int(whole["time_ns"][len(whole["time_ns"]) // 2])
        early = kernel.ledger.entries(until_ns=middle)
        late = kernel.ledger.entries(since_ns=middle)
        assert len(early) + len(late) == len(whole["time_ns"])
        assert len(kernel.ledger.entries(start=5, stop=5)) == 0


def test_another_tenant_sees_nothing_of_it(played) -> None:
    directory, _, facts = played
    with hanse.open(directory, read_only=True) as kernel:
        token = _core.acting.set(kernel._core.acting_token(facts["other"], 0))
        page = kernel.ledger.entries()
        assert ((page.debit == facts["other"]) | (page.credit == facts["other"])).all()
        with pytest.raises(hanse.NotFoundError):
            kernel.ledger.entries(facts["b"])
        _core.acting.reset(token)


def test_a_history_in_memory_alone_is_refused() -> None:
    with hanse.open() as kernel, pytest.raises(hanse.NotFoundError) as caught:
        kernel.ledger.entries()
    assert caught.value.name == "UnknownEvent"


@pytest.mark.parametrize("limit", [0, 65_537, -1])
def test_a_page_has_a_bound(played, limit: int) -> None:
    with hanse.open(played[0], read_only=True) as kernel, pytest.raises(hanse.InvalidError):
        kernel.ledger.entries(limit=limit)


def test_the_export_can_be_summed_in_sql_and_is_never_overwritten(played, tmp_path) -> None:
    directory, _, facts = played
    target = tmp_path / "report.sqlite"
    with hanse.open(directory, read_only=True) as kernel:
        count = kernel.ledger.export_sqlite(target)
        balance = kernel.ledger.balance(facts["b"])
        with pytest.raises(hanse.InvalidError):
            kernel.ledger.export_sqlite(target)
    with sqlite3.connect(target) as database:
        assert database.execute("SELECT count(*) FROM entry").fetchone() == (count,)
        moved = "SELECT coalesce(sum(amount), 0) FROM entry WHERE kind IN (0, 1, 3) AND unit = 0"
        (credited,) = database.execute(f"{moved} AND credit = ?", (facts["b"],)).fetchone()
        assert credited == balance
        (available,) = database.execute(
            "SELECT available FROM account WHERE owner = ? AND unit = 'usd_micro'", (facts["b"],)
        ).fetchone()
        assert available == balance
    database.close()


def test_the_command_shows_accounts_entries_and_exports(played, tmp_path, capsys) -> None:
    directory, seen, facts = played
    assert cli.main(["ledger", str(directory), "accounts", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["accounts"]
    assert {row["owner"] for row in rows} >= {facts["a"], facts["b"]}
    at = str(min(seen))
    assert cli.main(["ledger", str(directory), "accounts", "--at", at]) == 0
    assert "available" in capsys.readouterr().out
    arguments = ["entries", "--agent", str(facts["a"]), "--limit", "2"]
    assert cli.main(["ledger", str(directory), *arguments, "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert len(page["entries"]) == 2
    assert page["entries"][0]["kind"] == "funded"
    assert cli.main(["ledger", str(directory), *arguments]) == 0
    assert f"more: --after {page['next']}" in capsys.readouterr().out
    file = tmp_path / "books.sqlite"
    assert cli.main(["ledger", str(directory), "export", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] > 10
    assert cli.main(["ledger", str(directory), "export", str(file)]) == 2
    assert "exists already" in capsys.readouterr().err
