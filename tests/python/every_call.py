"""A world in which every public call can be made, and one good call of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import hanse

Call = tuple[Callable[..., Any], dict[str, Any]]


def typed(outcome: int) -> int:
    """A daily outcome is an answer for `send`; here what is no message counts as refused."""
    if outcome != hanse.Outcome.ok:
        raise hanse.InvalidError(1002, "OutOfRange", "to")
    return outcome


class World:
    """A kernel with one of everything, and a good call of every public method."""

    def __init__(self) -> None:
        kernel = self.kernel = hanse.open(clock=hanse.ManualClock(10**18))
        self.team = kernel.agents.add("team", kind="group")
        self.ids = kernel.agents.add_many(4, parent=self.team)
        self.worker = int(self.ids[0])
        self.vectors = np.eye(4, dtype=np.float32)
        kernel.capabilities.publish(self.ids, self.vectors, price=10)
        kernel.ledger.fund(self.team, 10_000)
        kernel.ledger.fund(kernel.root, 10_000)
        self.spec = hanse.LatentSpec("m@1", layers=1, kv_heads=1, head_dim=4)
        self.kv = np.zeros(self.spec.shape(3), np.float32)
        self.latent = kernel.latents.put(self.kv, self.spec)
        self.hold = kernel.ledger.hold(self.team, self.worker, 5)
        self.task = kernel.dispatch(to=self.worker, budget=100, key="used").task
        self.tasks = np.array([self.task], np.uint64)
        self.index = hanse.CapabilityIndex(4)
        self.index.add(self.ids, self.vectors)

    def callables(self) -> dict[str, Call]:
        """Each call by its name: the function, and arguments that it takes."""
        return {
            **self.of_agents(),
            **self.of_dispatch(),
            **self.of_tasks(),
            **self.of_messages(),
            **self.of_money(),
            **self.of_the_rest(),
        }

    def of_agents(self) -> dict[str, Call]:
        kernel = self.kernel
        return {
            "agents.add": (
                kernel.agents.add,
                {
                    "name": "x",
                    "kind": "agent",
                    "parent": self.team,
                    "permissions": 1,
                    "budget_max": 1,
                    "key": b"k",
                },
            ),
            "agents.add_many": (
                kernel.agents.add_many,
                {
                    "n_or_names": 2,
                    "parent": self.team,
                    "kind": "agent",
                    "permissions": 1,
                    "budget_max": 1,
                },
            ),
            "agents.get": (kernel.agents.get, {"agent": self.worker}),
            "agents.find": (kernel.agents.find, {"name": "team", "parent": kernel.root}),
            "agents.revoke": (kernel.agents.revoke, {"agent": self.worker}),
            "create_space": (
                kernel.capabilities.create_space,
                {"name": "s", "dim": 4, "metric": "cosine", "model": "m"},
            ),
            "publish": (
                kernel.capabilities.publish,
                {
                    "ids": self.ids,
                    "vectors": self.vectors,
                    "price": 1,
                    "tier": 1,
                    "skills": 1,
                    "region": 1,
                    "policy_bits": 1,
                    "slots": 1,
                    "offer": 1,
                    "space": "default",
                    "versions": np.full(4, 9, np.uint32),
                },
            ),
            "withdraw": (
                kernel.capabilities.withdraw,
                {"agent": self.worker, "offer": 0, "space": "default"},
            ),
            "match": (
                kernel.match,
                {
                    "queries": self.vectors,
                    "k": 1,
                    "max_price": 1,
                    "tier": (0, 1),
                    "skills": 1,
                    "region": 1,
                    "tenant": self.team,
                    "space": "default",
                    "threads": 1,
                    "explain": True,
                },
            ),
            "as_agent": (kernel.as_agent, {"agent": self.worker}),
        }

    def of_dispatch(self) -> dict[str, Call]:
        kernel = self.kernel
        one = np.array([5], np.uint64)
        return {
            "dispatch": (
                kernel.dispatch,
                {
                    "to": self.worker,
                    "budget": 5,
                    "task_class": "c",
                    "payload": b"p",
                    "latents": (self.latent,),
                    "unit": "usd_micro",
                    "deadline_ns": 0,
                    "key": "k",
                    "max_price": 100,
                    "tier": 0,
                    "skills": 0,
                    "region": 0,
                    "tenant": self.team,
                    "space": "default",
                    "verify": True,
                },
            ),
            "dispatch by query": (kernel.dispatch, {"query": self.vectors[0], "budget": 50}),
            "dispatch_many": (
                kernel.dispatch_many,
                {
                    "to": self.ids[:1],
                    "budgets": one,
                    "payloads": np.zeros((1, 4), np.uint8),
                    "keys": ["k"],
                    "task_class": "c",
                    "latents": (),
                    "unit": "usd_micro",
                    "deadline_ns": 0,
                    "verify": False,
                    "atomic": False,
                },
            ),
            "dispatch_many by query": (
                kernel.dispatch_many,
                {"queries": self.vectors, "budgets": np.full(4, 50, np.uint64)},
            ),
        }

    def of_tasks(self) -> dict[str, Call]:
        kernel = self.kernel
        wide = {"artifacts": np.ones((1, 32), np.uint8), "usage": np.zeros((1, 4), np.uint64)}
        keyed = {"tasks": self.tasks}
        return {
            "complete": (
                kernel.complete,
                {
                    "task": self.task,
                    "artifact": bytes(32),
                    "usage": hanse.Usage(),
                    "total_tokens": 0,
                },
            ),
            "complete_many": (kernel.complete_many, {"tasks": self.tasks, **wide}),
            "accept": (kernel.accept, {"task": self.task, "verifier": self.team}),
            "reject": (kernel.reject, {"task": self.task, "verifier": self.team}),
            "void": (kernel.void, {"task": self.task}),
            "accept_many": (kernel.accept_many, {**keyed, "verifier": self.team}),
            "reject_many": (kernel.reject_many, {**keyed, "verifier": self.team}),
            "void_many": (kernel.void_many, keyed),
            "escalate": (
                kernel.escalate,
                {
                    "task": self.task,
                    "to": self.worker,
                    "max_price": 1,
                    "tier": 0,
                    "skills": 0,
                    "region": 0,
                    "space": "default",
                },
            ),
            "escalate_many": (kernel.escalate_many, {**keyed, "queries": self.vectors[:1]}),
            "lookup": (kernel.lookup, {"key": "used"}),
            "tasks.get": (kernel.tasks.get, {"task": self.task}),
            "economics": (kernel.tasks.economics, {"task_class": "c"}),
            "economics of a tier": (kernel.tasks.economics, {"tier": 1}),
        }

    def of_messages(self) -> dict[str, Call]:
        kernel = self.kernel
        return {
            "send": (
                lambda to, payload: typed(kernel.send(to, payload)),
                {"to": self.worker, "payload": b"x"},
            ),
            "send_many": (
                kernel.send_many,
                {"to": self.ids[:1], "payloads": np.zeros((1, 4), np.uint8)},
            ),
            "drain": (kernel.drain, {"max_messages": 5}),
            "receive": (kernel.receive, {"agent": self.worker}),
            "on": (lambda agents: kernel.on(agents)(print), {"agents": self.worker}),
            "on_batch": (lambda group: kernel.on_batch(group)(print), {"group": self.team}),
            "run": (kernel.run, {"max_messages": 5}),
        }

    def of_money(self) -> dict[str, Call]:
        kernel = self.kernel
        one = np.array([5], np.uint64)
        return {
            "fund": (kernel.ledger.fund, {"agent": self.worker, "amount": 1, "unit": "gold"}),
            "set_rates": (
                kernel.ledger.set_rates,
                {
                    "unit": "gold",
                    "tier": 1,
                    "fresh": 1,
                    "cache_read": 1,
                    "cache_write": 1,
                    "output": 1,
                },
            ),
            "transfer": (
                kernel.ledger.transfer,
                {
                    "debit": self.team,
                    "credit": self.worker,
                    "amount": 1,
                    "unit": "usd_micro",
                    "key": 7,
                },
            ),
            "transfer_many": (
                kernel.ledger.transfer_many,
                {
                    "debit": self.ids[:1],
                    "credit": self.team,
                    "amounts": 1,
                    "unit": "usd_micro",
                    "keys": one,
                    "atomic": True,
                },
            ),
            "hold": (
                kernel.ledger.hold,
                {
                    "debit": self.team,
                    "credit": self.worker,
                    "amount": 1,
                    "unit": "usd_micro",
                    "expires_ns": 0,
                    "key": 8,
                },
            ),
            "post": (kernel.ledger.post, {"hold": self.hold, "amount": 1}),
            "ledger.void": (kernel.ledger.void, {"hold": self.hold}),
            **self.of_batches(),
            **self.of_settlements(),
            "balance": (kernel.ledger.balance, {"agent": self.team, "unit": "usd_micro"}),
            "account": (
                kernel.ledger.account,
                {"agent": self.team, "unit": "usd_micro", "purpose": "balance"},
            ),
            "totals": (kernel.ledger.totals, {"unit": "usd_micro"}),
        }

    def of_settlements(self) -> dict[str, Call]:
        kernel = self.kernel
        return {
            "escrow": (
                kernel.ledger.escrow,
                {
                    "buyer": self.team,
                    "seller": self.worker,
                    "amount": 1,
                    "arbiter": self.team,
                    "fee": True,
                    "unit": "usd_micro",
                    "expires_ns": 0,
                    "key": 9,
                    "code": 1,
                },
            ),
            "get_hold": (kernel.ledger.get_hold, {"hold": self.hold}),
            "mark_unknown": (
                kernel.ledger.mark_unknown,
                {"hold": self.hold, "evidence": bytes(32)},
            ),
            "reconcile": (kernel.ledger.reconcile, {"hold": self.hold, "paid": True, "amount": 1}),
            "open_account": (
                kernel.ledger.open_account,
                {
                    "agent": self.worker,
                    "unit": "silver",
                    "limit": "debits",
                    "code": 1,
                    "user_data_128": 1,
                    "user_data_64": 1,
                    "user_data_32": 1,
                },
            ),
            "set_budget": (
                kernel.ledger.set_budget,
                {"agent": self.worker, "limit": 5, "unit": "usd_micro"},
            ),
            "budget": (kernel.ledger.budget, {"agent": self.worker, "unit": "usd_micro"}),
        }

    def of_batches(self) -> dict[str, Call]:
        ledger = self.kernel.ledger
        one, holds = np.array([5], np.uint64), np.array([self.hold], np.uint64)
        return {
            "hold_many": (
                ledger.hold_many,
                {
                    "debit": self.ids[:1],
                    "credit": self.team,
                    "amounts": 1,
                    "unit": "usd_micro",
                    "expires_ns": 0,
                    "keys": one,
                    "flags": 0,
                    "atomic": True,
                },
            ),
            "post_many": (ledger.post_many, {"holds": holds, "amounts": 1, "keys": one}),
            "void_many": (ledger.void_many, {"holds": holds, "keys": one, "atomic": False}),
            "move_many": (
                ledger.move_many,
                {
                    "kinds": np.zeros(1, np.uint8),
                    "debit": self.team,
                    "credit": self.worker,
                    "amounts": 1,
                    "unit": "usd_micro",
                    "flags": 0,
                    "keys": one,
                    "chain_keys": one,
                    "code": 1,
                    "user_data_64": 1,
                    "user_data_32": 1,
                    "atomic": False,
                },
            ),
        }

    def of_the_rest(self) -> dict[str, Call]:
        kernel = self.kernel
        one = np.array([5], np.uint64)
        return {
            "policy.load": (kernel.policy.load, {"text": "permit(principal, action, resource);"}),
            "policy.check": (
                kernel.policy.check,
                {
                    "principal": self.team,
                    "action": "send",
                    "resource": self.worker,
                    "context": {"budget": 1},
                },
            ),
            "policy.check_many": (
                kernel.policy.check_many,
                {"principals": np.array([self.worker], np.uint64), "action": "send"},
            ),
            "policy.dry_run": (
                kernel.policy.dry_run,
                {"text": "permit(principal, action, resource);", "last": 5},
            ),
            "policy.record": (kernel.policy.record, {"kind": "incident", "cause": 1}),
            "policy.distrust": (kernel.policy.distrust, {"agent": self.worker}),
            "policy.trust": (kernel.policy.trust, {"agent": self.worker}),
            "latents.put": (
                kernel.latents.put,
                {
                    "kv": self.kv,
                    "spec": self.spec,
                    "tokens": np.arange(3, dtype=np.uint32),
                    "step": 1,
                    "position_base": 1,
                    "ttl": 1.0,
                    "owner": self.team,
                },
            ),
            "latents.get": (kernel.latents.get, {"id": self.latent.id}),
            "longest_prefix": (
                kernel.latents.longest_prefix,
                {"tokens": np.arange(3, dtype=np.uint32), "spec": self.spec},
            ),
            "latent.append": (self.latent.append, {"kv": self.kv, "step": 1}),
            "latent.slice": (self.latent.slice, {"n": 2}),
            "latent.grant": (self.latent.grant, {"reader": self.team}),
            "latent.revoke": (self.latent.revoke, {"reader": self.team}),
            "latents.reserve": (kernel.latents.reserve, {"spec": self.spec, "tokens": 3}),
            "latent.read": (self.latent.read, {"spec": self.spec}),
            "prove": (kernel.journal.prove, {"position": 0, "count": 1}),
            "prove_consistency": (kernel.journal.prove_consistency, {"old_count": 1, "count": 2}),
            "root_at": (kernel.journal.root_at, {"count": 1}),
            "leaf": (kernel.journal.leaf, {"position": 1}),
            "event": (kernel.journal.event, {"position": 0}),
            "index": (hanse.CapabilityIndex, {"dim": 4, "metric": "cosine"}),
            "index.upsert": (self.index.upsert, {"ids": self.ids, "vectors": self.vectors}),
            "index.remove": (self.index.remove, {"ids": one}),
            "index.search": (self.index.search, {"queries": self.vectors, "k": 1, "threads": 1}),
            "index.get": (self.index.get, {"id": self.worker}),
            "clock": (hanse.ManualClock, {"start_ns": 1}),
        }
