"""The native module. Private: use the classes of `hanse`."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

SPACE_NONE: int

def cache_line_round_trip_ns() -> float: ...
def native_round_trip_ns(round_trips: int) -> float: ...
def native_storm_per_s(agents: int, tokens: int, messages: int, shards: int) -> float: ...
def nothing(*args: object) -> None: ...
def copy_by_receiver(
    receivers: NDArray[np.uint32],
    receiver_count: int,
    rows: NDArray[np.uint8],
    rows_out: NDArray[np.uint8],
) -> None: ...
def cpu_level() -> str: ...
def device_check(rows: int, tokens: int) -> list[tuple[str, bool, int, float, int]]: ...
def device_read(address: int, host: NDArray[Any], stream: int, after: int | None) -> None: ...
def device_write(address: int, host: NDArray[Any], stream: int, after: int | None) -> None: ...
def dlpack_terms(array: Any) -> tuple[Any, ...]: ...
def device_status() -> str: ...
def describe_record(record: bytes) -> tuple[str, int, int, dict[str, str]]: ...
def error_codes() -> list[tuple[int, str, str]]: ...
def index_from_bytes(bytes: bytes, background: bool) -> CapabilityIndex: ...
def load_index(path: str, view: bool, background: bool) -> CapabilityIndex: ...
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
    shards: int,
    digest: bool,
    snapshot_every: int | None,
    retain_bytes: int | None,
    retain_ns: int | None,
) -> Kernel: ...
def outcomes() -> dict[str, int]: ...
def raise_error(
    code: int, field: str, detail: str, id: int | None, position: int | None
) -> NoReturn: ...
def verify(
    directory: str, jobs: int, progress: Callable[[int, int], object] | None
) -> tuple[int, int, int, int, int, bytes, bytes, bool, int, int, int]: ...

acting: ContextVar[Any]

@disjoint_base
class Sender:
    """Who sends, asks and answers."""

    def __init__(self, kernel: Kernel, id: int, desk: tuple[Any, ...]) -> None: ...
    @property
    def _core(self) -> Kernel: ...
    @property
    def _id(self) -> int: ...
    def send(
        self,
        to: int,
        payload: bytes | Loan,
        *,
        lane: int = 0,
        deadline_ns: int = 0,
        key: int = 0,
        trace: int = 0,
        latent: Any = None,
    ) -> int:
        """Sends bytes to an agent: one C call, volatile, first in first out per sender and lane.

        to is an agent id, payload any contiguous buffer, or a Loan, which it moves. lane 0 … 3, the
        most urgent. deadline_ns: absolute UNIX time, 0 none; a message that is taken later is
        counted as expired. key: what a coalescing box tells messages apart by, trace: carried
        along (both uint64, 0 none). latent: one that goes with it, or its id. Returns a
        hanse.Outcome number: ok, full, unknown, too_large, denied, revoked, dropped. Raises
        InvalidError (wrong type, out of range, closed, forked).
        """

    def send_object(
        self,
        to: int,
        object: object,
        *,
        lane: int = 0,
        deadline_ns: int = 0,
        key: int = 0,
        trace: int = 0,
        latent: Any = None,
    ) -> int:
        """Sends any Python object by reference, to be found as message.object: not copied, not
        durable, from the thread that owns the messages alone. It is held until the message is
        gone; the garbage collector doesn't see that. Returns as send. Raises InvalidError
        (WrongThread).
        """

    def ask(
        self,
        to: int,
        payload: bytes,
        *,
        timeout: float | None = None,
        lane: int = 0,
        key: int = 0,
        trace: int = 0,
    ) -> Reply:
        """Sends a request; await the Reply, from a running event loop. timeout in seconds.

        Ends exactly once: with the reply, or raises TimedOutError, BusyError (Undeliverable where
        the agent is unknown, revoked or its handler fails; Backpressure; Cancelled), DeniedError.
        Cancelling who awaits it cancels the request and those that its handler made.
        """

    def reply(self, message: Message | int, payload: bytes) -> bool:
        """Answers a request (a message, or its number). False: no one waits for it any more."""

class LatentBlock:
    def array(self) -> NDArray[Any]: ...
    def begun(self) -> int: ...
    def capacity(self) -> int: ...
    def copied(self) -> bool: ...
    def position_base(self) -> int: ...
    def publish(self, count: int, tokens: Any, said: Any) -> int: ...
    def written(self) -> int: ...

class LatentExchange:
    def __init__(self, kernel: Kernel, path: str) -> None: ...
    def close(self) -> None: ...
    def end(self, latent: int, agent: int) -> int: ...
    def poll(self) -> int: ...
    def puts(self) -> list[tuple[int, int]]: ...
    def share(self, latent: int, agent: int) -> int: ...
    def share_count(self) -> int: ...
    def ticket(self, agent: int) -> bytes: ...

class LatentReader:
    def __init__(self, path: str, ticket: bytes) -> None: ...
    def put(
        self,
        spec: LatentSpec,
        kv: Any,
        token_count: int,
        tokens: Any,
        said: Any,
        kept: int | None,
        timeout_ms: int,
    ) -> int: ...
    def put_file(
        self,
        spec: LatentSpec,
        file: int,
        token_count: int,
        tokens: Any,
        said: Any,
        kept: int | None,
        timeout_ms: int,
    ) -> int: ...
    def receive(self, timeout_ms: int) -> RemoteLatent | None: ...
    def release(self, latent: int) -> None: ...

class RemoteLatent:
    def check(self) -> None: ...
    def pages(self) -> list[NDArray[Any]]: ...
    def position_base(self) -> int: ...
    def spec(self) -> dict[str, Any]: ...
    def tokens(self) -> int: ...

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

    def put(self, tokens: Any, kv: Any, cost: int | None = None, /) -> int:
        """Copies kv, contiguous and as the spec orders it, in under these tokens; returns the id.

        cost: not None: it is kept, too, as `Latent.keep` does.
        Raises InvalidError, BusyError (QuotaExceeded).
        """

@final
class Reply:
    """A reply to come; await it once or more."""

    _waiters: list[Any] | None
    @property
    def _loop(self) -> Any: ...
    @property
    def _thread(self) -> int: ...
    @property
    def to(self) -> int:
        """Id of the agent that was asked."""

    @property
    def number(self) -> int:
        """Number of the request."""

    @property
    def done(self) -> bool:
        """It has ended."""

    @property
    def status(self) -> str:
        """str: waiting, reply, error, cancelled, expired or undeliverable."""

    def __await__(self) -> Generator[Any, None, bytes]: ...
    def __iter__(self) -> Reply: ...
    def __next__(self) -> Any: ...
    def result(self) -> bytes:
        """The reply's bytes; raises what await raises. Only when done."""

    def cancel(self) -> bool:
        """Ends the request, and those that its handler made, as cancelled. False: it had ended."""

