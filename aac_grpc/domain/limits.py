"""Pre-trade risk: orders judged against an account's limits, each on top of those accepted before it.

Pure and unit-agnostic: prices, quantities and money are integers of any units in which
`price x quantity x notional_unit` is money (ticks, lots and 1e-8; or the grammar's own resolution for a caller who
knows no ticks: 1e-9, 1e-9, 1e-18 and a notional_unit of 1). Limits are in the same units as the orders.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from aac_grpc.domain.accounts import AccountState
from aac_grpc.domain.orders import OrderIntent, Side


class Rule(StrEnum):
    """What orders are judged by, and in what a finding of it is measured."""

    ORDER_SIZE = "order_size"
    """Quantity of one order."""
    ORDER_NOTIONAL = "order_notional"
    """Money: price x quantity of one order."""
    PRICE_BAND = "price_band"
    """Price: distance from the reference price."""
    POSITION = "position"
    """Quantity: position, on the order's side, after all open orders of that side fill."""
    BUYING_POWER = "buying_power"
    """Money: what the order holds, of the cash that is free of holds."""
    OPEN_ORDERS = "open_orders"
    """Count of open orders."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an account; None is no limit."""

    max_order_quantity: int | None = None
    max_order_notional: int | None = None
    """In the account's currency."""
    price_band: Decimal | None = None
    """Largest distance from the reference price as a share of it: 0.1 is ten percent."""
    max_position: int | None = None
    """Largest absolute position in one instrument."""
    max_open_orders: int | None = None


@dataclass(frozen=True, slots=True)
class ReferencePrice:
    """What a band is measured from and a market order is valued at; None where there is none."""

    price: int | None = None
    """Last trade or, without one, the middle of the book."""
    bid: int | None = None
    ask: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule's measure of one order; the rule says what is measured."""

    rule: Rule
    limit: int
    actual: int
    reason: str = ""
    """A sentence for people where the rule is broken."""

    @property
    def headroom(self) -> int:
        """Limit less actual; below zero where the rule is broken."""
        return self.limit - self.actual

    @property
    def passed(self) -> bool:
        """The rule is kept."""
        return not self.reason


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fate of one order."""

    findings: tuple[Finding, ...]
    """One of each rule that applied."""

    @property
    def accepted(self) -> bool:
        """No rule is broken."""
        return all(finding.passed for finding in self.findings)


def judge(
    orders: Sequence[OrderIntent],
    accounts: Mapping[str, AccountState],
    limits: Mapping[str, Limits],
    reference_prices: Mapping[str, ReferencePrice],
) -> list[Verdict]:
    """Judges orders in the given order, each on top of those accepted before it.

    Args:
        orders: New orders, and amends with what they replace.
        accounts: The state of every account that an order names, by id.
        limits: The limits in force for each of them, by id.
        reference_prices: By symbol; a symbol without one has no band, and its market orders cannot be valued.

    Raises:
        KeyError: An account's state or limits are missing; nothing is judged without them.
    """
    running = {order.account_id: _Running(accounts[order.account_id]) for order in orders}
    verdicts = []
    for order in orders:
        account = running[order.account_id]
        reference = reference_prices.get(order.symbol, _NO_REFERENCE)
        case = _Case(order, account, limits[order.account_id], reference)
        verdict = Verdict(tuple(finding for rule in RULES if (finding := rule(case)) is not None))
        if verdict.accepted:
            account.accept(order, case.value)
        verdicts.append(verdict)
    return verdicts


class _Running:
    """An account while a batch is judged: its state and what was accepted since."""

    __slots__ = ("allow_short", "available", "open_orders", "open_quantity", "positions")

    def __init__(self, state: AccountState) -> None:
        self.available = state.available
        self.allow_short = state.allow_short
        self.open_orders = sum(open_orders.count for open_orders in state.open_orders.values())
        self.positions = {symbol: position.quantity for symbol, position in state.positions.items()}
        self.open_quantity: dict[tuple[str, Side], int] = {}
        for symbol, open_orders in state.open_orders.items():
            self.open_quantity[symbol, Side.BUY] = open_orders.buy_quantity
            self.open_quantity[symbol, Side.SELL] = open_orders.sell_quantity

    def accept(self, order: OrderIntent, value: int) -> None:
        """Counts an accepted order as open, in place of what it replaces."""
        key = order.symbol, order.side
        self.open_quantity[key] = self.open_quantity.get(key, 0) + order.quantity - order.replaced_quantity
        if order.side is Side.BUY:
            self.available -= value - _replaced_value(order)
        if not order.replaced_quantity:
            self.open_orders += 1


class _Case:
    """One order with all that a rule may look at."""

    __slots__ = ("account", "limits", "order", "price", "reference", "shrinks", "value")

    def __init__(self, order: OrderIntent, account: _Running, limits: Limits, reference: ReferencePrice) -> None:
        self.order = order
        self.account = account
        self.limits = limits
        self.reference = reference
        self.price = order.price or _market_price(order.side, reference)
        """Limit price; a market order has the price that it would meet, or 0 where nothing tells."""
        self.value = self.price * order.quantity * order.notional_unit
        self.shrinks = order.quantity <= order.replaced_quantity and self.value <= _replaced_value(order)
        """An amend that takes on nothing more than what it replaces."""

    def side_position(self) -> int:
        """The position in the order's direction after all open orders of its side, and it, fill."""
        order, account = self.order, self.account
        held = account.positions.get(order.symbol, 0)
        others = account.open_quantity.get((order.symbol, order.side), 0) - order.replaced_quantity
        return (held if order.side is Side.BUY else -held) + others + order.quantity


