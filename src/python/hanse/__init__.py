"""hanse: a coordination kernel for populations of AI agents.

Agents find each other by capability, exchange messages and latent state, pay each other, obey the
same rules, and leave evidence that anyone can check. Start with `hanse.open`.
"""

from . import errors
from .agent import Agent, Agents
from .capability import (
    Capabilities,
    CapabilityIndex,
    Matches,
    SearchResult,
    Skills,
    Space,
    all_of,
    any_of,
    none_of,
)
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
from .journal import Event, Journal, JournalStatus, Proof, Verification, verify
from .kernel import AgentView, Kernel, ManualClock, open
from .latent import Latent, LatentInfo, LatentPoolStatus, Latents, LatentSpec
from .ledger import Account, Ledger, Totals, Usage
from .mailbox import Batch, DeadLetter, Message, TaskDelivery
from .outcome import Outcome, TransferOutcome
from .policy import Decision, Policy
from .task import Economics, LatentManifest, Receipt, Receipts, Task, Tasks
from .transfer import Budget, Hold, HoldState, Moves, TransferFlag, TransferKind

__version__ = "0.1.0"

__all__ = [
    "Account",
    "Agent",
    "AgentView",
    "Agents",
    "Batch",
    "Budget",
    "BudgetError",
    "BusyError",
    "Capabilities",
    "CapabilityIndex",
    "ConflictError",
    "DeadLetter",
    "Decision",
    "DeniedError",
    "DeviceError",
    "Economics",
    "Entries",
    "EntryKind",
    "Event",
    "HanseError",
    "Hold",
    "HoldState",
    "InternalError",
    "InvalidError",
    "Journal",
    "JournalStatus",
    "Kernel",
    "Latent",
    "LatentError",
    "LatentInfo",
    "LatentManifest",
    "LatentPoolStatus",
    "LatentSpec",
    "Latents",
    "Ledger",
    "ManualClock",
    "Matches",
    "Message",
    "Moves",
    "NotFoundError",
    "Outcome",
    "Policy",
    "Proof",
    "Receipt",
    "Receipts",
    "SearchResult",
    "Skills",
    "Space",
    "StorageError",
    "Task",
    "TaskDelivery",
    "Tasks",
    "TimedOutError",
    "Totals",
    "TransferFlag",
    "TransferKind",
    "TransferOutcome",
    "Usage",
    "Verification",
    "all_of",
    "any_of",
    "errors",
    "none_of",
    "open",
    "verify",
]