@final
class Loan:
    """Memory of the kernel to write a payload into; send moves it."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __dlpack__(
        self,
        *,
        stream: None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Writable uint8[n] for an array library: numpy.from_dlpack(loan)."""

    def __dlpack_device__(self) -> tuple[int, int]: ...
    @property
    def view(self) -> memoryview:
        """Writable memoryview; release it before sending."""

    @property
    def sent(self) -> bool:
        """It was moved into a message."""

@disjoint_base
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
    def lane(self) -> int:
        """0 … 3, the most urgent."""

    @property
    def key(self) -> int:
        """What the sender tells its messages apart by; 0: none."""

    @property
    def trace(self) -> int:
        """Trace number, carried along; 0: none."""

    @property
    def latent(self) -> int:
        """Id of a latent that goes with it; 0: none."""

    @property
    def view(self) -> memoryview:
        """Memoryview of the payload, read-only, not copied."""

    @property
    def object(self) -> Any:
        """What send_object sent, itself; else None."""

    @property
    def cancelled(self) -> bool:
        """Of a request: no one waits for its answer any more (cancelled, timed out, answered)."""

    def __buffer__(self, flags: int, /) -> memoryview: ...
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
    def durable(self) -> bool:
        """It came from a durable box, and waits for ack()."""

    @property
    def acknowledged(self) -> bool:
        """Of a durable message: ack() or an outbox was here."""

    def ack(self) -> int:
        """Acknowledges a durable message; returns the journal position when it is on disk."""

    @property
    def task_class(self) -> str | None:
        """Of a task."""

    @property
    def latent_missing(self) -> bool:
        """Of a task: a latent's content is gone."""

    latents: Any
    """Of a task: a tuple of hanse.Latent, None where the content is gone."""

