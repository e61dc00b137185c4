"""hanse: a coordination kernel for populations of AI agents.

Agents find each other by capability, exchange messages and latent state, pay each other, obey the
same rules, and leave evidence that anyone can check. Start with `hanse.open`.
"""

from . import errors
from .agent import Agent, Agents
from .capability import Capabilities, Matches, Space
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
from .index import CapabilityIndex, ExplainedResult, SearchResult
from .journal import Event, Journal, JournalStatus, Proof, Verification, verify
from .kernel import AgentView, Kernel, ManualClock, open
from .latent import Latent, LatentInfo, LatentPoolStatus, Latents, LatentSpec
from .ledger import Account, Ledger, Totals, Usage
from .mailbox import (
    Batch,
    Box,
    DeadLetter,
    LaneCounters,
    MailboxCounters,
    Mailboxes,
    Message,
    QueueAges,
    TaskDelivery,
    Trace,
)
from .outcome import Outcome, TransferOutcome
from .policy import Decision, Policy
from .reply import Reply
from .requests import Replies
from .search import Explanation, Ranking, Skills, Where, all_of, any_of, none_of, where
from .task import Economics, LatentManifest, Receipt, Receipts, Task, Tasks
from .topics import Publication, Topics

__version__ = "0.1.0"

__all__ = [
    "Account",
    "Agent",
    "AgentView",
    "Agents",
    "Batch",
    "Box",
    "BudgetError",
    "BusyError",
    "Capabilities",
    "CapabilityIndex",
    "ConflictError",
    "DeadLetter",
    "Decision",
    "DeniedError",
    "DeviceError",
    "DurableBox",
    "DurableDeadLetter",
    "Economics",
    "Event",
    "ExplainedResult",
    "Explanation",
    "HanseError",
    "InternalError",
    "InvalidError",
    "Journal",
    "JournalStatus",
    "Kernel",
    "LaneCounters",
    "Latent",
    "LatentError",
    "LatentInfo",
    "LatentManifest",
    "LatentPoolStatus",
    "LatentSpec",
    "Latents",
    "Ledger",
    "MailboxCounters",
    "Mailboxes",
    "ManualClock",
    "Matches",
    "Message",
    "NotFoundError",
    "Outbox",
    "Outcome",
    "Policy",
    "Proof",
    "Publication",
    "QueueAges",
    "Ranking",
    "Receipt",
    "Receipts",
    "Replies",
    "Reply",
    "SearchResult",
    "Skills",
    "Space",
    "StorageError",
    "Task",
    "TaskDelivery",
    "Tasks",
    "TimedOutError",
    "Topics",
    "Totals",
    "Trace",
    "TransferOutcome",
    "Usage",
    "Verification",
    "Where",
    "all_of",
    "any_of",
    "errors",
    "none_of",
    "open",
    "verify",
    "where",
]
