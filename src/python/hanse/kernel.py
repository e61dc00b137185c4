"""The kernel: one object that knows all concepts, and the agents that act on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from . import _core
from .agent import Agents
from .capability import Capabilities
from .durable import DurableVerbs, Outbox, refuse_sends
from .errors import InvalidError
from .handlers import Handlers, event_loop_runs
from .journal import Journal, path_of
from .latent import Latents
from .ledger import Ledger
from .mailbox import Batch, DeadLetter, Mailboxes, Message
from .passport import Passports
from .people import ApprovalItem, People
from .policy import Policy
from .reasons import refuse
from .reputation import Reputation
from .shards import Shards
from .task import Tasks
from .topics import Topics
from .verbs import Verbs

if TYPE_CHECKING:
    from .loop import Bridge
    from .simulation import SimulatedDisk

__all__ = ["AgentView", "Kernel", "ManualClock", "open"]

HandlerFunction = TypeVar("HandlerFunction", bound=Callable[..., Any])


class ManualClock:
    """A clock that moves only when told to; nanoseconds since 1970."""

    __slots__ = ("_core",)

    def __init__(self, start_ns: int) -> None:
        self._core = _core.ManualClock(start_ns)

    @property
    def now_ns(self) -> int:
        """What it shows."""
        return self._core.now_ns()

    def set(self, ns: int) -> None:
        """Shows `ns` from now on."""
        self._core.set(ns)

    def advance(self, ns: int) -> None:
        """Moves on by `ns`."""
        self._core.advance(ns)


class AgentView(Verbs, DurableVerbs):
    """An agent that acts, made by as_agent: every verb, and single messages as one C call."""

    __slots__ = ("_kernel",)

    def __init__(self, kernel: Kernel, id: int) -> None:
        super().__init__(kernel._core, id, kernel._handlers.desk)
        self._kernel = kernel

    @property
    def id(self) -> int:
        """Id of the agent that acts."""
        return self._id

    @property
    def policy(self) -> Policy:
        """The rules, asked and taught as this agent."""
        return Policy(self._kernel, self._id)

    def _acting(self) -> int:
        return self._id

    def _owner(self) -> Kernel:
        return self._kernel

    def __repr__(self) -> str:
        return f"AgentView(id={self.id})"


class Kernel(Verbs, DurableVerbs):
    """A coordination kernel; open one with hanse.open. A context manager that closes it.

    Its own verbs act as the root, or, inside a handler, as the agent that is handled (a batch: as
    its group). Any thread may call the record plane; messages belong to the first thread that
    drains them.
    """

    def __init__(self, core: _core.Kernel, directory: str | None, durability: str) -> None:
        self._handlers = Handlers(self, core)
        super().__init__(core, 0, self._handlers.desk)
        self._durability = durability
        self._loop: Bridge | None = None
        self.directory = directory
        self.root = core.root()
        self.agents = Agents(self)
        self.capabilities = Capabilities(self)
        self.ledger = Ledger(self)
        self.passports = Passports(self)
        self.people = People(self)
        self.policy = Policy(self)
        self.reputation = Reputation(self)
        self.tasks = Tasks(self)
        self.latents = Latents(self)
        self.journal = Journal(self)
        self.mailboxes = Mailboxes(core)
        self.topics = Topics(self)
        self.shards = Shards(self)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Flushes and closes; requests that wait end as Cancelled. Later calls raise Closed."""
        if self._core.is_closed():
            return
        self._handlers.requests.cancel_all()
        self._handlers.credit.cancel_all()
        if self._loop is not None:
            self._loop.close()
        self._core.close()

    @property
    def closed(self) -> bool:
        """close() was called."""
        return self._core.is_closed()

    def __repr__(self) -> str:
        where = "memory" if self.directory is None else repr(self.directory)
        return f"Kernel({where}{', closed' if self.closed else ''})"

    # --- who acts

    def _acting(self) -> int:
        return self._core.acting()

    def _owner(self) -> Kernel:
        return self

    def as_agent(self, agent: int) -> AgentView:
        """The agent as who acts, with every verb. Raises NotFoundError."""
        self._core.tenant_index(agent)
        if self._loop is None and event_loop_runs():
            self._bridge()
        return AgentView(self, agent)

    # --- messages

    def drain(self, *, max_messages: int = 16_384) -> Batch:
        """Takes out up to max_messages: tasks and messages that no handler took first."""
        return self._handlers.drain(max_messages)

    def receive(self, agent: int, *, timeout: float | None = None) -> Message | None:
        """The oldest task or message of one agent, or None.

        timeout: blocks this thread for so many seconds until there is one, without the GIL; not
        inside a running event loop.
        """
        message = self._handlers.receive(agent)
        if message is not None or timeout is None:
            return message
        return self._handlers.wait(agent, timeout)

    try_receive = receive

    def loan(self, size: int) -> _core.Loan:
        """Writable memory of `size` bytes that send moves without a copy.

        Any buffer consumer takes it (memoryview, numpy.frombuffer(loan, …)), and any DLPack
        consumer (numpy.from_dlpack(loan), torch.from_dlpack(loan)). Let go of the views, then send
        it; once sent it is spent. Raises BusyError (Backpressure), InvalidError.
        """
        return self._core.loan(size)

    def fileno(self) -> int:
        """A descriptor that becomes readable when something arrives; run clears it.

        For event loops that are not asyncio's: wait for it, call run, and again.
        """
        return self._core.own_wake()

    def outbox(self, message: Message) -> Outbox:
        """What a handler does about a message, in one record: `with kernel.outbox(message) as out`.

        out.send(to, payload, key=, lane=, deadline_ns=) to durable boxes, out.state = bytes. When
        the block ends, the message is acknowledged (where it is durable), the messages leave and
        the state is stored, all at once or, when the block raises or a message is refused, not at
        all; it raises as commit. `async with` does not block the event loop.
        """
        return Outbox(self, message)

    def _commit(
        self,
        agent: int,
        ack: list[Message | int],
        send: list[tuple[int, bytes, bytes | None, int, int]],
        state: bytes | None,
        wait: bool,
    ) -> int:
        position, sent = self._core.commit_durable(agent, ack, send, state, wait)
        if position is None:
            refuse_sends(sent, [row[0] for row in send])
            refuse("BatchAborted", "commit", "a message was refused")
        return position

    def on(self, agents: int | Iterable[int]) -> Callable[[HandlerFunction], HandlerFunction]:
        """Decorator: the function (or async function) gets each message of these agents.

        It takes a Message; what it returns (bytes) answers a request. When it raises, the message
        becomes a dead letter. An agent's handler never runs twice at once.
        """

        def register(handler: HandlerFunction) -> HandlerFunction:
            self._handlers.on(agents, handler)
            return handler

        return register

    def on_batch(self, group: int) -> Callable[[HandlerFunction], HandlerFunction]:
        """Decorator: the function gets a Batch of messages for the group and all below it.

        The nearest group wins; `on` comes before. When it raises, the batch becomes dead letters.
        """

        def register(handler: HandlerFunction) -> HandlerFunction:
            self._handlers.on_batch(group, handler)
            return handler

        return register

    def run(self, *, max_messages: int | None = None) -> int:
        """Drives the handlers until nothing is left, or max_messages; returns the handled ones.

        Messages of agents without a handler stay for drain and receive. Raises InvalidError
        (WrongThread) inside a running event loop: there the loop drives the handlers.
        """
        return self._handlers.run(max_messages)

    def attach(self) -> None:
        """Lets the running event loop drive the handlers; ask and as_agent do it, too."""
        self._bridge()

    def _bridge(self) -> Bridge:
        bridge = self._loop
        if bridge is not None and bridge.runs_here():
            return bridge
        if not event_loop_runs():
            refuse("WrongThread", "loop", "no event loop runs in this thread")
        import asyncio

        from .loop import Bridge

        loop = asyncio.get_running_loop()
        if bridge is not None:
            if bridge.loop.is_running():
                refuse("WrongThread", "loop", "another event loop drives this kernel")
            bridge.close()
        self._loop = Bridge(self, loop)
        self._loop.schedule()
        return self._loop

    async def _durable_at(self, position: int) -> None:
        if self._core.durable_count() > position:
            return
        try:
            bridge = self._bridge()
        except InvalidError:
            # Another loop, in another thread, has the kernel's one wake: wait in a thread.
            import asyncio

            await asyncio.get_running_loop().run_in_executor(None, self._core.flush)
        else:
            await bridge.durable(position)

    def counters(self) -> dict[str, int]:
        """Of messages: accepted = handled + expired + cancelled + dead + queued; and refusals.

        kept: taken out, but for agents without a handler; handler_failures; waiting_requests.
        """
        return self._handlers.counters()

    def dead_letters(self) -> list[DeadLetter]:
        """The newest 1,024 messages that no one handled, oldest first; see mailboxes.resend."""
        return self.mailboxes.dead_letters()

    def explain(self, agent: int) -> str:
        """Lineage, roles, spend and standing of an agent, with the events that say so."""
        from .passport import explain

        return explain(self, agent)

    # --- people

    def inbox(self, human: int) -> list[ApprovalItem]:
        """What waits for this person's approval, by (rule, task class); see me.answer."""
        return self.people.inbox(human)

    # --- the whole

    @property
    def durability(self) -> str:
        """each, batch or memory."""
        return self._durability

    @property
    def now_ns(self) -> int:
        """The kernel's clock: nanoseconds since 1970."""
        return self._core.now_ns()

    @property
    def state_hash(self) -> str:
        """Hash over the hashes of all concepts of the record plane, as hex."""
        return self._core.state_hash()["all"].hex()

    def state_hashes(self) -> dict[str, str]:
        """One hash a concept, and "all", as hex."""
        return {name: digest.hex() for name, digest in self._core.state_hash().items()}

    def memory(self) -> dict[str, int]:
        """Bytes in use by concept."""
        return self._core.memory()

    def flush(self) -> None:
        """Returns when everything so far is durable."""
        self._core.flush()

    def tick(self) -> int:
        """Applies due expiries; returns how many. The kernel does it by itself, too."""
        return self._core.tick()


