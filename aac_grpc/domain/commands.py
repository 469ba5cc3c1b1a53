"""What a venue is told to do. Prices are ticks, quantities lots, money units of 1e-8."""

from dataclasses import dataclass
from enum import StrEnum

from aac_grpc.domain.feed import FeedRow
from aac_grpc.domain.instruments import Instrument
from aac_grpc.domain.orders import OrderType, Side, TimeInForce


class AccountKind(StrEnum):
    """Whose account it is."""

    USER = "user"
    """Has cash and positions; is judged by risk."""
    FLOW = "flow"
    """A feed's system account: real orders, but no cash, positions or risk."""


@dataclass(frozen=True, slots=True)
class AddInstrument:
    """Lists an instrument."""

    instrument: Instrument


@dataclass(frozen=True, slots=True)
class CreateAccount:
    """Opens an account."""

    account_id: str
    currency: str
    kind: AccountKind = AccountKind.USER
    allow_short: bool = False


@dataclass(frozen=True, slots=True)
class AdjustCash:
    """Deposits (positive) or withdraws (negative) cash, against the venue's funding account."""

    account_id: str
    amount: int
    reference: str = ""
    """What it is for, for people and the audit."""


@dataclass(slots=True)
class PlaceOrder:
    """Enters an order."""

    account_id: str
    client_order_id: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: int
    price: int | None = None
    """Limit price; None for a market order."""


@dataclass(slots=True)
class AmendOrder:
    """Changes a live order's price, open quantity or both; None leaves one as it is."""

    account_id: str
    order_id: str
    price: int | None = None
    quantity: int | None = None
    """The new open quantity, not counting what is filled."""


@dataclass(slots=True)
class CancelOrder:
    """Takes a live order out of the market."""

    account_id: str
    order_id: str


@dataclass(frozen=True, slots=True)
class StartFeed:
    """Begins a run; FLOW orders that an earlier run of the account left in the symbol are cancelled."""

    run_id: str
    symbol: str
    account_id: str


@dataclass(slots=True)
class FeedRows:
    """Applies rows of a run, in order; rows that were applied before are skipped."""

    run_id: str
    rows: tuple[FeedRow, ...]


Command = PlaceOrder | AmendOrder | CancelOrder | FeedRows | StartFeed | AddInstrument | CreateAccount | AdjustCash