@final
class SharedMessage(Message):
    """A message whose payload came by reference."""

    @property
    def payload(self) -> bytes:
        """Bytes, copied when first asked for."""

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
    def more(
        self,
        parent: int | None,
        lease_ns: int,
        verifier: int | None,
        verifier_role: str,
        role: str,
        approval: str,
        approver: int | None,
        answer_by_ns: int,
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
        quantised: int,
        recent: int,
    ) -> None: ...
    def fingerprint(self) -> bytes: ...

class Filter:
    def __init__(
        self,
        price: tuple[int | None, int | None],
        tier: tuple[int | None, int | None],
        skills: tuple[int, int, int] | None,
        policy: tuple[int, int, int] | None,
        region: int | None,
        tenant: int | None,
        load: tuple[float | None, float | None],
        reputation: tuple[float | None, float | None],
        updated: tuple[int | None, int | None],
    ) -> None: ...
    def both(self, other: Filter) -> Filter: ...
    def with_tenant(self, tenant: int) -> Filter: ...

class Ranking:
    def __init__(
        self,
        price: float,
        load: float,
        reputation: float,
        recency: float,
        now: int,
        explore: float,
        seed: int,
    ) -> None: ...

class CapabilityIndex:
    def __init__(self, dim: int, metric: str, background: bool) -> None: ...
    def audit(self, queries: int) -> int: ...
    def background(self) -> bool: ...
    def contains(self, id: int) -> bool: ...
    def count(self) -> int: ...
    def dim(self) -> int: ...
    def fold(self, rows: int, threads: int) -> int: ...
    def get(self, id: int) -> NDArray[np.float32]: ...
    def ids(self) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]: ...
    def memory_bytes(self) -> int: ...
    def metric(self) -> str: ...
    def places(self, ids: NDArray[np.uint64]) -> NDArray[np.uint32]: ...
    def put(
        self,
        ids: NDArray[np.uint64],
        vectors: NDArray[np.float32],
        given: dict[str, Any],
        replace: bool,
        threads: int,
    ) -> None: ...
    def remove(self, ids: NDArray[np.uint64]) -> int: ...
    def save(self, path: str) -> None: ...
    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        threads: int,
        filter: Filter | list[Filter] | None,
        max_price: int | NDArray[np.int64] | None,
        mask: NDArray[Any] | None,
        ranking: Ranking | list[Ranking] | None,
        recall: float,
        effort: int | None,
        explain: bool,
        device: str | None,
    ) -> tuple[Any, ...]: ...
    def stats(self) -> dict[str, Any]: ...
    def to_bytes(self) -> bytes: ...
    def update(self, ids: NDArray[np.uint64], given: dict[str, Any]) -> None: ...

class Batch:
    def column(self, name: str) -> NDArray[Any]: ...
    def count(self) -> int: ...
    def messages(self, kernel: Kernel) -> list[Message]: ...
    def message(self, kernel: Kernel, index: int) -> Message: ...
    def routes(self, kernel: Kernel) -> NDArray[np.int32]: ...
    def task_count(self) -> int: ...
    def tasks(self) -> list[Message]: ...

