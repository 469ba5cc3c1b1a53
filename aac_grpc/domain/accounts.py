"""Accounts: cash, holds and positions, kept exactly, and the frozen view that risk judges by.

Money is integer units of 1e-8 of the account's currency, quantities are lots. A resting buy holds its price x
open quantity in cash; a resting sell holds its open quantity of the position.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aac_grpc.domain.commands import AccountKind


@dataclass(frozen=True, slots=True)
class PositionState:
    """A position as risk sees it."""

    quantity: int
    """Lots; negative when short."""
    hold_quantity: int
    """Lots that resting sells have promised."""
    cost: int
    """What the open quantity cost (average cost method); negative when short."""
    realized_pnl: int


@dataclass(frozen=True, slots=True)
class OpenOrders:
    """An account's resting orders in one instrument."""

    count: int
    notional: int
    """Money of price x open quantity, both sides."""
    buy_quantity: int
    sell_quantity: int
    buy_notional: int
    sell_notional: int


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account at one moment, for risk and for reads."""

    account_id: str
    version: int
    """Grows with each change of the account."""
    kind: AccountKind
    currency: str
    allow_short: bool
    cash: int
    holds: int
    """Cash that resting buys have promised; buying power is `cash - holds`."""
    realized_pnl: int
    positions: Mapping[str, PositionState]
    """By symbol; only where there is or was a position or a hold."""
    open_orders: Mapping[str, OpenOrders]
    """By symbol; only where orders rest."""

    @property
    def available(self) -> int:
        """Cash not promised to resting orders."""
        return self.cash - self.holds
