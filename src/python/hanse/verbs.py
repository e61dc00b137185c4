"""Everything that an agent can do: match, dispatch, and the transitions of a task."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Unpack

import numpy as np
from numpy.typing import NDArray

from . import _core
from .capability import Matches, matches_of
from .errors import HanseError
from .latent import Latent
from .ledger import Usage
from .lifecycle import Conditions, TaskVerbs, add_conditions
from .messaging import MessageVerbs, rows_and_sizes
from .outcome import Outcome
from .reasons import refuse, refuse_outcome
from .search import Filters, Rankings, Skills, as_skills
from .task import Receipt, Receipts, receipt_of, receipts_of

if TYPE_CHECKING:
    pass

__all__ = ["Verbs"]

Tier = int | tuple[int, int]
Payloads = NDArray[np.uint8] | tuple[NDArray[np.uint8], NDArray[np.uint32]] | Sequence[bytes] | None

_ACCEPT, _REJECT, _VOID = range(3)
_NO_USAGE = Usage()


def key_bytes(key: bytes | str | None, field: str = "key") -> bytes | None:
    """A key as bytes: text in UTF-8. An empty key is none at all, so it is refused."""
    if key is None:
        return None
    if isinstance(key, str):
        try:
            key = key.encode()
        except UnicodeEncodeError:
            refuse("WrongType", field, "want text that UTF-8 can hold")
    if not isinstance(key, bytes):
        refuse("WrongType", field, f"want bytes or str, have {type(key).__name__}")
    if not key:
        refuse("Empty", field, "want 1 … 64 bytes, have 0")
    return key


class Verbs(MessageVerbs, TaskVerbs):
    """The verbs of who acts. Mixed into AgentView and Kernel."""

    __slots__ = ()

    def _terms(
        self,
        *,
        space: str,
        lenient: bool = False,
        max_price: int | None,
        tier: Tier | None,
        skills: Skills | int | None,
        region: int | None,
        tenant: int | None,
        task_class: str = "",
        latents: Sequence[Latent | int] = (),
        unit: str = "usd_micro",
        deadline_ns: int = 0,
        verify: bool = False,
        conditions: Conditions | None = None,
    ) -> _core.Terms:
        kernel = self._owner()
        if isinstance(tier, tuple) and len(tier) != 2:
            refuse("OutOfRange", "tier", f"want one or (lowest, highest), have {len(tier)} numbers")
        low, high = (0, 255) if tier is None else tier if isinstance(tier, tuple) else (tier, tier)
        terms = _core.Terms(
            kernel.capabilities._space(space, lenient),
            max_price,
            low,
            high,
            as_skills(skills),
            region,
            None if tenant is None else kernel._core.tenant_index(tenant),
            task_class,
            latents,
            kernel.ledger._unit(unit),
            deadline_ns,
            verify,
        )
        if conditions:
            add_conditions(terms, conditions)
        return terms

    def match(
        self,
        queries: Any,
        k: int = 10,
        *,
        filter: Filters = None,
        max_price: int | NDArray[np.int64] | None = None,
        tier: Tier | None = None,
        skills: Skills | int | None = None,
        region: int | None = None,
        tenant: int | None = None,
        rank: Rankings = None,
        recall: float = 0.95,
        effort: int | None = None,
        space: str = "default",
        threads: int = 1,
        device: str | None = None,
        stream: Any = None,
        explain: bool = False,
    ) -> Matches:
        """The k best feasible offers for each query; a match is feasible or absent.

        queries: float32[m, dim] or float32[dim] (float16 and, as uint16, bfloat16 are widened).
        filter: hanse.where(…), or a list of one a query, together with: max_price, one or int64[m];
        tier: one, or (lowest, highest); skills: hanse.all_of, any_of, none_of, joined by &, an int
        means all_of; region; tenant: an agent of it. rank: a hanse.Ranking, or one a query.
        recall: the share of the true k best that is wanted on average; 1: exactly these. Small
        spaces and selective filters are exact whatever it says. effort: the width of a walk
        instead, 16 … 4096. explain: also say how, and count why offers were refused.
        device: "cuda" keeps the space's vectors on the device and takes candidates from there; k is
        at most 64 then. queries may lie on a device, by DLPack or __cuda_array_interface__: they
        come over on `stream`, by default CuPy's or torch's current one.
        Always min(k, feasible) results. Raises InvalidError, NotFoundError (UnknownSpace),
        DeviceError.
        """
        if not isinstance(explain, bool):
            refuse("WrongType", "explain", f"want a bool, have a {type(explain).__name__}")
        terms = self._terms(
            space=space,
            max_price=None if isinstance(max_price, np.ndarray) else max_price,
            tier=tier,
            skills=skills,
            region=region,
            tenant=tenant,
        )
        prices = max_price if isinstance(max_price, np.ndarray) else None
        limits = (prices, recall, effort, explain)
        core = self._owner()._core
        place = (device, stream)
        return matches_of(
            core, self._acting(), terms, queries, k, threads, filter, rank, limits, place
        )

    def _raise_refusal(
        self, receipt: Receipt, terms: _core.Terms, budget: int | None = None
    ) -> NoReturn:
        try:
            refuse_outcome(receipt.outcome, "dispatch", receipt.reason, None, receipt.position)
        except HanseError as error:
            if receipt.outcome == Outcome.no_match:
                error.reasons = self._owner()._core.explain_match(self._acting(), terms, budget)
            raise

    def _dispatch(self, wait: bool, options: dict[str, Any]) -> tuple[Receipt, _core.Terms]:
        to, query = options.pop("to"), options.pop("query")
        payload, budget = options.pop("payload"), options.pop("budget")
        key = key_bytes(options.pop("key"))
        if (to is None) == (query is None):
            refuse("OutOfRange", "to", "want either to or query")
        space = options.pop("space")
        terms = self._terms(space=space, lenient=query is None, **options)
        row = self._owner()._core.dispatch(
            self._acting(), terms, to, query, payload, budget, key, wait
        )
        return receipt_of(row), terms

    def dispatch(
        self,
        *,
        budget: int,
        task_class: str = "",
        query: NDArray[np.float32] | None = None,
        to: int | None = None,
        payload: bytes = b"",
        latents: Sequence[Latent | int] = (),
        unit: str = "usd_micro",
        deadline_ns: int = 0,
        key: bytes | str | None = None,
        max_price: int | None = None,
        tier: Tier | None = None,
        skills: Skills | int | None = None,
        region: int | None = None,
        tenant: int | None = None,
        space: str = "default",
        verify: bool = False,
        **conditions: Unpack[Conditions],
    ) -> Receipt:
        """Match, budget, policy, delivery and record in one call, all or nothing.

        to an agent, or to the best match of query (float32[dim]). budget is reserved in full.
        deadline_ns: absolute UNIX time. key: the same key and body give the same receipt again
        (outcome replayed). verify: acceptance needs a verifier. conditions: see hanse.Conditions.
        Where these or a rule ask for approval first, the outcome is pending. Returns when it is
        durable.
        Raises DeniedError, BudgetError, NotFoundError (NoFeasibleAgent, with `reasons`),
        ConflictError, BusyError, InvalidError; the error carries the position of the refusal.
        """
        receipt, terms = self._dispatch(
            True,
            {
                "budget": budget,
                "task_class": task_class,
                "query": query,
                "to": to,
                "payload": payload,
                "latents": latents,
                "unit": unit,
                "deadline_ns": deadline_ns,
                "key": key,
                "max_price": max_price,
                "tier": tier,
                "skills": skills,
                "region": region,
                "tenant": tenant,
                "space": space,
                "verify": verify,
                "conditions": conditions,
            },
        )
        if not receipt.ok and receipt.outcome != Outcome.pending:
            self._raise_refusal(receipt, terms, budget)
        return receipt

    def dispatch_async(
        self,
        *,
        budget: int,
        task_class: str = "",
        query: NDArray[np.float32] | None = None,
        to: int | None = None,
        payload: bytes = b"",
        latents: Sequence[Latent | int] = (),
        unit: str = "usd_micro",
        deadline_ns: int = 0,
        key: bytes | str | None = None,
        max_price: int | None = None,
        tier: Tier | None = None,
        skills: Skills | int | None = None,
        region: int | None = None,
        tenant: int | None = None,
        space: str = "default",
        verify: bool = False,
        **conditions: Unpack[Conditions],
    ) -> Awaitable[Receipt]:
        """As dispatch, without blocking the event loop until it is durable.

        The dispatch happens now, in the order of calls; await the receipt.
        """
        receipt, terms = self._dispatch(
            False,
            {
                "budget": budget,
                "task_class": task_class,
                "query": query,
                "to": to,
                "payload": payload,
                "latents": latents,
                "unit": unit,
                "deadline_ns": deadline_ns,
                "key": key,
                "max_price": max_price,
                "tier": tier,
                "skills": skills,
                "region": region,
                "tenant": tenant,
                "space": space,
                "verify": verify,
                "conditions": conditions,
            },
        )
        return self._durable(receipt, terms, budget)

    async def _durable(self, receipt: Receipt, terms: _core.Terms, budget: int) -> Receipt:
        if receipt.position is not None:
            await self._owner()._durable_at(receipt.position)
        if not receipt.ok and receipt.outcome != Outcome.pending:
            self._raise_refusal(receipt, terms, budget)
        return receipt

    def dispatch_many(
        self,
        *,
        budgets: NDArray[np.uint64] | int,
        queries: NDArray[np.float32] | None = None,
        to: NDArray[np.uint64] | int | None = None,
        payloads: Payloads = None,
        keys: Sequence[bytes | str | None] | None = None,
        task_class: str = "",
        latents: Sequence[Latent | int] = (),
        unit: str = "usd_micro",
        deadline_ns: int = 0,
        max_price: int | None = None,
        tier: Tier | None = None,
        skills: Skills | int | None = None,
        region: int | None = None,
        tenant: int | None = None,
        space: str = "default",
        verify: bool = False,
        atomic: bool = False,
        **conditions: Unpack[Conditions],
    ) -> Receipts:
        """Many dispatches in one flush; refusals are values here.

        budgets uint64[n]; queries float32[n, dim] or to uint64[n] (one of the two arrays); payloads
        uint8[n, w], or (uint8[n, w], sizes uint32[n]), or a sequence of bytes. atomic: all or
        none. Raises InvalidError alone.
        """
        if (to is None) == (queries is None):
            refuse("OutOfRange", "to", "want either to or queries")
        count = _row_count(queries, to, budgets)
        terms = self._terms(
            space=space,
            lenient=queries is None,
            max_price=max_price,
            tier=tier,
            skills=skills,
            region=region,
            tenant=tenant,
            task_class=task_class,
            latents=latents,
            unit=unit,
            deadline_ns=deadline_ns,
            verify=verify,
            conditions=conditions,
        )
        rows, sizes = rows_and_sizes(payloads)
        if keys is not None and not (_is_sequence(keys) or isinstance(keys, np.ndarray)):
            refuse("WrongType", "keys", f"want a sequence of keys, have a {type(keys).__name__}")
        key_rows = None if keys is None else [key_bytes(key, "keys") for key in keys]
        return receipts_of(
            self._owner()._core.dispatch_many(
                self._acting(), terms, count, to, queries, rows, sizes, budgets, key_rows, atomic
            )
        )

    def complete(
        self,
        task: int,
        *,
        artifact: bytes,
        usage: Usage = _NO_USAGE,
        total_tokens: int | None = None,
    ) -> int:
        """The worker is done: artifact is the SHA-256 (32 bytes) of what it made.

        The usage is posted whatever the verdict. total_tokens: must equal the usage's sum
        (InvalidError, UsageInconsistent). Returns the journal position.
        """
        if not isinstance(usage, tuple) or len(usage) != 4:
            refuse("WrongType", "usage", f"want a hanse.Usage, have a {type(usage).__name__}")
        return self._owner()._core.complete(self._acting(), task, artifact, *usage, total_tokens)

    def complete_many(
        self, tasks: NDArray[np.uint64], artifacts: NDArray[np.uint8], usage: NDArray[np.uint64]
    ) -> NDArray[np.uint8]:
        """tasks uint64[n]; artifacts uint8[n, 32]; usage uint64[n, 4] in Usage's order.

        Returns hanse.Outcome numbers, uint8[n].
        """
        return self._owner()._core.complete_many(self._acting(), tasks, artifacts, usage)

    def accept(self, task: int, *, verifier: int | None = None) -> int:
        """Pays the worker's fee and releases the rest. Returns the journal position.

        Raises ConflictError (IllegalTransition, DuplicateArtifact), DeniedError (VerifierRequired).
        """
        return self._owner()._core.judge(self._acting(), task, _ACCEPT, verifier)

    def reject(self, task: int, *, verifier: int | None = None) -> int:
        """No fee is paid; the task can be escalated or voided. Returns the journal position."""
        return self._owner()._core.judge(self._acting(), task, _REJECT, verifier)

    def void(self, task: int) -> int:
        """Ends a task that is not settled and releases the rest. Returns the position."""
        return self._owner()._core.judge(self._acting(), task, _VOID, None)

    def accept_many(
        self, tasks: NDArray[np.uint64], *, verifier: int | None = None
    ) -> NDArray[np.uint8]:
        """tasks uint64[n]. Returns hanse.Outcome numbers, uint8[n]."""
        return self._owner()._core.judge_many(self._acting(), tasks, _ACCEPT, verifier)

    def reject_many(
        self, tasks: NDArray[np.uint64], *, verifier: int | None = None
    ) -> NDArray[np.uint8]:
        """tasks uint64[n]. Returns hanse.Outcome numbers, uint8[n]."""
        return self._owner()._core.judge_many(self._acting(), tasks, _REJECT, verifier)

    def void_many(self, tasks: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """tasks uint64[n]. Returns hanse.Outcome numbers, uint8[n]."""
        return self._owner()._core.judge_many(self._acting(), tasks, _VOID, None)

    def escalate(
        self,
        task: int,
        *,
        to: int | None = None,
        query: NDArray[np.float32] | None = None,
        max_price: int | None = None,
        tier: Tier | None = None,
        skills: Skills | int | None = None,
        region: int | None = None,
        tenant: int | None = None,
        space: str = "default",
    ) -> Receipt:
        """A completed or rejected task goes elsewhere, in one transition: same id, attempt + 1.

        Raises as dispatch.
        """
        if (to is None) == (query is None):
            refuse("OutOfRange", "to", "want either to or query")
        terms = self._terms(
            space=space,
            lenient=query is None,
            max_price=max_price,
            tier=tier,
            skills=skills,
            region=region,
            tenant=tenant,
        )
        row = self._owner()._core.escalate(self._acting(), task, terms, to, query)
        receipt = receipt_of(row)
        if receipt.outcome not in (Outcome.ok, Outcome.replayed):
            self._raise_refusal(receipt, terms)
        return receipt

    def escalate_many(
        self,
        tasks: NDArray[np.uint64],
        *,
        to: NDArray[np.uint64] | int | None = None,
        queries: NDArray[np.float32] | None = None,
        max_price: int | None = None,
        tier: Tier | None = None,
        skills: Skills | int | None = None,
        region: int | None = None,
        tenant: int | None = None,
        space: str = "default",
    ) -> Receipts:
        """tasks uint64[n]; to uint64[n] or queries float32[n, dim]. One flush."""
        if (to is None) == (queries is None):
            refuse("OutOfRange", "to", "want either to or queries")
        terms = self._terms(
            space=space,
            lenient=queries is None,
            max_price=max_price,
            tier=tier,
            skills=skills,
            region=region,
            tenant=tenant,
        )
        return receipts_of(
            self._owner()._core.escalate_many(self._acting(), tasks, terms, to, queries)
        )

    def lookup(self, key: bytes | str) -> Receipt:
        """What a key was used up by. Raises NotFoundError (UnknownTask): it is free."""
        return receipt_of(self._owner()._core.lookup(self._acting(), key_bytes(key) or b""))


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _row_count(queries: Any, to: Any, budgets: Any) -> int:
    for column in (queries, to, budgets):
        if isinstance(column, np.ndarray) and column.ndim > 0:
            return int(column.shape[0])
    refuse("WrongType", "budgets", "want an array for at least one of queries, to and budgets")
