"""A day of work: ten humans, a hundred teams, ten thousand agents, in simulated time.

python examples/day.py                     the report, and day.html beside it
python examples/day.py --agents 300 --teams 6 --humans 2 --tasks 600
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from pathlib import Path

import numpy as np

import hanse

DAY_START, HOUR = 1_700_006_400 * 10**9, 3_600 * 10**9
CLASSES = ("research", "writing", "outreach")
PRICES = (100, 2_000)  # micro-dollars a task, small and large tier
CAN = (0.70, 0.98)  # the share of tasks that a tier solves


@dataclass
class Firm:
    """Who works here."""

    humans: list[int]
    teams: list[int]
    agents: np.ndarray
    workers: tuple[np.ndarray, np.ndarray]


def found(kernel: hanse.Kernel, humans: int, teams: int, agents: int) -> Firm:
    """Humans lead teams, teams hold agents; one agent in ten is of the large tier."""
    people = [kernel.agents.add(f"human {i}", kind="human") for i in range(humans)]
    groups = [
        kernel.agents.add(f"team {i}", kind="group", parent=people[i % humans])
        for i in range(teams)
    ]
    per_team = agents // teams
    ids = np.concatenate([kernel.agents.add_many(per_team, parent=team) for team in groups])
    tier = (np.arange(len(ids)) % 10 == 9).astype(np.uint8)
    vectors = np.random.default_rng(1).standard_normal((len(ids), 16)).astype(np.float32)
    kernel.capabilities.publish(ids, vectors, price=0, tier=tier)
    for level, price in enumerate(PRICES):
        kernel.ledger.set_rates(tier=level, output=price * 1_000_000)
    for team in groups:
        kernel.ledger.fund(team, 40_000 if team == groups[0] else 10_000_000)
    for person in people:
        kernel.people.set_attention(person, 20)
    return Firm(people, groups, ids, (ids[tier == 0], ids[tier == 1]))


def attempt(kernel: hanse.Kernel, me: hanse.AgentView, tasks: np.ndarray, hard: np.ndarray,
            tier: int) -> np.ndarray:  # fmt: skip
    """The workers complete, the requester judges; returns those that were not solved."""
    names = b"".join(sha256(b"%d" % task).digest() for task in tasks.tolist())
    usage = np.zeros((len(tasks), 4), np.uint64)
    usage[:, 3] = 1
    kernel.complete_many(tasks, np.frombuffer(names, np.uint8).reshape(-1, 32), usage)
    solved = hard < CAN[tier]
    me.accept_many(tasks[solved])
    me.reject_many(tasks[~solved])
    return ~solved


def work(kernel: hanse.Kernel, firm: Firm, router: hanse.Router, team: int, count: int,
         name: str, dice: np.random.Generator, refused: dict[str, int]) -> None:  # fmt: skip
    """One batch of one team. Outreach leaves the firm, so a person must approve it first."""
    me = kernel.as_agent(team)
    tier = router.choose(name)
    to = dice.choice(firm.workers[tier], count)
    approval = {"approval": "outreach needs a person"} if name == "outreach" else {}
    receipts = me.dispatch_many(to=to, budgets=4_200, task_class=name, **approval)
    for status in receipts.status[(receipts.status != 0) & (receipts.status != 24)].tolist():
        why = hanse.Outcome(status).name
        refused[why] = refused.get(why, 0) + 1
    tasks = receipts.tasks[receipts.status == hanse.Outcome.ok]
    hard = dice.random(len(tasks))
    failed = attempt(kernel, me, tasks, hard, tier) if len(tasks) else np.zeros(0, bool)
    if failed.any() and router.above(tier) is not None:
        up = me.escalate_many(tasks[failed], to=dice.choice(firm.workers[1], int(failed.sum())))
        ok = up.status == hanse.Outcome.ok
        lost = attempt(kernel, me, tasks[failed][ok], hard[failed][ok], 1)
        me.void_many(tasks[failed][ok][lost])


def approve(kernel: hanse.Kernel, firm: Firm) -> int:
    """Each human but the last answers what waits; returns how many requests that settled."""
    settled = 0
    for person in firm.humans[:-1]:
        for item in kernel.inbox(person):
            allowed = kernel.as_agent(person).answer(item, True)
            settled += len(allowed)
            for task in allowed:
                at = kernel.tasks.get(task)
                artifact = sha256(b"%d" % task).digest()
                kernel.complete(task, artifact=artifact, usage=hanse.Usage(0, 0, 0, 1))
                kernel.as_agent(at.requester).accept(task)
    return settled


def live(kernel: hanse.Kernel, clock: hanse.ManualClock, firm: Firm, tasks: int, seed: int) -> dict:
    """Eight hours. Returns what a manager asks for in the evening."""
    dice, refused = np.random.default_rng(seed), dict[str, int]()
    router = hanse.Router(kernel, tiers=(0, 1), prices=PRICES, seed=seed)
    batch = max(1, tasks // (8 * len(firm.teams) * len(CLASSES)))
    settled = 0
    for hour in range(8):
        clock.set(DAY_START + hour * HOUR)
        for team in firm.teams:
            for name in CLASSES:
                work(kernel, firm, router, team, batch, name, dice, refused)
        settled += approve(kernel, firm)
    classes = {name: kernel.tasks.cost(task_class=name) for name in CLASSES}
    hours = [kernel.tasks.cost(since_ns=DAY_START + h * HOUR, until_ns=DAY_START + (h + 1) * HOUR)
             for h in range(8)]  # fmt: skip
    teams = {kernel.agents.get(t).name: kernel.tasks.cost(team=t) for t in firm.teams}
    waiting = {kernel.agents.get(p).name: kernel.inbox(p) for p in firm.humans}
    return {"all": kernel.tasks.cost(), "classes": classes, "hours": hours, "teams": teams,
            "refused": refused, "approved": settled,
            "waiting": {who: items for who, items in waiting.items() if items},
            "routing": router.report(CLASSES[:2]), "totals": kernel.ledger.totals()}  # fmt: skip


def lines(day: dict) -> list[str]:
    """What a manager reads."""
    money = lambda amount: "-" if amount is None else f"${amount / 1e6:,.4f}"  # noqa: E731
    whole = day["all"]
    text = [f"{whole.tasks:,} tasks, {whole.accepted:,} artifacts accepted, "
            f"{money(whole.spend)} spent: {money(whole.per_accepted)} an artifact",
            "", "what an artifact costs"]  # fmt: skip
    text += [f"  {name:<10} {money(cost.per_accepted):>10}   {cost.accepted:>7,} accepted of "
             f"{cost.tasks:,}" for name, cost in day["classes"].items()]  # fmt: skip
    top = sorted(day["teams"].items(), key=lambda row: -row[1].spend)[:5]
    text += ["", "where the money went (five teams of most)"]
    text += [f"  {name:<10} {money(cost.spend):>10}" for name, cost in top]
    text += ["", "what was refused, and why"]
    text += [f"  {why:<20} {count:>7,}" for why, count in sorted(day["refused"].items())] or ["  -"]
    text += ["", f"people approved {day['approved']:,} requests; what waits for them"]
    text += [f"  {who:<10} {len(item):>7,} x {item.rule} ({item.task_class})"
             for who, items in day["waiting"].items() for item in items]  # fmt: skip
    routing = day["routing"]
    if routing.saving is not None:
        text += ["", f"small first saved {float(routing.saving):.2f} times; the law says "
                 f"{float(routing.law):.2f}"]  # fmt: skip
    return text


def bars(title: str, values: dict[str, float]) -> str:
    """A plot in plain SVG: nothing is fetched."""
    most = max(values.values(), default=0) or 1
    rows = "".join(
        f'<text x="0" y="{22 * i + 15}">{escape(name)}</text>'
        f'<rect x="110" y="{22 * i + 3}" width="{480 * value / most:.1f}" height="15"/>'
        f'<text x="{116 + 480 * value / most:.1f}" y="{22 * i + 15}">{value:,.4g}</text>'
        for i, (name, value) in enumerate(values.items())
    )
    return f'<h2>{escape(title)}</h2><svg width="700" height="{22 * len(values) + 8}">{rows}</svg>'


def page(day: dict) -> str:
    """The same as one HTML page."""
    plots = [
        bars("micro-dollars an artifact, by class",
             {name: cost.per_accepted or 0 for name, cost in day["classes"].items()}),
        bars("dollars by hour", {f"{h + 9}:00": c.spend / 1e6 for h, c in enumerate(day["hours"])}),
        bars("dollars by team (ten of most)", {name: cost.spend / 1e6 for name, cost in sorted(
            day["teams"].items(), key=lambda row: -row[1].spend)[:10]}),
        bars("refused", {why: float(count) for why, count in day["refused"].items()}),
    ]  # fmt: skip
    style = "body{font:14px sans-serif;margin:2em}svg text{font-size:12px}rect{fill:#3b7}"
    return ("<!doctype html><meta charset='utf-8'><title>A day of work</title>"
            f"<style>{style}</style><h1>A day of work</h1><pre>{escape(chr(10).join(lines(day)))}"
            f"</pre>{''.join(plots)}")  # fmt: skip


def at_least_one(text: str) -> int:
    """How many, from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"want at least 1, have {number}")
    return number


def main() -> None:
    """Runs the day and writes both reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("humans", 10), ("teams", 100), ("agents", 10_000), ("tasks", 48_000)):
        parser.add_argument(f"--{name}", type=at_least_one, default=default)
    parser.add_argument("--html", type=Path, default=Path("day.html"))
    asked = parser.parse_args()
    clock = hanse.ManualClock(DAY_START)
    with hanse.open(clock=clock) as kernel:
        firm = found(kernel, asked.humans, asked.teams, asked.agents)
        day = live(kernel, clock, firm, asked.tasks, seed=7)
    print("\n".join(lines(day)))
    asked.html.write_text(page(day))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("interrupted: the day was in memory, and nothing was written") from None
