"""Who acts, for the verbs that are mixed into Kernel and AgentView."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Acting"]


class Acting:
    """What each family of verbs asks of the class that it is mixed into."""

    __slots__ = ()

    @abstractmethod
    def _acting(self) -> int:
        """The agent that acts."""

    @abstractmethod
    def _owner(self) -> Kernel:
        """The kernel that it acts in."""
