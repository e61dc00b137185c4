"""The native module. Private: use the classes of `hanse`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

SPACE_NONE: int

def cache_line_round_trip_ns() -> float: ...
def cpu_level() -> str: ...
def device_status() -> str: ...
def error_codes() -> list[tuple[int, str, str]]: ...
def latent_kivi_dequantise(
    spec: LatentSpec, packed: Any, tokens: int, bits: int, recent: int, kv_out: Any
) -> None: ...
def latent_kivi_quantise(
    spec: LatentSpec, kv: Any, tokens: int, bits: int, recent: int, packed_out: Any
) -> None: ...
def latent_kivi_size(spec: LatentSpec, tokens: int, bits: int, recent: int) -> int: ...
def latent_rope_shift(spec: LatentSpec, kv: Any, tokens: int, shift: int) -> None: ...
def open(
    directory: str | None,
    durability: str | None,
    memory_max: int | None,
    clock: ManualClock | None,
    seed: int,
    segment_size: int | None,
    fee_basis_points: int,
    read_only: bool,
    disk: SimulatedDisk | None,
    background: bool,
) -> Kernel: ...
def outcomes() -> dict[str, int]: ...
def raise_error(
    code: int, field: str, detail: str, id: int | None, position: int | None
) -> NoReturn: ...
def verify(
    directory: str, progress: Callable[[int, int], object] | None
) -> tuple[int, int, int, int, int, bytes, bytes, bool]: ...

@disjoint_base
class AgentView:
    """An agent that sends."""

    def __init__(self, kernel: Kernel, id: int) -> None: ...
    @property
    def id(self) -> int:
        """Id of the agent that acts."""

    def send(self, to: int, payload: bytes, /) -> int:
        """Sends bytes to an agent: one C call, volatile, first in first out per sender.

        to is an agent id, payload any contiguous buffer. Returns a hanse.Outcome number: ok, full,
        unknown, too_large, denied, revoked. Raises InvalidError (wrong type, closed, forked).
        """

@disjoint_base
class PrefixView:
    """The stored prefixes of one kind."""

    def __init__(self, kernel: Kernel, reader: int, spec: LatentSpec) -> None: ...
    def match(self, tokens: Any, /) -> int:
        """How many of these tokens, int32 or uint32 [n], a stored latent begins with: whole pages.

        Raises InvalidError (wrong type, closed, forked).
        """

    def acquire(self, tokens: Any, /) -> tuple[int, int]:
        """The same, and a new handle of what was found: (id, matched); (0, 0): there is none."""

@final
class Message:
    """One message, or one task for its worker."""

    @property
    def to(self) -> int:
        """Id of the agent it is for."""

    @property
    def sender(self) -> int:
        """Id of the agent that sent it."""

    @property
    def worker(self) -> int:
        """Of a task: the same as to."""

    @property
    def requester(self) -> int:
        """Of a task: the same as sender."""

    @property
    def kind(self) -> int:
        """0 data, 1 request, 2 reply, 3 failure, 4 task."""

    @property
    def request(self) -> int:
        """Which request it is or answers; 0: none."""

    @property
    def sequence(self) -> int:
        """In the receiver's box: gap-free over accepted messages."""

    @property
    def payload(self) -> bytes: ...
    @property
    def task(self) -> int:
        """Id of the task it delivers; 0: none."""

    @property
    def attempt(self) -> int:
        """Of a task: deliveries so far, from 1."""

    @property
    def deadline_ns(self) -> int:
        """Of a task: absolute UNIX time; 0: none."""

    @property
    def task_class(self) -> str | None:
        """Of a task."""

    @property
    def latent_missing(self) -> bool:
        """Of a task: a latent's content is gone."""

    latents: Any
    """Of a task: a tuple of hanse.Latent, None where the content is gone."""

class ManualClock:
    def __init__(self, start_ns: int) -> None: ...
    def advance(self, ns: int) -> None: ...
    def now_ns(self) -> int: ...
    def set(self, ns: int) -> None: ...

class Terms:
    def __init__(
        self,
        space: int,
        max_price: int | None,
        tier_min: int,
        tier_max: int,
        skills: tuple[int, int, int] | None,
        region: int | None,
        tenant_index: int | None,
        task_class: str,
        latents: Iterable[Any],
        unit: int,
        deadline_ns: int,
        verify: bool,
    ) -> None: ...

