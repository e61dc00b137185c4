"""What the run came to: one object for machines, one table for people. Arithmetic only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed; 0 where there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = max(1, -(-int(share * 1_000_000) * len(ordered) // 1_000_000))
    return ordered[rank - 1]


def saving_law(price_ratio: float, escalation_share: float) -> float:
    """How many times cheaper small-first is when `escalation_share` of the tasks go on to large."""
    return 1.0 / (1.0 / price_ratio + escalation_share)


def hit_rate(found: Iterable[Sequence[int]], wanted: Sequence[int], k: int) -> float:
    """Share of rows whose first k entries hold the wanted one."""
    hits = sum(want in list(row[:k]) for row, want in zip(found, wanted, strict=True))
    return hits / len(wanted) if wanted else 0.0


@dataclass(slots=True)
class TierFigures:
    """What one tier did; `spend` in the smallest part of the unit."""

    agents: int = 0
    dispatched: int = 0
    accepted: int = 0
    rejected: int = 0
    spend: int = 0

    def json(self) -> dict[str, int]:
        return {
            "agents": self.agents,
            "dispatched": self.dispatched,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "spend": self.spend,
        }


@dataclass(slots=True)
class Report:
    """Every figure of a run."""

    python: str = ""
    population_digest: str = ""
    callables: int = 0
    copies: int = 0
    packages: int = 0
    files: int = 0
    inspected_modules: int = 0
    tasks: int = 0
    hit_at_1: float = 0
    hit_at_10: float = 0
    hit_at_1_masked: float = 0
    hit_at_10_masked: float = 0
    match_rate: float = 0
    dispatch_rate: float = 0
    dispatch_p50_us: float = 0
    dispatch_p99_us: float = 0
    dispatch_singles: int = 0
    dispatch_batch: int = 0
    flush_p50_us: float = 0
    small: TierFigures = field(default_factory=TierFigures)
    large: TierFigures = field(default_factory=TierFigures)
    price_ratio: int = 0
    spend: int = 0
    # What the same tasks would have cost had they all gone to the large tier, in millionths.
    spend_all_large_micro: int = 0
    accepted_all_large: int = 0
    cost_per_accepted: int | None = None
    cache_read_share: float = 0
    refusals: Counter[str] = field(default_factory=Counter)
    sent_again: int = 0
    diverted: int = 0
    context_reads: int = 0
    context_bytes: int = 0
    debits: int = 0
    credits: int = 0
    unit: str = "usd_micro"
    journal_bytes: int = 0
    events: int = 0
    root: str = ""
    state_hash: str = ""
    directory: str = ""
    kept: bool = False
    verified_seconds: float = 0
    memory_peak_bytes: int = 0
    seconds: float = 0

    @property
    def agents(self) -> int:
        """All that published an offer."""
        return self.callables + self.copies + self.large.agents

    @property
    def chance_at_1(self) -> float:
        """hit@1 of a guess among the callables."""
        return 1.0 / self.callables if self.callables else 0.0

    @property
    def accepted(self) -> int:
        """Tasks whose artifact was accepted, at either tier."""
        return self.small.accepted + self.large.accepted

    @property
    def escalation_share(self) -> float:
        """Of the tasks that were dispatched, how many went on to the large tier."""
        return self.large.dispatched / self.small.dispatched if self.small.dispatched else 0.0

    @property
    def saving(self) -> float:
        """Spend with every task sent to the large tier, over what was spent."""
        if not self.spend:
            return 0.0
        return float(Fraction(self.spend_all_large_micro, self.spend * 1_000_000))

    @property
    def saving_by_law(self) -> float:
        """What the law says, given the share that escalated."""
        if not self.small.dispatched:
            return 0.0
        return saving_law(self.price_ratio, self.escalation_share)

    @property
    def balanced(self) -> bool:
        """Debits equal credits."""
        return self.debits == self.credits

    def json(self) -> dict[str, Any]:
        """The object of `--json`; its keys are a promise."""
        return {
            "agents": self.agents,
            "tasks": self.tasks,
            "hit_at_1": round(self.hit_at_1, 4),
            "hit_at_10": round(self.hit_at_10, 4),
            "hit_at_1_masked": round(self.hit_at_1_masked, 4),
            "dispatch": {
                "rate": round(self.dispatch_rate, 1),
                "p50_us": round(self.dispatch_p50_us, 1),
                "p99_us": round(self.dispatch_p99_us, 1),
            },
            "tiers": {"small": self.small.json(), "large": self.large.json()},
            "saving": round(self.saving, 4),
            "cost_per_accepted": self.cost_per_accepted,
            "cache_read_share": round(self.cache_read_share, 4),
            "refusals": dict(sorted(self.refusals.items())),
            "debits": self.debits,
            "credits": self.credits,
            "journal_bytes": self.journal_bytes,
            "root": self.root,
            "state_hash": self.state_hash,
            "seconds": round(self.seconds, 2),
        }


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.2f} GiB"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def _tier_line(figures: TierFigures, unit: str) -> str:
    return (
        f"{figures.dispatched:,} dispatched, {figures.accepted:,} accepted "
        f"({_share(figures.accepted, figures.dispatched)}), {figures.spend:,} {unit}"
    )


def lines(report: Report) -> list[tuple[str, str]]:
    """(what, figure) in the order of the table."""
    unit = "µ$" if report.unit == "usd_micro" else report.unit
    per = report.cost_per_accepted
    refused = ", ".join(f"{reason} {count:,}" for reason, count in sorted(report.refusals.items()))
    return [
        ("population", f"Python {report.python}, {report.files:,} sources, "
                       f"{report.inspected_modules:,} compiled modules, "
                       f"sha256 {report.population_digest}"),
        ("agents", f"{report.agents:,} ({report.callables:,} callables, {report.copies:,} copies, "
                   f"{report.large.agents:,} generalists)"),
        ("tasks", f"{report.tasks:,}"),
        ("hit@1, hit@10", f"{report.hit_at_1:.3f}, {report.hit_at_10:.3f}"),
        ("  own name masked", f"{report.hit_at_1_masked:.3f}, {report.hit_at_10_masked:.3f}"),
        ("  chance", f"{report.chance_at_1:.6f}, {min(1.0, 10 * report.chance_at_1):.6f}"),
        ("matches", f"{report.match_rate:,.0f}/s"),
        ("dispatches", f"{report.dispatch_rate:,.0f}/s in batches of {report.dispatch_batch:,}"),
        ("  one at a time", f"p50 {report.dispatch_p50_us:,.0f} µs, "
                            f"p99 {report.dispatch_p99_us:,.0f} µs "
                            f"(of {report.dispatch_singles:,}); "
                            f"one flush of this disk alone {report.flush_p50_us:,.0f} µs"),
        ("small", _tier_line(report.small, unit)),
        ("large", _tier_line(report.large, unit)),
        ("accepted", f"{report.accepted:,} of {report.tasks:,} "
                     f"({_share(report.accepted, report.tasks)}); all large: "
                     f"{report.accepted_all_large:,}"),
        ("saving", f"{report.saving:.2f} times against all large; the law "
                   f"1/(1/{report.price_ratio} + {report.escalation_share:.3f}) gives "
                   f"{report.saving_by_law:.2f}"),
        ("cost per accepted", "nothing accepted" if per is None else
                              f"{per:,} {unit} (all spend, {report.spend:,} {unit}, "
                              f"over accepted)"),
        ("cache-read share", f"{report.cache_read_share:.1%} of all tokens read"),
        ("shared context", f"read back by {report.context_reads:,} deliveries, "
                           f"{report.context_bytes:,} bytes stored once"),
        ("refusals", f"{refused or 'none'}; {report.sent_again:,} sent again with a larger budget"),
        ("  passed over by policy", f"{report.diverted:,} tasks went to their next candidate"),
        ("Σ debits = Σ credits", f"{report.debits:,} = {report.credits:,} {unit}"
                                 if report.balanced else
                                 f"{report.debits:,} ≠ {report.credits:,} {unit}"),
        ("journal", f"{report.events:,} events, {_size(report.journal_bytes)}"),
        ("Merkle root", report.root),
        ("state hash", report.state_hash),
        ("reopened and verified", f"same root, same state hash, "
                                  f"in {report.verified_seconds:.1f} s"),
        ("peak memory", _size(report.memory_peak_bytes)),
        ("seconds", f"{report.seconds:.1f}"),
    ]  # fmt: skip


def render(report: Report) -> None:
    """The table on stdout; plain columns where rich is not installed."""
    rows = lines(report)
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for what, figure in rows:
            print(f"{what:<24} {figure}")
        return
    table = Table(title="hanse demo", show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for what, figure in rows:
        table.add_row(what, figure)
    Console().print(table, highlight=False)
