"""What a directory holds, in words: verified, listed, and one task explained."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .journal import Event, verify
from .kernel import Kernel
from .kernel import open as open_kernel
from .ledger import Account
from .outcome import Outcome
from .task import Task

Progress = Callable[[int, int], object]
_INDEX_MASK = 0xFFFFFFFF
_GENERATION = 1 << 32
_NO_INDEX = str(_INDEX_MASK)
VERDICTS = ("accepted", "rejected", "voided")
# An explanation reads the journal from a task's dispatch to its last change, at most so far.
EVENTS_READ_MAX = 1_000_000


def verified(directory: Path, jobs: int = 1, progress: Progress | None = None) -> dict[str, Any]:
    """Every checksum, hash and balance, recomputed. Raises StorageError at the first fault."""
    found = verify(str(directory), progress, jobs=jobs)
    return {
        "events": found.count,
        "segments": found.segments,
        "bytes": found.size_bytes,
        "extents": found.extents,
        "torn_bytes": found.torn_bytes,
        "root": found.root,
        "state_hash": found.state_hash,
        "balanced": found.balanced,
        "snapshots": found.snapshots,
        # Records before this one were dropped; of them the leaves are known, and nothing else.
        "oldest_event": found.oldest,
        "folded_from": found.folded_from,
    }


def _time(ns: int) -> str:
    """UTC, to the microsecond."""
    moment = datetime.datetime.fromtimestamp(ns // 1_000_000_000, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{ns % 1_000_000_000 // 1000:06d}Z"


def _name(kernel: Kernel, agent: int) -> str:
    if not agent:
        return "nobody"
    return kernel.agents.get(agent).name or f"#{agent}"


def _named(kernel: Kernel, index: str | int) -> str:
    """Events name agents by index; the low half of an id."""
    return _name(kernel, int(index) & _INDEX_MASK | _GENERATION)


def _outcome(number: str) -> str:
    return Outcome(int(number)).name.replace("_", " ")


def _heading(text: str) -> None:
    print(f"\n{text}")


def _account_line(kernel: Kernel, account: Account) -> str:
    whose = f"{_name(kernel, account.owner)} {account.purpose}"
    return (
        f"  {whose:<44} {account.unit:<10} debits {account.debits_posted:,} "
        f"(+{account.debits_pending:,} held)  credits {account.credits_posted:,} "
        f"(+{account.credits_pending:,} held)"
    )


def _turnover(account: Account) -> int:
    return account.debits_posted + account.credits_posted


def _event_line(event: Event) -> str:
    shown = []
    for name, value in event.fields.items():
        if name in ("body", "key") or "[" in name or value == _NO_INDEX:
            continue
        shown.append(f"{name}={value if len(value) <= 24 else value[:21] + '...'}")
    return f"  {event.position:>8}  {_time(event.time_ns)}  {event.type:<16} {' '.join(shown)}"


def _show_tasks(kernel: Kernel, limit: int) -> None:
    total = kernel.tasks.economics()
    count = kernel.tasks.count()
    _heading(
        f"tasks: {count:,}; {total.accepted:,} accepted, {total.rejected:,} rejected, "
        f"{total.escalated:,} escalated, {total.voided:,} voided, {total.expired:,} expired; "
        f"spend {total.spend:,}"
    )
    for index in range(max(0, count - limit), count):
        task = kernel.tasks.get(index | _GENERATION)
        print(
            f"  {index:>8}  {task.state:<10} attempt {task.attempt}  tier {task.tier}  "
            f"spent {task.spent:,} of {task.budget:,} {task.unit}  {_name(kernel, task.worker)}"
        )


def show(directory: Path, limit: int) -> None:
    """Agents, accounts, tasks and last events, at most `limit` of each."""
    with open_kernel(str(directory), read_only=True) as kernel:
        print(f"{directory}: {kernel.journal.count:,} events, Merkle root {kernel.journal.root}")
        print(f"state hash {kernel.state_hash}, policy epoch {kernel.policy.epoch}")

        count = kernel.agents.count()
        _heading(f"agents: {count:,}")
        for index in range(min(limit, count)):
            agent = kernel.agents.get(index | _GENERATION)
            parent = _name(kernel, agent.parent) if agent.parent else "none"
            live = "" if agent.live else "  revoked"
            print(f"  {index:>8}  {agent.kind:<6} {agent.name or '-':<48} parent {parent}{live}")

        accounts = sorted(kernel.ledger.accounts(), key=_turnover, reverse=True)
        _heading(f"accounts: {len(accounts):,}, by turnover")
        for account in accounts[:limit]:
            print(_account_line(kernel, account))

        _show_tasks(kernel, limit)
        last = kernel.journal.count
        _heading("last events")
        for event in kernel.journal.events(max(0, last - limit), last):
            print(_event_line(event))


def _events_of(kernel: Kernel, task: Task) -> Iterator[Event]:
    """The events that moved a task, in order."""
    index = str(task.id & _INDEX_MASK)
    stop = min(task.changed_at + 1, task.dispatched_at + EVENTS_READ_MAX)
    yield kernel.journal.event(task.dispatched_at)
    for event in kernel.journal.events(task.dispatched_at + 1, stop):
        several = (value for name, value in event.fields.items() if name.startswith("tasks["))
        if event.type in ("completed", "judged", "escalated"):
            if event.fields["task"] == index:
                yield event
        elif event.type in ("expired", "redelivered") and index in several:
            yield event


def _print_choice(kernel: Kernel, event: Event) -> None:
    """The candidates that were looked at, in order, and the rules that decided."""
    fields = event.fields
    for number in range(int(fields.get("considered", "0"))):
        agent = fields[f"considered[{number}].agent"]
        score = float(fields[f"considered[{number}].score"])
        outcome = _outcome(fields[f"considered[{number}].outcome"])
        verdict = "chosen" if outcome == "ok" else outcome
        print(
            f"            candidate {number + 1}: {_named(kernel, agent)}, {score:.4f}, {verdict}"
        )
    numbers = [int(fields[f"rules[{each}]"]) for each in range(int(fields.get("rules", "0")))]
    epoch = int(fields["epoch"])
    names = [rule.name for rule in kernel.policy.rules()] if epoch == kernel.policy.epoch else []
    fired = [names[each] if each < len(names) else f"rule number {each}" for each in numbers]
    print(f"            rules that fired: {', '.join(fired) or 'none'} (epoch {epoch})")


def _transition(kernel: Kernel, event: Event) -> str:
    fields = event.fields
    if event.type in ("dispatched", "tasked", "tasked_unpaid"):
        paid = sum(
            int(fields[f"reads[{each}].amount"]) for each in range(int(fields.get("reads", "0")))
        )
        return (
            f"dispatched to {_named(kernel, fields['worker'])}, tier {fields['tier']}, "
            f"price {int(fields['price']):,}, reserved {int(fields['budget']):,}"
            + (f", of which {paid:,} for reading latents" if paid else "")
            + (" once it is allowed" if event.type == "tasked_unpaid" else "")
        )
    if event.type == "escalated":
        return (
            f"escalated to {_named(kernel, fields['worker'])}, tier {fields['tier']}, "
            f"price {int(fields['price']):,}, reserved {int(fields['reserved']):,}"
        )
    if event.type == "completed":
        return (
            f"completed, usage cost {int(fields['cost']):,} (fresh {fields['fresh']}, cache read "
            f"{fields['cache_read']}, cache write {fields['cache_write']}, output "
            f"{fields['output']}), artifact {fields['artifact'][:16]}"
        )
    if event.type == "judged":
        fee = int(fields["fee"])
        shared = f", fee {fee:,} of which the house {int(fields['house']):,}" if fee else ""
        return VERDICTS[int(fields["verdict"])] + shared
    return event.type


def explain(directory: Path, number: int) -> None:
    """Why a task went where it went, transition by transition, and what it cost."""
    with open_kernel(str(directory), read_only=True) as kernel:
        task = kernel.tasks.get(number)
        print(f"task {task.id} (number {task.id & _INDEX_MASK}): {task.state}")
        print(f"  requester  {_name(kernel, task.requester)}")
        print(f"  worker     {_name(kernel, task.worker)}, attempt {task.attempt}")
        print(f"  verifier   {_name(kernel, task.verifier)}")
        text = task.payload.decode("utf-8", "replace")
        print(f"  payload    {len(task.payload):,} bytes: {text[:160]!r}")
        for latent in task.latents:
            print(
                f"  latent     {latent.content[:16]}: {latent.tokens} tokens, "
                f"{latent.size_bytes:,} bytes"
            )
        print(
            f"  money      budget {task.budget:,}, spent {task.spent:,}, "
            f"price {task.price:,} {task.unit}"
        )
        print(f"  usage      {task.usage}")
        print("  events")
        for event in _events_of(kernel, task):
            line = _transition(kernel, event)
            print(f"    {event.position:>6}  {_time(event.time_ns)}  {line}")
            if event.type in ("dispatched", "tasked", "tasked_unpaid", "escalated"):
                _print_choice(kernel, event)
        if task.changed_at - task.dispatched_at >= EVENTS_READ_MAX:
            print(f"    … and more after {EVENTS_READ_MAX:,} events; last at {task.changed_at}")