class LatentSpec:
    def __init__(
        self,
        model: str,
        tokenizer: str,
        layers: int,
        kv_heads: int,
        head_dim: int,
        dtype: str,
        rope_base_micro: int,
        kind: str,
        order: str,
        rope_pairing: str,
        rotary_dim: int,
        rope_scaling: str,
        position_max: int,
    ) -> None: ...
    def fingerprint(self) -> bytes: ...

class CapabilityIndex:
    def __init__(self, dim: int, metric: str) -> None: ...
    def contains(self, id: int) -> bool: ...
    def count(self) -> int: ...
    def dim(self) -> int: ...
    def get(self, id: int) -> NDArray[np.float32]: ...
    def memory_bytes(self) -> int: ...
    def put(self, ids: NDArray[np.uint64], vectors: NDArray[np.float32], replace: bool) -> None: ...
    def remove(self, ids: NDArray[np.uint64]) -> int: ...
    def search(
        self, queries: NDArray[np.float32], k: int, threads: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int32]]: ...

class Batch:
    def columns(
        self,
    ) -> tuple[
        NDArray[np.uint64],
        NDArray[np.uint64],
        NDArray[np.uint8],
        NDArray[np.uint64],
        NDArray[np.uint64],
        NDArray[np.uint8],
        NDArray[np.uint32],
    ]: ...
    def count(self) -> int: ...
    def messages(self) -> list[Message]: ...
    def drive(
        self,
        kernel: Kernel,
        routes: NDArray[np.int32],
        start: int,
        handlers: list[Any],
        busy: set[int],
        kept: dict[int, Any],
    ) -> tuple[int, int, Message | None, Any, BaseException | None]: ...
    def message(self, index: int) -> Message: ...
    def routes(self, kernel: Kernel) -> NDArray[np.int32]: ...
    def task_count(self) -> int: ...
    def tasks(self) -> list[Message]: ...

