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
from .journal import Event, Journal, JournalStatus, Proof, Verification, verify
from .kernel import AgentView, Kernel, ManualClock, open
from .latent import Latent, LatentInfo, LatentPoolStatus, Latents, Prefixes
from .latent_exchange import LatentExchange, LatentReader, RemoteLatent
from .latent_spec import LatentSpec
from .latent_tier import DiskTier, Stored
from .ledger import Account, Ledger, Totals, Usage
from .mailbox import Batch, DeadLetter, Message, TaskDelivery
from .outcome import Outcome, TransferOutcome
from .policy import Decision, Policy
from .task import Economics, LatentManifest, Receipt, Receipts, Task, Tasks
from .transform import Quantised, Realignment, quantise, realignment, rope_shift

__version__ = "0.1.0"

__all__ = [
    "Account",
    "Agent",
    "AgentView",
    "Agents",
    "Batch",
    "BudgetError",
    "BusyError",
    "Capabilities",
    "CapabilityIndex",
    "ConflictError",
    "DeadLetter",
    "Decision",
    "DeniedError",
    "DeviceError",
    "DiskTier",
    "Economics",
    "Event",
    "HanseError",
    "InternalError",
    "InvalidError",
    "Journal",
    "JournalStatus",
    "Kernel",
    "Latent",
    "LatentError",
    "LatentExchange",
    "LatentInfo",
    "LatentManifest",
    "LatentPoolStatus",
    "LatentReader",
    "LatentSpec",
    "Latents",
    "Ledger",
    "ManualClock",
    "Matches",
    "Message",
    "NotFoundError",
    "Outcome",
    "Policy",
    "Prefixes",
    "Proof",
    "Quantised",
    "Realignment",
    "Receipt",
    "Receipts",
    "RemoteLatent",
    "SearchResult",
    "Skills",
    "Space",
    "StorageError",
    "Stored",
    "Task",
    "TaskDelivery",
    "Tasks",
    "TimedOutError",
    "Totals",
    "TransferOutcome",
    "Usage",
    "Verification",
    "all_of",
    "any_of",
    "errors",
    "none_of",
    "open",
    "quantise",
    "realignment",
    "rope_shift",
    "verify",
]
