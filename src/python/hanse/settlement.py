"""Settlement that depends on the world outside: posted, voided, or unknown, never guessed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .reasons import refuse
from .transfer import Hold, HoldState, TransferFlag, names_of

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Settlements"]

_VERDICTS = {HoldState.unknown: 0, HoldState.posted: 1, HoldState.voided: 2}


class Settlements:
    """Holds as they stand, and their end where a bridge decides it."""

    __slots__ = ()
    _kernel: Kernel

    def get_hold(self, hold: int) -> Hold:
        """A hold and its state. Raises NotFoundError."""
        row = self._kernel._core.hold(self._kernel._acting(), hold)
        id, state, debit, credit, arbiter, unit, amount, left, expires_ns, code = row[:10]
        return Hold(
            id=id,
            state=HoldState(state),
            debit=debit,
            credit=credit,
            arbiter=arbiter,
            unit=self._kernel._core.unit_name(unit),
            amount=amount,
            left=left,
            expires_ns=expires_ns,
            code=code,
            post_by=names_of(row[10]),
            void_by=names_of(row[11]),
            flags=TransferFlag(row[12]),
            of_task=row[13],
        )

    def mark_unknown(self, hold: int, *, evidence: bytes | None = None) -> int:
        """Says that the world outside is asked to settle a hold: its end is unknown from now on.

        Until `reconcile` its funds stay pending: nothing posts, voids or expires it. evidence: 32
        bytes for the record. Returns the position. Raises BusyError (SettlementUnknown) where it is
        unknown already: who gets that must look up outside, not pay again.
        """
        return self._settle(hold, HoldState.unknown, 0, evidence)

    def reconcile(
        self, hold: int, *, paid: bool, amount: int | None = None, evidence: bytes | None = None
    ) -> int:
        """What a look-up outside has found: posts `amount` (None: all) of a hold, or voids it.

        Returns the journal position. Raises ConflictError (AlreadyResolved), NotFoundError.
        """
        if not isinstance(paid, bool):
            refuse("WrongType", "paid", f"want a bool, have a {type(paid).__name__}")
        if amount == 0:
            refuse("OutOfRange", "amount", "want 1 or more, have 0; paid=False voids")
        state = HoldState.posted if paid else HoldState.voided
        return self._settle(hold, state, 0 if amount is None else amount, evidence)

    def _settle(self, hold: int, state: HoldState, amount: int, evidence: bytes | None) -> int:
        return self._kernel._core.settle(
            self._kernel._acting(), hold, _VERDICTS[state], amount, evidence
        )

    def settle(self, hold: int, bridge: Callable[[Hold], bool]) -> HoldState:
        """Settles a hold by a bridge to the world outside: True: paid, False: refused for good.

        The hold is recorded as unknown before the bridge is called, so that a crash, a timeout or
        any other exception leaves it unknown, never paid twice. Returns posted or voided. Raises
        BusyError (SettlementUnknown, from the bridge's exception): resolve it by a look-up outside
        and `reconcile`.
        """
        self.mark_unknown(hold)
        try:
            paid = bridge(self.get_hold(hold))
            if not isinstance(paid, bool):
                raise TypeError(f"a bridge answers True or False, not {paid!r}")
        except Exception as error:
            try:
                refuse("SettlementUnknown", "bridge", str(error) or type(error).__name__, hold)
            except Exception as unknown:
                raise unknown from error
        self.reconcile(hold, paid=paid)
        return HoldState.posted if paid else HoldState.voided