def _order_size(case: _Case) -> Finding | None:
    limit = case.limits.max_order_quantity
    if limit is None or case.shrinks:
        return None
    return _finding(Rule.ORDER_SIZE, limit, case.order.quantity, "the quantity is over the limit of one order")


def _order_notional(case: _Case) -> Finding | None:
    limit = case.limits.max_order_notional
    if limit is None or case.shrinks:
        return None
    if not case.price and case.side_position() > 0:
        reason = "a market order cannot be valued: there is no trade and no quote yet; send a limit order"
        return Finding(Rule.ORDER_NOTIONAL, limit, 0, reason)
    return _finding(Rule.ORDER_NOTIONAL, limit, case.value, "price x quantity is over the limit of one order")


def _price_band(case: _Case) -> Finding | None:
    band, reference = case.limits.price_band, case.reference.price
    if band is None or reference is None or not case.order.price:
        return None
    numerator, denominator = band.as_integer_ratio()
    limit = reference * numerator // denominator
    actual = abs(case.order.price - reference)
    return _finding(Rule.PRICE_BAND, limit, actual, "the price is too far from the reference price")


def _position(case: _Case) -> Finding | None:
    if case.shrinks:
        return None
    if case.order.side is Side.SELL and not case.account.allow_short:
        return _finding(Rule.POSITION, 0, case.side_position(), "the account may not sell more than it has")
    limit = case.limits.max_position
    if limit is None:
        return None
    return _finding(Rule.POSITION, limit, case.side_position(), "the position would be over the limit")


def _buying_power(case: _Case) -> Finding | None:
    if case.order.side is Side.SELL or case.shrinks:
        return None
    free = case.account.available + _replaced_value(case.order)
    return _finding(Rule.BUYING_POWER, free, case.value, "the order costs more than the cash that is free")


def _open_orders(case: _Case) -> Finding | None:
    limit = case.limits.max_open_orders
    if limit is None or case.order.replaced_quantity:
        return None
    return _finding(Rule.OPEN_ORDERS, limit, case.account.open_orders + 1, "the account has too many open orders")


RULES: tuple[Callable[[_Case], Finding | None], ...] = (
    _order_size,
    _order_notional,
    _price_band,
    _position,
    _buying_power,
    _open_orders,
)
"""Every rule, in the order of its findings; a rule that does not apply finds None."""

_NO_REFERENCE = ReferencePrice()


def _finding(rule: Rule, limit: int, actual: int, reason: str) -> Finding:
    return Finding(rule, limit, actual, reason if actual > limit else "")


def _replaced_value(order: OrderIntent) -> int:
    """What the replaced order held, where this is the amend of one."""
    return order.replaced_price * order.replaced_quantity * order.notional_unit


def _market_price(side: Side, reference: ReferencePrice) -> int:
    touch = reference.ask if side is Side.BUY else reference.bid
    return touch or reference.price or 0