class Kernel:
    # --- the whole
    def attach_loop(self, pump: Callable[[], object] | None, wake_fd: int, loop: Any) -> None: ...
    def close(self) -> None: ...
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
    ) -> tuple[int, str, int, int, int, int, bool, bytes | None, int, int, bool, int]: ...
    def agent_count(self) -> int: ...
    def find_agent(self, actor: int, name: str, parent: int | None) -> int: ...
    def revoke(self, actor: int, id: int) -> int: ...
    def tenant_index(self, agent: int) -> int: ...
    def narrow(
        self,
        actor: int,
        agent: int,
        permissions: int | None,
        budget_max: int | None,
        levels: int | None,
    ) -> int: ...
    def move_agent(self, actor: int, agent: int, parent: int) -> int: ...
    def steer(self, actor: int, agent: int, paused: bool) -> int: ...
    def change_identity(
        self,
        actor: int,
        agent: int,
        step: int,
        previous: bytes,
        signer: bytes,
        key: bytes,
        text: str,
        signature: bytes,
    ) -> int: ...
    def identity(
        self, actor: int, agent: int
    ) -> tuple[bytes, bytes, int, bytes | None, bool, list[tuple[Any, ...]]]: ...
    def admit(
        self,
        actor: int,
        parent: int | None,
        name: str,
        identity: bytes,
        source: bytes,
        document: bytes,
        entries: list[tuple[Any, ...]],
        standings: list[tuple[Any, ...]],
    ) -> int: ...
    def offers_of(self, agent: int) -> list[tuple[str, int, int, int, int, int]]: ...
    def judged(self, actor: int, agent: int) -> list[tuple[int, bool, int, int, bool]]: ...
    # --- reputation
    def rate(self, actor: int, task: int, success: bool) -> int: ...
    def set_reputation_terms(self, actor: int, half_life_ns: int, fee_per_verdict: int) -> int: ...
    def standing(
        self, actor: int, agent: int, task_class: str
    ) -> tuple[int, int, int, int, int]: ...
    def standings(
        self, actor: int, agent: int
    ) -> list[tuple[str, tuple[int, int, int, int, int]]]: ...
    def set_role(
        self,
        actor: int,
        name: str,
        task_class: str,
        mean_min: int,
        weight_min: int,
        permissions: int,
    ) -> int: ...
    def roles(self) -> list[tuple[str, str, int, int, int]]: ...
    def has_role(self, actor: int, agent: int, role: str) -> bool: ...
    # --- people
    def set_attention(self, actor: int, human: int, per_day: int) -> int: ...
    def inbox(
        self, actor: int, human: int
    ) -> list[tuple[str, str, tuple[int, ...], int, int, int, bytes]]: ...
    def answer(
        self,
        human: int,
        rule: str,
        task_class: str,
        asked_to: int,
        answer_by_ns: int,
        hash: bytes,
        allow: bool,
    ) -> list[int]: ...
    # --- the life of a task
    def start_task(self, actor: int, task: int) -> int: ...
    def give_back_task(self, actor: int, task: int) -> int: ...
    def declare_unknown(self, actor: int, task: int) -> int: ...
    def verify_task(self, actor: int, task: int, good: bool) -> int: ...
    def cancel(self, actor: int, task: int) -> list[int]: ...
    def task_more(self, actor: int, task: int) -> dict[str, Any]: ...
    def time_dispatch(
        self, actor: int, to: int, payload: bytes, budget: int, unit: int, count: int
    ) -> NDArray[np.uint64]: ...
    def odds(self, task_class: str, tier: int, agent: int | None) -> tuple[int, int, int, int]: ...
    def cost(
        self,
        actor: int,
        task_class: str | None,
        tier: int | None,
        agent: int | None,
        team: int | None,
        since_ns: int,
        until_ns: int | None,
    ) -> tuple[int, int, int, int, int, int]: ...
    def record_bytes(self, position: int) -> bytes: ...
    # --- capabilities
    def create_space(self, actor: int, name: str, dim: int, metric: str, model: str) -> int: ...
    def explain_match(self, actor: int, terms: Terms, budget: int | None) -> dict[str, int]: ...
    def match(
        self,
        actor: int,
        terms: Terms,
        queries: NDArray[np.float32],
        k: int,
        threads: int,
        filter: Filter | list[Filter] | None,
        max_price: NDArray[np.int64] | None,
        ranking: Ranking | list[Ranking] | None,
        recall: float,
        effort: int | None,
        explain: bool,
        device: str | None,
    ) -> tuple[Any, ...]: ...
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
    def space_find(self, name: str) -> int: ...
    def space_spec(self, space: int) -> tuple[str, int, str, str]: ...
    def withdraw(self, actor: int, agent: int, offer: int, space: int) -> int: ...
    # --- policy
    def check_policy(
        self,
        actor: int,
        principal: int,
        action: str,
        resource: int | None,
        context: dict[str, object],
    ) -> tuple[bool, int, list[str], bool, int]: ...
    def check_policy_many(
        self,
        actor: int,
        principals: int | NDArray[np.uint64],
        action: str,
        resources: int | NDArray[np.uint64] | None,
        context: dict[str, object],
        count: int,
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.uint8], int]: ...
    def dry_run_policy(
        self, actor: int, text: str, schema: str, last: int
    ) -> tuple[int, int, list[tuple[Any, ...]]]: ...
    def govern(self, actor: int, kind: str, note: str, rule: str, cause: int | None) -> int: ...
    def governance_report(self) -> tuple[int, int, dict[str, int]]: ...
    def load_policy(self, actor: int, text: str, schema: str) -> int: ...
    def policy_epoch(self) -> int: ...
    def policy_lessons(self) -> list[tuple[Any, ...]]: ...
    def policy_rules(self, last: int) -> list[tuple[Any, ...]]: ...
    def policy_text(self) -> str: ...
    def repeal_lesson(self, actor: int, lesson: int, cause: int | None) -> int: ...
    def set_trusted(self, actor: int, agent: int, trusted: bool) -> int: ...
    def untrusted_hops(self, actor: int, agent: int) -> int | None: ...
    def time_policy(
        self,
        principals: int | NDArray[np.uint64],
        action: str,
        resource: int,
        block: int,
        blocks: int,
    ) -> NDArray[np.float64]: ...
    # --- ledger
    def account(self, actor: int, agent: int, unit: int, purpose: int) -> tuple[int, ...]: ...
    def account_at(
        self,
        actor: int,
        agent: int,
        unit: int,
        purpose: int,
        position: int,
        progress: Callable[[int, int], object] | None,
    ) -> tuple[int, ...]: ...
    def accounts(self, actor: int) -> list[tuple[int, ...]]: ...
    def accounts_at(
        self, actor: int, position: int, progress: Callable[[int, int], object] | None
    ) -> list[tuple[int, ...]]: ...
    def budget(self, actor: int, agent: int, unit: int) -> tuple[int, int, int] | None: ...
    def entries(
        self,
        actor: int,
        query: dict[str, Any],
        progress: Callable[[int, int], object] | None,
    ) -> tuple[dict[str, NDArray[Any]], int | None, int]: ...
    def find_key(self, actor: int, high: int, low: int) -> tuple[int, int, int]: ...
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
    def hold(self, actor: int, hold: int) -> tuple[Any, ...]: ...
    def move_many(
        self,
        actor: int,
        count: int,
        kinds: int | NDArray[np.uint8],
        unit: int,
        atomic: bool,
        columns: dict[str, Any],
    ) -> tuple[int | None, NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint64]]: ...
    def open_account(
        self,
        actor: int,
        agent: int,
        unit: str,
        flags: int,
        code: int,
        user_data: tuple[int, int, int, int],
    ) -> int | None: ...
    def set_budget(self, actor: int, agent: int, limit: int, unit: str) -> int: ...
    def settle(
        self, actor: int, hold: int, verdict: int, amount: int, evidence: bytes | None
    ) -> int: ...
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
    def dead(self, message: Message, cancelled: bool) -> None: ...
    def drain(self, max_messages: int) -> Batch: ...
    def drain_handled(self, count_max: int) -> Batch: ...
    def unpark(self) -> None: ...
    def loan(self, size: int) -> Loan: ...
    def own(self) -> None: ...
    def owned_here(self) -> bool: ...
    def queued(self, agent: int) -> int: ...
    def receive(self, agent: int) -> Message | None: ...
    def route(self, agent: int) -> int: ...
    def route_group(self, group: int) -> int: ...
    def route_singles(
        self, agents: NDArray[np.uint64], singles: list[Any], handler: Any, nobody: Any
    ) -> None: ...
    def route_single(self, agent: int) -> None: ...
    def send_many(
        self,
        sender: int,
        to: NDArray[np.uint64],
        payloads: NDArray[np.uint8],
        sizes: NDArray[np.uint32] | None,
    ) -> NDArray[np.uint8]: ...
    def set_paused(self, agent: int, paused: bool) -> None: ...
    # --- durable boxes
    def acknowledge_all(self, messages: list[Message]) -> None: ...
    def commit_durable(
        self,
        agent: int,
        acknowledged: list[Message | int],
        sends: list[tuple[int, bytes, bytes | None, int, int]],
        state: bytes | None,
        wait: bool,
    ) -> tuple[int | None, list[tuple[int, int, int | None]]]: ...
    def declare_durable(
        self,
        actor: int,
        agents: NDArray[np.uint64],
        capacity: int,
        in_flight: int,
        payload_bytes: int,
        attempts: int,
    ) -> int | None: ...
    def durable_box(self, actor: int, agent: int) -> dict[str, Any]: ...
    def durable_dead_letters(
        self, actor: int, agent: int
    ) -> list[tuple[int, int, int, int, int, bytes, int]]: ...
    def durable_state(self, actor: int, agent: int) -> bytes: ...
    def give_back(self, agent: int, messages: list[Message | int]) -> int | None: ...
    def is_durable(self, agent: int) -> bool: ...
    def return_all(self, messages: list[Message]) -> None: ...
    def resend_durable(
        self, actor: int, agent: int, sequence: int
    ) -> tuple[int, int, int | None]: ...
    def send_durable(
        self,
        actor: int,
        to: int,
        payload: bytes,
        key: bytes | None,
        lane: int,
        deadline_ns: int,
    ) -> tuple[int, int, int | None]: ...
    def send_durable_many(
        self,
        actor: int,
        to: NDArray[np.uint64],
        payloads: NDArray[np.uint8] | Sequence[bytes],
        sizes: NDArray[np.uint32] | None,
        keys: NDArray[np.uint64] | Sequence[bytes | None] | None,
        lane: int | NDArray[np.uint8],
        deadline_ns: int | NDArray[np.uint64],
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]: ...
    # --- turns
    def acting(self) -> int: ...
    def acting_token(self, agent: int, request: int) -> tuple[int, int, int]: ...
    def drive(
        self, batch: Batch, routes: NDArray[np.int32] | None, desk: tuple[Any, ...]
    ) -> None: ...
    def handle(self, message: Message, desk: tuple[Any, ...]) -> None: ...
    def handle_batch(
        self, group: int, handler: Callable[[Any], object], batch: object, count: int
    ) -> Exception | None: ...
    def count_handled(self) -> None: ...
    def handled(self) -> int: ...
    def running(self, agent: int) -> bool: ...
    # --- requests
    def cancel_all_requests(self, why: str) -> None: ...
    def end_request(self, number: int, value: bytes) -> bool: ...
    def expire_requests(self) -> float | None: ...
    def fail_request(self, number: int, why: str, agent: int, undeliverable: bool) -> bool: ...
    def request_counters(self) -> dict[str, int]: ...
    def settle_dead_requests(self) -> None: ...
    def waiting_requests(self) -> list[tuple[int, int]]: ...
    # --- boxes
    def box(self, agent: int) -> tuple[int, str, int]: ...
    def configure_boxes(
        self, agents: int | NDArray[np.uint64], capacity: int | None, policy: str | None
    ) -> None: ...
    def dead_letters(self) -> list[tuple[Any, ...]]: ...
    def digest(self) -> tuple[int, int, int]: ...
    def place(self, actor: int, group: int, shard: int) -> None: ...
    def run_shard(self, shard: int, function: Callable[[Batch], None] | None) -> None: ...
    def shard_count(self) -> int: ...
    def shard_of(self, agent: int) -> int: ...
    def shard_report(self, shard: int) -> tuple[int, int, int, int, int, int, int]: ...
    def shard_totals(self) -> tuple[int, int, int]: ...
    def stop_shards(self) -> None: ...
    def turn_shard(self, shard: int, function: Callable[[Batch], None] | None) -> int: ...
    def mailbox_counters(self) -> dict[str, int]: ...
    def mailbox_statistics(self) -> dict[str, Any]: ...
    def rest(self) -> None: ...
    def own_wake(self) -> int: ...
    def queue_ages(self) -> tuple[NDArray[np.uint64], int, int]: ...
    def rearm(self) -> None: ...
    def resend(self, number: int) -> int: ...
    def take_credited(self) -> list[int]: ...
    def traces(self) -> list[tuple[int, int, int, int, int, int, int, int]]: ...
    def wait_for_work(self, seconds: float) -> None: ...
    # --- topics
    def join_group(self, agents: int | NDArray[np.uint64], topic: int, group: int) -> int: ...
    def leave_group(self, agents: int | NDArray[np.uint64], topic: int, group: int) -> int: ...
    def group_members(self, topic: int, group: int) -> NDArray[np.uint64]: ...
    def publish_message(
        self,
        sender: int,
        topic: int,
        payload: bytes | Loan,
        lane: int,
        deadline_ns: int,
        key: int,
        trace: int,
    ) -> tuple[int, NDArray[np.uint8], NDArray[np.uint8]]: ...
    def subscribe(self, agents: int | NDArray[np.uint64], topic: int) -> int: ...
    def subscribe_prefix(self, agents: int | NDArray[np.uint64], prefix: int, bits: int) -> int: ...
    def subscribers(self, topic: int) -> NDArray[np.uint64]: ...
    def unsubscribe(self, agents: int | NDArray[np.uint64], topic: int) -> int: ...
    def unsubscribe_prefix(
        self, agents: int | NDArray[np.uint64], prefix: int, bits: int
    ) -> int: ...
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
    def latent_continue_block(
        self, owner: int, latent: int, want: LatentSpec | None, room: int, shift: int
    ) -> LatentBlock: ...
    def latent_evict(self, actor: int, bytes: int) -> int: ...
    def latent_expect(self, reader: int, spec: LatentSpec, tokens: NDArray[np.uint32]) -> int: ...
    def latent_fetch(
        self, reader: int, spec: LatentSpec, tokens: NDArray[np.uint32], timeout_ns: int
    ) -> tuple[int, int]: ...
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
    def latent_open_block(
        self, owner: int, spec: LatentSpec, capacity: int, position_base: int
    ) -> LatentBlock: ...
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
    def latent_seal(self, reader: int, latent: int, key: bytes) -> bytes: ...
    def latent_set_size(self, bytes: int) -> None: ...
    def latent_slice(self, owner: int, latent: int, first: int, tokens: int) -> int: ...
    def latent_spill_to(
        self, directory: str, size_bytes_max: int, staging_bytes_max: int
    ) -> None: ...
    def latent_status(self) -> dict[str, Any]: ...
    def latent_unseal(self, owner: int, sealed: bytes, key: bytes) -> int: ...
    # --- journal
    def durable_count(self) -> int: ...
    def compact(self, keep: int, snapshots: int) -> tuple[int, int, int, int, int]: ...
    def snapshot(self) -> tuple[int, int, bool, bytes]: ...
    def snapshots(self) -> list[tuple[int, int, bool, bytes]]: ...
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
