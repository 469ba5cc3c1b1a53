"""Accounts: cash, holds and positions, kept exactly, and the frozen view that risk judges by.

Money is integer units of 1e-8 of the account's currency, quantities are lots. A resting buy holds its price x
open quantity in cash; a resting sell holds its open quantity of the position.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aac_grpc.domain.commands import AccountKind
from aac_grpc.domain.orders import Order, Side


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


class Position:
    """An account's holding in one instrument and what its resting orders promise there."""

    __slots__ = (
        "buy_notional",
        "buy_orders",
        "buy_quantity",
        "cost",
        "quantity",
        "realized_pnl",
        "sell_notional",
        "sell_orders",
        "sell_quantity",
    )

    def __init__(self, quantity: int = 0, cost: int = 0, realized_pnl: int = 0) -> None:
        self.quantity = quantity
        self.cost = cost
        self.realized_pnl = realized_pnl
        self.buy_orders = self.buy_quantity = self.buy_notional = 0
        self.sell_orders = self.sell_quantity = self.sell_notional = 0

    def trade(self, quantity: int, value: int) -> int:
        """Adds a trade of signed lots and signed money (both positive for a buy); returns the realized profit.

        Average cost: a closing trade takes its share of the open cost with it, rounded half to even to one
        money unit; what rounding leaves stays in the open cost, so cost and profit always add up to the cash.
        """
        held = self.quantity
        if held == 0 or (held > 0) == (quantity > 0):
            self.quantity += quantity
            self.cost += value
            return 0
        closed = min(abs(held), abs(quantity))
        closed_value = value * closed // abs(quantity)
        closed_cost = _share(self.cost, closed, abs(held))
        profit = -closed_value - closed_cost
        self.quantity += quantity
        self.cost += value - closed_value - closed_cost
        self.realized_pnl += profit
        return profit

    def is_blank(self) -> bool:
        """Says whether nothing is held, promised or was ever realized here."""
        return not (self.quantity or self.realized_pnl or self.buy_orders or self.sell_orders)


class Account:
    """One account of a venue; the venue's writer changes it."""

    __slots__ = (
        "account_id",
        "allow_short",
        "cash",
        "currency",
        "execution_sequence",
        "holds",
        "invested",
        "is_user",
        "kind",
        "offers",
        "order_sequence",
        "orders",
        "positions",
        "realized_pnl",
        "version",
    )

    def __init__(self, account_id: str, kind: AccountKind, currency: str, allow_short: bool) -> None:
        self.account_id = account_id
        self.kind = kind
        self.is_user = kind is AccountKind.USER
        self.currency = currency
        self.allow_short = allow_short
        self.cash = 0
        self.holds = 0
        self.offers = 0
        """Money of price x open quantity of the resting sells."""
        self.invested = 0
        """What the positions cost, long and short ones added up."""
        self.realized_pnl = 0
        self.version = 0
        self.order_sequence = 0
        self.execution_sequence = 0
        self.positions: dict[str, Position] = {}
        self.orders: dict[str, Order] = {}
        """Live orders by client order id."""

    def position(self, symbol: str) -> Position:
        """Returns the position in an instrument, a blank one if there was none."""
        position = self.positions.get(symbol)
        if position is None:
            position = self.positions[symbol] = Position()
        return position

    def promise(self, symbol: str, side: Side, orders: int, quantity: int, notional: int) -> None:
        """Adds to what resting orders promise: orders, lots and money, each negative to take away."""
        position = self.positions.get(symbol) or self.position(symbol)
        if side is Side.BUY:
            position.buy_orders += orders
            position.buy_quantity += quantity
            position.buy_notional += notional
            self.holds += notional
        else:
            position.sell_orders += orders
            position.sell_quantity += quantity
            position.sell_notional += notional
            self.offers += notional
        self.version += 1

    def settle(self, symbol: str, side: Side, quantity: int, notional: int) -> int:
        """Moves cash and position for a trade; returns the realized profit."""
        position = self.positions.get(symbol) or self.position(symbol)
        cost = position.cost
        if side is Side.BUY:
            self.cash -= notional
            profit = position.trade(quantity, notional)
        else:
            self.cash += notional
            profit = position.trade(-quantity, -notional)
        self.invested += abs(position.cost) - abs(cost)
        self.realized_pnl += profit
        self.version += 1
        return profit

    def at_stake(self) -> int:
        """Returns the most that profit, loss, costs or open orders can come to if all open orders trade.

        No trade makes it grow: what an open order promises becomes cost, and cost becomes profit or loss.
        """
        return abs(self.realized_pnl) + self.invested + self.holds + self.offers

    def adjust(self, amount: int) -> None:
        """Adds cash, or takes it where negative."""
        self.cash += amount
        self.version += 1

    def state(self) -> AccountState:
        """Returns a frozen view."""
        positions = {symbol: position for symbol, position in self.positions.items() if not position.is_blank()}
        return AccountState(
            account_id=self.account_id,
            version=self.version,
            kind=self.kind,
            currency=self.currency,
            allow_short=self.allow_short,
            cash=self.cash,
            holds=self.holds,
            realized_pnl=self.realized_pnl,
            positions={symbol: _position_state(position) for symbol, position in positions.items()},
            open_orders={
                symbol: _open_orders(position)
                for symbol, position in positions.items()
                if position.buy_orders or position.sell_orders
            },
        )


def _share(cost: int, part: int, whole: int) -> int:
    """Returns cost x part / whole, rounded half to even."""
    quotient, remainder = divmod(cost * part, whole)
    doubled = 2 * remainder
    if doubled > whole or (doubled == whole and quotient & 1):
        quotient += 1
    return quotient


def _position_state(position: Position) -> PositionState:
    return PositionState(position.quantity, position.sell_quantity, position.cost, position.realized_pnl)


def _open_orders(position: Position) -> OpenOrders:
    return OpenOrders(
        count=position.buy_orders + position.sell_orders,
        notional=position.buy_notional + position.sell_notional,
        buy_quantity=position.buy_quantity,
        sell_quantity=position.sell_quantity,
        buy_notional=position.buy_notional,
        sell_notional=position.sell_notional,
    )