def open(
    directory: str | os.PathLike[str] | None = None,
    *,
    durability: str | None = None,
    memory_max: int | None = None,
    clock: ManualClock | None = None,
    seed: int = 0,
    segment_size: int | None = None,
    fee_basis_points: int = 0,
    read_only: bool = False,
    disk: SimulatedDisk | None = None,
    background: bool = True,
    shards: int = 1,
    digest: bool = False,
    snapshot_every: int | None = None,
    retain_bytes: int | None = None,
    retain_ns: int | None = None,
) -> Kernel:
    """Opens a kernel: in a directory (created where it is missing), or in memory only.

    durability: "each" (a call returns when its record is on disk; the default with a directory),
    "batch" (the same, gathered for up to 1 ms) or "memory". memory_max: bytes. clock: None is the
    system's. seed: keys latent ids, and not 0 fixes the identity of a new journal. segment_size:
    bytes. fee_basis_points: of a worker's fee, fixed when the journal is created. disk (instead of
    a directory) and background=False (no flusher thread) are for tests and simulation. shards:
    1 … 64 threads for messages, see kernel.shards. digest: keep a hash of all messages that were
    handled, kernel.mailboxes.digest, which costs a hash of each payload.
    snapshot_every: bytes of journal after which a background thread takes a snapshot (None and 0:
    never). retain_bytes, retain_ns: after such a snapshot, segments that it holds are
    dropped beyond so many bytes or such an age; None keeps all. Raises StorageError (Locked,
    LogCorrupt …), InvalidError.
    """
    path = None if directory is None else path_of(directory)
    if clock is not None and not isinstance(clock, ManualClock):
        refuse("WrongType", "clock", f"want a hanse.ManualClock, have a {type(clock).__name__}")
    core = _core.open(
        path,
        durability,
        memory_max,
        None if clock is None else clock._core,
        seed,
        segment_size,
        fee_basis_points,
        read_only,
        None if disk is None else disk._core,
        background,
        shards,
        digest,
        snapshot_every,
        retain_bytes,
        retain_ns,
    )
    durable = path is not None or disk is not None
    return Kernel(core, path, durability or ("each" if durable else "memory"))
