"""What happened in a venue. Events carry every change of its state, so that applying them rebuilds it.

Each event has `sequence` (of the venue, +1 for each event, no gap) and `time_ns` (the venue's clock). Besides:

- `order_sequence` numbers what happened to one account's orders, `execution_sequence` its executions,
  `trade_sequence` an instrument's trades and prints;
- `level` is the visible level that the event changed, numbered per instrument (None: the book did not change),
  so that nobody but the venue needs a matching book.

Prices are ticks, quantities lots, money units of 1e-8 of the account's currency.
"""

from dataclasses import dataclass
from enum import StrEnum

from aac_grpc.domain.commands import AccountKind
from aac_grpc.domain.feed import AwaitedRow
from aac_grpc.domain.instruments import Instrument
from aac_grpc.domain.orders import OrderType, Reason, Side, TimeInForce


class CancelReason(StrEnum):
    """Why an order left without being filled whole."""

    REQUESTED = "REQUESTED"
    """Its owner cancelled it."""
    IOC = "IOC"
    """The rest of an IOC limit order found nothing more to trade with."""
    MARKET_REMAINDER = "MARKET_REMAINDER"
    """The rest of a market order found nothing more to trade with."""
    FOK = "FOK"
    """A FOK order could not be filled whole."""
    FEED = "FEED"
    """The recording took it out, or its run ended."""
    FEED_RESET = "FEED_RESET"
    """A recorded level was set to what the recording shows."""


@dataclass(slots=True)
class LevelChange:
    """A level of an instrument's book, as it is after the change."""

    side: Side
    price: int
    quantity: int
    """Visible lots; 0 when the level is gone."""
    orders: int
    depth_sequence: int
    """Numbers the instrument's level changes: +1 each, no gap."""


@dataclass(slots=True)
class InstrumentAdded:
    """An instrument was listed."""

    sequence: int
    time_ns: int
    instrument: Instrument


@dataclass(slots=True)
class AccountCreated:
    """An account was opened."""

    sequence: int
    time_ns: int
    account_id: str
    kind: AccountKind
    currency: str
    allow_short: bool


@dataclass(slots=True)
class CashAdjusted:
    """Cash entered or left an account; `ledger.postings` gives both legs."""

    sequence: int
    time_ns: int
    entry_id: str
    account_id: str
    currency: str
    amount: int
    cash: int
    """The account's cash after it."""
    reference: str


@dataclass(slots=True)
class OrderAccepted:
    """An order entered the venue.

    With a `level` it rests at once. Without one it is about to trade: `Trade`s follow, then, unless it is filled,
    `OrderRested` or `OrderCanceled`, all from the same command.
    """

    sequence: int
    time_ns: int
    order_id: str
    client_order_id: str
    account_id: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    price: int
    """Limit price; 0 for a market order."""
    quantity: int
    order_sequence: int
    level: LevelChange | None


@dataclass(slots=True)
class OrderRejected:
    """An order was refused by the venue or by risk; it has an id and a journal entry, and never entered the book."""

    sequence: int
    time_ns: int
    order_id: str
    client_order_id: str
    account_id: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    price: int
    quantity: int
    order_sequence: int
    """0 where the account is unknown."""
    reasons: tuple[Reason, ...]


@dataclass(slots=True)
class OrderRested:
    """What an order could not trade joined the book."""

    sequence: int
    time_ns: int
    order_id: str
    account_id: str
    symbol: str
    side: Side
    price: int
    leaves: int
    level: LevelChange


@dataclass(slots=True)
class OrderAmended:
    """A live order's price or open quantity changed.

    `level` is the one at `previous_price`. If the order lost its place (`requeued`) it has left that level, and
    `Trade`s and `OrderRested` follow as for a new order.
    """

    sequence: int
    time_ns: int
    order_id: str
    client_order_id: str
    account_id: str
    symbol: str
    side: Side
    price: int
    quantity: int
    """Total: filled plus open."""
    leaves: int
    previous_price: int
    previous_leaves: int
    requeued: bool
    order_sequence: int
    level: LevelChange | None


@dataclass(slots=True)
class AmendRejected:
    """An amend was refused; the order, if there is one, is unchanged."""

    sequence: int
    time_ns: int
    order_id: str
    account_id: str
    price: int | None
    quantity: int | None
    order_sequence: int
    reasons: tuple[Reason, ...]


@dataclass(slots=True)
class OrderCanceled:
    """What was open of an order left the market; `level` is where it rested, if it did."""

    sequence: int
    time_ns: int
    order_id: str
    client_order_id: str
    account_id: str
    symbol: str
    side: Side
    price: int
    quantity: int
    """The order's total."""
    canceled: int
    """What was open of it."""
    filled: int
    filled_value: int
    reason: CancelReason
    order_sequence: int
    level: LevelChange | None


@dataclass(slots=True)
class CancelRejected:
    """A cancel was refused: the account has no such live order."""

    sequence: int
    time_ns: int
    order_id: str
    account_id: str
    order_sequence: int
    reasons: tuple[Reason, ...]


@dataclass(slots=True)
class Execution:
    """One side of a trade: the order after it and, for a USER account, what it did to the account.

    For a FLOW account `cash_delta` and all that follows are 0.
    """

    order_id: str
    client_order_id: str
    account_id: str
    order_price: int
    """The order's limit; 0 for a market order."""
    quantity: int
    """The order's total."""
    leaves: int
    filled: int
    filled_value: int
    """Sum of price x quantity over the order's fills, in ticks x lots."""
    order_sequence: int
    execution_sequence: int
    cash_delta: int
    hold_released: int
    """Money no longer held for the order."""
    cash: int
    """The account's cash after it."""
    position: int
    """Lots held after it; negative when short."""
    position_cost: int
    """What the open position cost; negative when short."""
    realized_pnl: int
    """Profit that this execution realized, at average cost."""


@dataclass(slots=True)
class Trade:
    """An incoming order (taker) traded with a resting one (maker) at the maker's price.

    `level` is the maker's.
    """

    sequence: int
    time_ns: int
    trade_id: str
    symbol: str
    price: int
    quantity: int
    aggressor: Side
    notional: int
    """Money of the trade, in units of 1e-8."""
    taker: Execution
    maker: Execution
    trade_sequence: int
    level: LevelChange


@dataclass(slots=True)
class Printed:
    """A recorded trade that touched no visible order."""

    sequence: int
    time_ns: int
    trade_id: str
    symbol: str
    price: str
    """A decimal string; may be off tick."""
    quantity: int
    aggressor: Side | None
    trade_sequence: int


@dataclass(slots=True)
class FeedStarted:
    """A run of recorded flow began."""

    sequence: int
    time_ns: int
    run_id: str
    symbol: str
    account_id: str


@dataclass(slots=True)
class FeedAdvanced:
    """A batch of a run's rows was applied; counters are those of the run after it."""

    sequence: int
    time_ns: int
    run_id: str
    last_row: int
    rows: int
    applied: int
    diverged: int
    resets: int
    compared: int
    top_equal: int
    awaited: tuple[AwaitedRow, ...]
    """The fills of a take whose later rows are still to come."""
    diverged_rows: tuple[int, ...]
    """The batch's rows that could not be applied as recorded."""
    unequal_rows: tuple[int, ...]
    """The batch's rows on which the top of book was not the recorded one."""


Event = (
    OrderAccepted
    | Trade
    | OrderCanceled
    | OrderRested
    | OrderAmended
    | OrderRejected
    | AmendRejected
    | CancelRejected
    | Printed
    | FeedAdvanced
    | FeedStarted
    | CashAdjusted
    | AccountCreated
    | InstrumentAdded
)