class Kernel:
    # --- the whole
    def acting(self) -> int: ...
    def attach_loop(self, pump: Callable[[], object] | None, wake_fd: int) -> None: ...
    def close(self) -> None: ...
    def enter(self, agent: int) -> int: ...
    def flush(self) -> None: ...
    def is_closed(self) -> bool: ...
    def memory(self) -> dict[str, int]: ...
    def now_ns(self) -> int: ...
    def pump_started(self) -> None: ...
    def request_flush(self) -> None: ...
    def root(self) -> int: ...
    def set_notify_fd(self, fd: int) -> None: ...
    def state_hash(self) -> dict[str, bytes]: ...
    def tick(self) -> int: ...
    def work_arrived(self) -> None: ...
    # --- agents
    def add_agents(
        self,
        actor: int,
        count: int,
        names: Sequence[str] | None,
        parent: int,
        kind: int,
        permissions: int | None,
        budget_max: int | None,
        identity: bytes | None,
    ) -> NDArray[np.uint64]: ...
    def agent(
        self, actor: int, id: int
    ) -> tuple[int, str, int, int, int, int, bool, bytes | None, int, int]: ...
    def agent_count(self) -> int: ...
    def find_agent(self, actor: int, name: str, parent: int | None) -> int: ...
    def revoke(self, actor: int, id: int) -> int: ...
    def tenant_index(self, agent: int) -> int: ...
    # --- capabilities
    def create_space(self, actor: int, name: str, dim: int, metric: str, model: str) -> int: ...
    def explain_match(self, actor: int, terms: Terms, budget: int | None) -> dict[str, int]: ...
    def match(
        self, actor: int, terms: Terms, queries: NDArray[np.float32], k: int, threads: int
    ) -> tuple[
        NDArray[np.uint64],
        NDArray[np.uint32],
        NDArray[np.uint32],
        NDArray[np.float32],
        NDArray[np.int32],
    ]: ...
    def publish(
        self,
        actor: int,
        space: int,
        ids: NDArray[np.uint64],
        vectors: NDArray[np.float32],
        price: int | NDArray[np.int64],
        tier: int | NDArray[np.uint8],
        skills: int | NDArray[np.uint64],
        region: int | NDArray[np.uint16],
        policy_bits: int | NDArray[np.uint64],
        slots: int | NDArray[np.uint16],
        offer: int,
        expected: NDArray[np.uint32] | None,
    ) -> NDArray[np.uint32]: ...
    def space(self, name: str) -> int: ...
    def space_spec(self, space: int) -> tuple[str, int, str, str]: ...
    def withdraw(self, actor: int, agent: int, offer: int, space: int) -> int: ...
    # --- policy
    def check_policy(
        self,
        actor: int,
        principal: int,
        action: str,
        resource: int | None,
        context: dict[str, int | str],
    ) -> tuple[bool, int, list[str], bool]: ...
    def load_policy(self, actor: int, text: str) -> int: ...
    def policy_epoch(self) -> int: ...
    def policy_rules(self) -> list[tuple[str, str]]: ...
    def policy_text(self) -> str: ...
    # --- ledger
    def account(
        self, actor: int, agent: int, unit: int, purpose: int
    ) -> tuple[int, int, int, int, int, int, int, int]: ...
    def accounts(self, actor: int) -> list[tuple[int, int, int, int, int, int, int, int]]: ...
    def fund(self, actor: int, agent: int, amount: int, unit: str) -> int: ...
    def set_rates(
        self,
        actor: int,
        unit: str,
        tier: int,
        fresh: int,
        cache_read: int,
        cache_write: int,
        output: int,
    ) -> int: ...
    def totals(self, unit: int) -> tuple[int, int, int, int]: ...
    def transfer(
        self,
        actor: int,
        kind: int,
        debit: int,
        credit: int,
        amount: int,
        unit: int,
        key: int,
        pending: int,
        expires_ns: int,
    ) -> tuple[int | None, int, int]: ...
    def transfer_many(
        self,
        actor: int,
        debit: NDArray[np.uint64],
        credit: int | NDArray[np.uint64],
        amounts: int | NDArray[np.uint64],
        unit: int,
        keys: NDArray[np.uint64] | None,
        atomic: bool,
    ) -> NDArray[np.uint8]: ...
    def unit(self, name: str) -> int: ...
    def unit_name(self, unit: int) -> str: ...
    # --- tasks
    def complete(
        self,
        actor: int,
        task: int,
        artifact: bytes,
        fresh: int,
        cache_read: int,
        cache_write: int,
        output: int,
        total_tokens: int | None,
    ) -> int: ...
    def complete_many(
        self,
        actor: int,
        tasks: NDArray[np.uint64],
        artifacts: NDArray[np.uint8],
        usage: NDArray[np.uint64],
    ) -> NDArray[np.uint8]: ...
    def dispatch(
        self,
        actor: int,
        terms: Terms,
        to: int | None,
        query: NDArray[np.float32] | None,
        payload: bytes,
        budget: int,
        key: bytes | None,
        wait: bool,
    ) -> tuple[Any, ...]: ...
    def dispatch_many(
        self,
        actor: int,
        terms: Terms,
        count: int,
        to: int | NDArray[np.uint64] | None,
        queries: NDArray[np.float32] | None,
        payloads: NDArray[np.uint8] | Sequence[bytes] | None,
        sizes: NDArray[np.uint32] | None,
        budgets: int | NDArray[np.uint64],
        keys: Sequence[bytes | None] | None,
        atomic: bool,
    ) -> tuple[Any, ...]: ...
    def economics(
        self, task_class: str | None, tier: int | None
    ) -> tuple[tuple[int, int, int, int, int, int, int, int], tuple[int, int, int, int]] | None: ...
    def escalate(
        self,
        actor: int,
        task: int,
        terms: Terms,
        to: int | None,
        query: NDArray[np.float32] | None,
    ) -> tuple[Any, ...]: ...
    def escalate_many(
        self,
        actor: int,
        tasks: NDArray[np.uint64],
        terms: Terms,
        to: int | NDArray[np.uint64] | None,
        queries: NDArray[np.float32] | None,
    ) -> tuple[Any, ...]: ...
    def judge(self, actor: int, task: int, verdict: int, verifier: int | None) -> int: ...
    def judge_many(
        self, actor: int, tasks: NDArray[np.uint64], verdict: int, verifier: int | None
    ) -> NDArray[np.uint8]: ...
    def lookup(self, actor: int, key: bytes) -> tuple[Any, ...]: ...
    def task(self, actor: int, id: int) -> dict[str, Any]: ...
    def task_count(self) -> int: ...
    # --- messages
    def dead(self, message: Message) -> None: ...
    def dead_letters(self) -> list[tuple[int, int, int, int, int, bytes]]: ...
    def drain(self, max_messages: int) -> Batch: ...
    def mailbox_counters(self) -> dict[str, int]: ...
    def own(self) -> None: ...
    def owned_here(self) -> bool: ...
    def queued(self, agent: int) -> int: ...
    def receive(self, agent: int) -> Message | None: ...
    def receive_only(self, agent: int) -> Message | None: ...
    def route(self, agent: int) -> int: ...
    def route_group(self, group: int) -> int: ...
    def route_single(self, agent: int) -> None: ...
    def send_many(
        self,
        sender: int,
        to: NDArray[np.uint64],
        payloads: NDArray[np.uint8],
        sizes: NDArray[np.uint32] | None,
    ) -> NDArray[np.uint8]: ...
    def send_request(
        self, sender: int, to: int, payload: bytes, request: int, deadline_ns: int
    ) -> int: ...
    def set_paused(self, agent: int, paused: bool) -> None: ...
    # --- latents
    def latent_adopt(
        self, owner: int, spec: LatentSpec, kv: Any, token_count: int, tokens: Any, said: Any
    ) -> int: ...
    def latent_append(
        self,
        owner: int,
        latent: int,
        spec: LatentSpec,
        kv: Any,
        token_count: int,
        tokens: Any,
        step: int,
        position: int,
    ) -> int: ...
    def latent_concat(self, owner: int, latents: list[int]) -> int: ...
    def latent_evict(self, actor: int, bytes: int) -> int: ...
    def latent_find_step(
        self, reader: int, spec: LatentSpec, parent: bytes | None, producer: int, step: int
    ) -> int: ...
    def latent_forget(self, actor: int, latent: int) -> None: ...
    def latent_fork(self, owner: int, latent: int) -> int: ...
    def latent_grant(self, latent: int, reader: int, clearance: int) -> None: ...
    def latent_info(self, reader: int, latent: int) -> Mapping[str, Any]: ...
    def latent_keep(self, actor: int, latent: int, cost: int, pinned: bool) -> None: ...
    def latent_longest_prefix(
        self, reader: int, spec: LatentSpec, tokens: NDArray[np.uint32]
    ) -> tuple[int, int]: ...
    def latent_pages(self, reader: int, latent: int) -> list[NDArray[Any]]: ...
    def latent_put(
        self, owner: int, spec: LatentSpec, kv: Any, token_count: int, tokens: Any, said: Any
    ) -> int: ...
    def latent_quota(self, actor: int, bytes: int) -> None: ...
    def latent_read_into(
        self,
        reader: int,
        latent: int,
        want: LatentSpec | None,
        spec: LatentSpec,
        out: Any,
        token_count: int,
        dtype: str,
        shift: int,
    ) -> None: ...
    def latent_release(self, latent: int) -> None: ...
    def latent_reserve(self, actor: int, spec: LatentSpec, tokens: int) -> None: ...
    def latent_revoke(self, latent: int, reader: int) -> bool: ...
    def latent_slice(self, owner: int, latent: int, first: int, tokens: int) -> int: ...
    def latent_status(self) -> dict[str, Any]: ...
    # --- journal
    def durable_count(self) -> int: ...
    def event(self, actor: int, position: int) -> tuple[int, int, str, int, dict[str, str]]: ...
    def journal_count(self) -> int: ...
    def journal_leaf(self, position: int) -> bytes: ...
    def journal_root(self) -> bytes: ...
    def journal_root_at(self, count: int) -> bytes: ...
    def journal_status(self) -> dict[str, Any]: ...
    def prove(self, position: int, count: int) -> list[bytes]: ...
    def prove_consistency(self, old_count: int, count: int) -> list[bytes]: ...

class SimulatedDisk:
    def __init__(self) -> None: ...
    def set_faults(
        self, crash_at: int | None, fail_sync_at: int | None, full_at: int | None
    ) -> None: ...
    def operations(self) -> int: ...
    def recover(self, unsynced: str, seed: int) -> SimulatedDisk: ...
    def restart(self) -> SimulatedDisk: ...
    def flip_bit(self, path: str, bit: int) -> None: ...
    def names(self, directory: str) -> list[str]: ...
    def read(self, path: str) -> bytes: ...
