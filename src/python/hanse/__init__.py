"""hanse: a coordination kernel for populations of AI agents.

Agents find each other by capability, exchange messages and latent state, pay each other, obey the
same rules, and leave evidence that anyone can check. Start with `hanse.open`.
"""

from . import _interpreter as _interpreter
from . import errors
from .agent import Agent, Agents
from .capability import Capabilities, Matches, Space
from .checkpoint import (
    Checkpoint,
    NoteKey,
    verify_checkpoint,
    verify_consistency,
    verify_receipt,
)
from .costs import Cost, Odds
from .durable import DurableBox, DurableDeadLetter, Outbox
from .errors import (
    BudgetError,
    BusyError,
    ConflictError,
    DeniedError,
    DeviceError,
    HanseError,
    InternalError,
    InvalidError,
    LatentError,
    NotFoundError,
    StorageError,
    TimedOutError,
)
from .history import Entries, EntryKind
from .identity import Entry, Lineage, SigningKey, did_key, key_of_did
from .index import CapabilityIndex, ExplainedResult, SearchResult
from .journal import (
    Compaction,
    Event,
    Journal,
    JournalStatus,
    Proof,
    Snapshot,
    Verification,
    verify,
)
from .kernel import AgentView, Kernel, ManualClock, open
from .latent import Latent, LatentInfo, LatentPoolStatus, Latents, Prefixes
from .latent_exchange import LatentExchange, LatentReader, LatentSheet, RemoteLatent
from .latent_spec import LatentSpec
from .latent_tier import DiskTier, Stored
from .ledger import Account, Ledger, Totals, Usage
from .lifecycle import Conditions
from .mailbox import (
    Batch,
    Box,
    DeadLetter,
    LaneCounters,
    MailboxCounters,
    Mailboxes,
    Message,
    QueueAges,
    RunDigest,
    TaskDelivery,
    Trace,
)
from .outcome import Outcome, TransferOutcome
from .passport import Passport, Passports
from .people import ApprovalItem, People
from .policy import (
    Decision,
    Decisions,
    Difference,
    DryRun,
    GovernanceReport,
    Lesson,
    Obligation,
    Policy,
    Rule,
)
from .reply import Reply
from .reputation import Reputation, Role, Standing
from .requests import Replies
from .routing import Router, RouterReport
from .search import Explanation, Ranking, Skills, Where, all_of, any_of, none_of, where
from .shards import ShardReport, Shards
from .task import Economics, LatentManifest, Receipt, Receipts, Task, TaskConditions, Tasks
from .topics import Publication, Topics
from .transfer import Budget, Hold, HoldState, Moves, TransferFlag, TransferKind
from .transform import Quantised, Realignment, quantise, realignment, rope_shift

__version__ = "0.1.0"

__all__ = [
    "Account",
    "Agent",
    "AgentView",
    "Agents",
    "ApprovalItem",
    "Batch",
    "Box",
    "Budget",
    "BudgetError",
    "BusyError",
    "Capabilities",
    "CapabilityIndex",
    "Checkpoint",
    "Compaction",
    "Conditions",
    "ConflictError",
    "Cost",
    "DeadLetter",
    "Decision",
    "Decisions",
    "DeniedError",
    "DeviceError",
    "Difference",
    "DiskTier",
    "DryRun",
    "DurableBox",
    "DurableDeadLetter",
    "Economics",
    "Entries",
    "Entry",
    "EntryKind",
    "Event",
    "ExplainedResult",
    "Explanation",
    "GovernanceReport",
    "HanseError",
    "Hold",
    "HoldState",
    "InternalError",
    "InvalidError",
    "Journal",
    "JournalStatus",
    "Kernel",
    "LaneCounters",
    "Latent",
    "LatentError",
    "LatentExchange",
    "LatentInfo",
    "LatentManifest",
    "LatentPoolStatus",
    "LatentReader",
    "LatentSheet",
    "LatentSpec",
    "Latents",
    "Ledger",
    "Lesson",
    "Lineage",
    "MailboxCounters",
    "Mailboxes",
    "ManualClock",
    "Matches",
    "Message",
    "Moves",
    "NotFoundError",
    "NoteKey",
    "Obligation",
    "Odds",
    "Outbox",
    "Outcome",
    "Passport",
    "Passports",
    "People",
    "Policy",
    "Prefixes",
    "Proof",
    "Publication",
    "Quantised",
    "QueueAges",
    "Ranking",
    "Realignment",
    "Receipt",
    "Receipts",
    "RemoteLatent",
    "Replies",
    "Reply",
    "Reputation",
    "Role",
    "Router",
    "RouterReport",
    "Rule",
    "RunDigest",
    "SearchResult",
    "ShardReport",
    "Shards",
    "SigningKey",
    "Skills",
    "Snapshot",
    "Space",
    "Standing",
    "StorageError",
    "Stored",
    "Task",
    "TaskConditions",
    "TaskDelivery",
    "Tasks",
    "TimedOutError",
    "Topics",
    "Totals",
    "Trace",
    "TransferFlag",
    "TransferKind",
    "TransferOutcome",
    "Usage",
    "Verification",
    "Where",
    "all_of",
    "any_of",
    "did_key",
    "errors",
    "key_of_did",
    "none_of",
    "open",
    "quantise",
    "realignment",
    "rope_shift",
    "verify",
    "verify_checkpoint",
    "verify_consistency",
    "verify_receipt",
    "where",
]
