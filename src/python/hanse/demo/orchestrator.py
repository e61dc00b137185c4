"""The tasks of a scene, driven through a kernel: match, dispatch, work, judge, escalate."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hanse

from .embed import Vectors
from .market import LARGE, MICRO_PER_UNIT, SMALL, usage_cost
from .progress import Progress
from .report import Report, TierFigures, hit_rate
from .scene import DemoError, Options, Scene
from .world import BUDGET, BUDGET_RAISED, World

_MATCH_ROWS = 256
_SINGLES_MAX = 200
HITS = 10


@dataclass(slots=True)
class Wave:
    """Tasks on their way, of one tier: numbers of the tasks and ids given by the kernel."""

    numbers: NDArray[np.int64]
    ids: NDArray[np.uint64]


@dataclass(slots=True)
class Tally:
    """What is counted while the tasks run."""

    dispatch_seconds: float = 0
    dispatched_in_batches: int = 0
    singles: list[float] = field(default_factory=list)
    small: TierFigures = field(default_factory=TierFigures)
    large: TierFigures = field(default_factory=TierFigures)
    outcomes: dict[str, int] = field(default_factory=dict)
    sent_again: int = 0
    diverted: int = 0
    context_reads: int = 0
    # Token kinds of each task as its first worker used them, for the all-large comparison.
    dispatched: list[int] = field(default_factory=list)

    def refuse(self, outcome: int, count: int = 1) -> None:
        """Counts a refusal by the name of its outcome."""
        name = hanse.Outcome(outcome).name
        self.outcomes[name] = self.outcomes.get(name, 0) + count


class Orchestrator:
    """The tasks of a scene, driven through a kernel."""

    def __init__(self, kernel: hanse.Kernel, scene: Scene, there: World, options: Options) -> None:
        self._kernel = kernel
        self._scene = scene
        self._world = there
        self._options = options
        self._me = kernel.as_agent(there.requester)
        self._payloads = [task.text.encode() for task in scene.tasks]
        self._number_of: dict[int, int] = {}
        self._tokens: dict[str, int] = {}
        self._artifact: dict[int, bytes] = {}
        self._cached_tiers: set[int] = set()
        self._first_choice = np.full(len(scene.tasks), -1, np.int64)
        self.tally = Tally()

    # --- quality of the matching

    def _match(
        self, queries: Vectors, tier: int, k: int, name: str, progress: Progress
    ) -> NDArray[np.uint64]:
        found = np.zeros((len(queries), k), np.uint64)
        with progress.stage(name, len(queries)) as stage:
            for begin in range(0, len(queries), _MATCH_ROWS):
                rows = slice(begin, begin + _MATCH_ROWS)
                matches = self._me.match(
                    queries[rows], k=k, tier=tier, threads=self._options.threads
                )
                found[rows] = matches.agents
                stage.advance(len(found[rows]))
        return found

    def measure(self, report: Report, progress: Progress) -> None:
        """hit@1 and hit@10, with and without the callable's own name; copies count as origins."""
        wanted = [task.origin for task in self._scene.tasks]
        begun = time.perf_counter()
        found = self._match(self._scene.queries, SMALL, HITS, "matches measured", progress)
        report.match_rate = len(wanted) / (time.perf_counter() - begun)
        self._first_choice = found[:, 0].astype(np.int64)
        rows = self._world.origins(found).tolist()
        report.hit_at_1 = hit_rate(rows, wanted, 1)
        report.hit_at_10 = hit_rate(rows, wanted, HITS)
        found = self._match(self._scene.queries_masked, SMALL, HITS, "  own name masked", progress)
        rows = self._world.origins(found).tolist()
        report.hit_at_1_masked = hit_rate(rows, wanted, 1)
        report.hit_at_10_masked = hit_rate(rows, wanted, HITS)

    def compare_all_large(self, report: Report, progress: Progress) -> None:
        """What every task that was dispatched would have cost at the large tier alone.

        The generalist is found by the same matching and answers as it would have; nothing of it
        is dispatched.
        """
        numbers = np.array(self.tally.dispatched, np.int64)
        found = self._match(self._scene.queries[numbers], LARGE, 1, "compared with large", progress)
        index = (found[:, 0] & np.uint64(0xFFFFFFFF)).astype(np.int64)
        total = 0
        for number, package in zip(numbers, self._world.package_of[index], strict=True):
            answer = self._answer_large(int(number), int(package))
            total += usage_cost(self._usage(int(number), answer, cached=True), LARGE)
            if self._scene.tasks[number].text in answer:
                report.accepted_all_large += 1
                total += int(self._scene.offers.large_prices[package]) * MICRO_PER_UNIT
        report.spend_all_large_micro = total

    # --- what the workers do

    def _token_count(self, text: str) -> int:
        count = self._tokens.get(text)
        if count is None:
            count = self._tokens[text] = self._scene.embedder.token_count(text)
        return count

    def _answer_large(self, number: int, package: int) -> str:
        task = self._scene.tasks[number]
        row = self._scene.reader.best(package, task.text, self._scene.queries[number])
        return self._scene.callables[row].doc

    def _usage(self, number: int, answer: str, *, cached: bool) -> dict[str, int]:
        """Tokens by the embedding model's own tokenizer. The context is written once a tier."""
        context = self._world.context_kv.shape[2]
        return {
            "fresh": self._token_count(self._scene.tasks[number].text),
            "cache_read": context if cached else 0,
            "cache_write": 0 if cached else context,
            "output": self._token_count(answer),
        }

    def _work(self, delivery: Any, tier: int) -> tuple[str, dict[str, int]]:
        """One worker, one task: reads its context by handle, answers, counts its tokens."""
        number = self._number_of[delivery.task]
        if bytes(delivery.payload) != self._payloads[number]:
            raise DemoError(f"task {delivery.task} was delivered with another payload", 1)
        (context,) = delivery.latents
        if not np.array_equal(context.read(), self._world.context_kv):
            raise DemoError(f"task {delivery.task} was delivered with another context", 1)
        self.tally.context_reads += 1
        index = delivery.worker & 0xFFFFFFFF
        if tier == SMALL:
            answer = self._scene.callables[int(self._world.origin_of[index])].doc
        else:
            answer = self._answer_large(number, int(self._world.package_of[index]))
        usage = self._usage(number, answer, cached=tier in self._cached_tiers)
        self._cached_tiers.add(tier)
        return answer, usage

    def _deliveries(self, count: int) -> Iterator[Any]:
        """The next `count` tasks that the kernel hands out."""
        left = count
        while left:
            batch = self._kernel.drain(max_messages=left)
            if not batch.tasks:
                raise DemoError(f"{left} dispatched tasks were not delivered", 1)
            yield from batch.tasks
            left -= len(batch.tasks)

    # --- what the requester does

    def _key(self, number: int, budget: int) -> bytes:
        """A refusal uses its key up, so the second request has one of its own."""
        return f"task-{number}-{budget}".encode()

    def _send(self, numbers: NDArray[np.int64], budget: int) -> Wave:
        """One batch of dispatches. What policy refuses is sent again, once, with more budget."""
        begun = time.perf_counter()
        receipts = self._me.dispatch_many(
            budgets=budget,
            queries=np.ascontiguousarray(self._scene.queries[numbers]),
            payloads=[self._payloads[number] for number in numbers],
            keys=[self._key(number, budget) for number in numbers],
            task_class="find",
            latents=[self._world.context],
            tier=SMALL,
            verify=True,
        )
        self.tally.dispatch_seconds += time.perf_counter() - begun
        self.tally.dispatched_in_batches += len(numbers)
        sent = receipts.status == hanse.Outcome.ok
        for status in receipts.status[~sent]:
            self.tally.refuse(int(status))
        wave = self._accept_receipts(numbers[sent], receipts.tasks[sent], receipts.agents[sent])
        denied = numbers[receipts.status == hanse.Outcome.denied]
        if len(denied) and budget < BUDGET_RAISED:
            self.tally.sent_again += len(denied)
            again = self._send(denied, BUDGET_RAISED)
            wave = Wave(
                np.concatenate([wave.numbers, again.numbers]), np.concatenate([wave.ids, again.ids])
            )
        return wave

    def _accept_receipts(
        self, numbers: NDArray[np.int64], ids: NDArray[np.uint64], agents: NDArray[np.uint64]
    ) -> Wave:
        self._number_of.update(zip(ids.tolist(), numbers.tolist(), strict=True))
        self.tally.dispatched += numbers.tolist()
        self.tally.small.dispatched += len(numbers)
        self.tally.diverted += int((agents.astype(np.int64) != self._first_choice[numbers]).sum())
        return Wave(numbers, ids)

    def _send_one(self, number: int) -> Wave:
        """A dispatch on its own, timed; what policy refuses is sent again with more budget."""
        begun = time.perf_counter()
        receipt = None
        try:
            receipt = self._me.dispatch(
                budget=BUDGET,
                query=self._scene.queries[number],
                payload=self._payloads[number],
                key=self._key(number, BUDGET),
                task_class="find",
                latents=[self._world.context],
                tier=SMALL,
                verify=True,
            )
        except hanse.errors.DeniedError as error:
            if error.name != "PolicyDenied":
                raise
        self.tally.singles.append((time.perf_counter() - begun) * 1e6)
        if receipt is None:
            self.tally.refuse(hanse.Outcome.denied)
            self.tally.sent_again += 1
            return self._send(np.array([number]), BUDGET_RAISED)
        return self._accept_receipts(
            np.array([number]),
            np.array([receipt.task], np.uint64),
            np.array([receipt.agent], np.uint64),
        )

    def _settle(self, wave: Wave, tier: int) -> NDArray[np.uint64]:
        """Delivers, works, completes and judges a wave; returns the ids that were rejected."""
        figures = self.tally.small if tier == SMALL else self.tally.large
        ids, artifacts, usage, good = [], [], [], []
        for delivery in self._deliveries(len(wave.ids)):
            answer, tokens = self._work(delivery, tier)
            ids.append(delivery.task)
            artifacts.append(hashlib.sha256(answer.encode()).digest())
            usage.append(list(tokens.values()))
            good.append(self._scene.tasks[self._number_of[delivery.task]].text in answer)
        if not ids:
            return np.empty(0, np.uint64)
        tasks, accept = np.array(ids, np.uint64), np.array(good, bool)
        hashes = np.frombuffer(b"".join(artifacts), np.uint8).reshape(-1, 32)
        done = self._kernel.complete_many(tasks, hashes, np.array(usage, np.uint64))
        complete = self._only_ok(done, tasks)
        self._give_up(tasks[done != hanse.Outcome.ok])
        accept = accept[done == hanse.Outcome.ok]
        right: NDArray[np.uint64] = complete[accept]
        wrong: NDArray[np.uint64] = complete[~accept]
        auditor = self._world.auditor
        if len(right):
            accepted = self._kernel.accept_many(right, verifier=auditor)
            figures.accepted += len(self._only_ok(accepted, right))
        if len(wrong):
            wrong = self._only_ok(self._kernel.reject_many(wrong, verifier=auditor), wrong)
            figures.rejected += len(wrong)
        return wrong

    def _only_ok(
        self, outcomes: NDArray[np.uint8], values: NDArray[np.uint64]
    ) -> NDArray[np.uint64]:
        """The values whose outcome is ok; the others are counted as refusals."""
        ok = outcomes == hanse.Outcome.ok
        for outcome in outcomes[~ok]:
            self.tally.refuse(int(outcome))
        kept: NDArray[np.uint64] = values[ok]
        return kept

    def _escalate(self, tasks: NDArray[np.uint64]) -> Wave:
        """Rejected work goes on to the large tier, in one transition each."""
        numbers = np.array([self._number_of[task] for task in tasks.tolist()], np.int64)
        if not len(tasks):
            return Wave(numbers, tasks)
        receipts = self._me.escalate_many(
            tasks, queries=np.ascontiguousarray(self._scene.queries[numbers]), tier=LARGE
        )
        sent = receipts.status == hanse.Outcome.ok
        self.tally.large.dispatched += int(sent.sum())
        self._give_up(tasks[~sent])
        return Wave(numbers[sent], self._only_ok(receipts.status, tasks))

    def _give_up(self, tasks: NDArray[np.uint64]) -> None:
        """What is still reserved for these tasks goes back to the requester."""
        if len(tasks):
            self._only_ok(self._kernel.void_many(tasks), tasks)

    def _finish(self, wave: Wave) -> None:
        """Small first; what is rejected goes on to large; nobody larger is left after that."""
        rejected = self._settle(wave, SMALL)
        self._give_up(self._settle(self._escalate(rejected), LARGE))

    def run(self, progress: Progress) -> None:
        """Some tasks one at a time, so that a single dispatch is timed; the others in batches."""
        count = len(self._scene.tasks)
        singles = min(_SINGLES_MAX, count // 4)
        with progress.stage("dispatched one at a time", singles) as stage:
            for number in range(singles):
                self._finish(self._send_one(number))
                stage.advance(1)
        with progress.stage("dispatched in batches", count - singles) as stage:
            for begin in range(singles, count, self._options.batch):
                numbers = np.arange(begin, min(begin + self._options.batch, count))
                self._finish(self._send(numbers, BUDGET))
                stage.advance(len(numbers))
