"""Rules: a total, deterministic program; default deny, forbid overrides permit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .reasons import refuse

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Decision", "Policy"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say: allowed or not, at which epoch, and by which rules."""

    allowed: bool
    epoch: int
    rules: list[str]
    error: bool = False

    def __bool__(self) -> bool:
        return self.allowed


class Policy:
    """The rules of a kernel."""

    __slots__ = ("_kernel",)

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def load(self, text: str) -> int:
        """Compiles and swaps in a whole new program, in a subset of Cedar's syntax.

        Returns the new epoch. Raises InvalidError (PolicyCompileError with line and column,
        PolicyLockout), DeniedError; the old program stays then.
        """
        return self._kernel._core.load_policy(self._kernel._acting(), text)

    def check(
        self,
        principal: int,
        action: str,
        resource: int | None = None,
        context: Mapping[str, int | str] | None = None,
    ) -> Decision:
        """What the rules would say, without effect.

        context: facts by name, such as {"budget": 100, "resource.price": 5, "task_class": "x"}.
        """
        if context is not None and not isinstance(context, Mapping):
            refuse("WrongType", "context", f"want a mapping, have a {type(context).__name__}")
        return Decision(
            *self._kernel._core.check_policy(
                self._kernel._acting(), principal, action, resource, dict(context or {})
            )
        )

    @property
    def text(self) -> str:
        """The program as it was loaded."""
        return self._kernel._core.policy_text()

    @property
    def epoch(self) -> int:
        """Grows by one with each load."""
        return self._kernel._core.policy_epoch()

    @property
    def rules(self) -> dict[str, str]:
        """The text of each rule by its name."""
        return dict(self._kernel._core.policy_rules())
