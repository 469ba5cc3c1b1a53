"""A venue's state, and the steps by which it changes.

`execute` and `apply` change the state by these steps only: the one after deciding, the other because an event
says so. That is why both end in the same state.
"""

from aac_grpc.domain.accounts import Account
from aac_grpc.domain.feed import FeedRun
from aac_grpc.domain.instruments import Instrument
from aac_grpc.domain.matching import Book, Level
from aac_grpc.domain.orders import Order


class Market:
    """One instrument's book and counters."""

    __slots__ = (
        "book",
        "depth_sequence",
        "instrument",
        "last_price",
        "last_quantity",
        "notional_unit",
        "trade_sequence",
    )

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.notional_unit = instrument.notional_unit
        self.book: Book[Order] = Book()
        self.trade_sequence = 0
        self.depth_sequence = 0
        self.last_price = 0
        """Price of the last trade in ticks; 0 before the first. Prints, which may be off tick, do not count."""
        self.last_quantity = 0
        """Lots of the last trade."""


class VenueState:
    """Everything that a venue knows."""

    __slots__ = (
        "accounts",
        "entry_count",
        "feeds",
        "markets",
        "order_count",
        "orders",
        "sequence",
        "time_ns",
        "trade_count",
        "venue_id",
    )

    def __init__(self, venue_id: str) -> None:
        self.venue_id = venue_id
        self.sequence = 0
        """Of the last event."""
        self.time_ns = 0
        """Of the last event; the venue's clock never goes back."""
        self.order_count = 0
        self.trade_count = 0
        self.entry_count = 0
        self.markets: dict[str, Market] = {}
        self.accounts: dict[str, Account] = {}
        self.orders: dict[str, Order] = {}
        """Live orders by id."""
        self.feeds: dict[str, FeedRun] = {}

    def next_order_id(self) -> str:
        """Counts an order and returns its id, which begins with the venue's."""
        self.order_count = count = self.order_count + 1
        return f"{self.venue_id}-{count}"

    def next_trade_id(self) -> str:
        """Counts a trade or print and returns its id."""
        self.trade_count = count = self.trade_count + 1
        return f"{self.venue_id}-t{count}"

    def next_entry_id(self) -> str:
        """Counts a ledger entry and returns its id."""
        self.entry_count = count = self.entry_count + 1
        return f"{self.venue_id}-e{count}"

    def enter(self, order: Order, account: Account) -> None:
        """Makes an order known; it does not rest yet."""
        self.orders[order.order_id] = order
        account.orders[order.client_order_id] = order

    def forget(self, order: Order, account: Account) -> None:
        """Drops a done order from memory."""
        del self.orders[order.order_id]
        del account.orders[order.client_order_id]


def rest(market: Market, order: Order, account: Account) -> Level[Order]:
    """Puts an order into the book and holds what it promises."""
    if account.is_user:
        notional = order.price * order.leaves * market.notional_unit
        account.promise(order.symbol, order.side, 1, order.leaves, notional)
    return market.book.add(order)


def leave(market: Market, order: Order, account: Account) -> Level[Order]:
    """Takes a resting order out of the book and releases what it promised."""
    if account.is_user:
        notional = order.price * order.leaves * market.notional_unit
        account.promise(order.symbol, order.side, -1, -order.leaves, -notional)
    return market.book.cancel(order)


def shrink(market: Market, order: Order, account: Account, quantity: int) -> Level[Order]:
    """Takes lots off a resting order, which keeps its place and some of its lots."""
    if account.is_user:
        account.promise(order.symbol, order.side, 0, -quantity, -order.price * quantity * market.notional_unit)
    order.quantity -= quantity
    return market.book.reduce(order, quantity)


def settle_taker(market: Market, order: Order, account: Account, price: int, quantity: int) -> int:
    """Counts a fill on an incoming order and moves its account's cash and position; returns the realized profit."""
    order.leaves -= quantity
    order.filled += quantity
    order.filled_value += price * quantity
    if not account.is_user:
        return 0
    return account.settle(order.symbol, order.side, quantity, price * quantity * market.notional_unit)


def settle_maker(market: Market, order: Order, account: Account, price: int, quantity: int) -> int:
    """Counts a fill on a resting order that the book has reduced, releases and settles; returns the realized profit."""
    order.filled += quantity
    order.filled_value += price * quantity
    if not account.is_user:
        return 0
    notional = price * quantity * market.notional_unit
    account.promise(order.symbol, order.side, 0 if order.leaves else -1, -quantity, -notional)
    return account.settle(order.symbol, order.side, quantity, notional)
