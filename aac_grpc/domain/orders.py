"""Orders: their vocabulary, their state, and what risk sees of one."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Side(StrEnum):
    """Which way an order trades."""

    BUY = "buy"
    SELL = "sell"

    @property
    def opposite(self) -> "Side":
        """The side that this one trades against."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    """How an order is priced."""

    LIMIT = "limit"
    MARKET = "market"


class TimeInForce(StrEnum):
    """How long an order lives."""

    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"


class OrderState(StrEnum):
    """What became of an order; a partly filled live order is OPEN with `filled` above zero."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"


class Liquidity(StrEnum):
    """Whether a fill added liquidity to the book (maker) or took it (taker)."""

    MAKER = "maker"
    TAKER = "taker"


class RestingOrder:
    """What a book needs to know of an order; `Order` adds the rest.

    `level`, `previous` and `next` belong to the book (see `matching.Level`); they are None while the order does
    not rest.
    """

    __slots__ = ("leaves", "level", "next", "order_id", "previous", "price", "side")

    def __init__(self, order_id: str, side: Side, price: int, leaves: int) -> None:
        self.order_id = order_id
        self.side = side
        self.price = price
        """Limit price in ticks; 0 for a market order."""
        self.leaves = leaves
        """Open quantity in lots."""
        self.level: Any = None
        self.previous: Any = None
        self.next: Any = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.order_id} {self.side} {self.leaves} @ {self.price}>"


class Order(RestingOrder):
    """A live order of an account."""

    __slots__ = (
        "account_id",
        "client_order_id",
        "created_ns",
        "filled",
        "filled_value",
        "order_type",
        "quantity",
        "symbol",
        "time_in_force",
    )

    def __init__(
        self,
        order_id: str,
        client_order_id: str,
        account_id: str,
        symbol: str,
        side: Side,
        order_type: OrderType,
        time_in_force: TimeInForce,
        price: int,
        quantity: int,
        created_ns: int,
    ) -> None:
        # Assigned here and not by super(): this constructor is on the path of every order.
        self.order_id = order_id
        self.side = side
        self.price = price
        self.leaves = quantity
        self.level = None
        self.previous = None
        self.next = None
        self.client_order_id = client_order_id
        self.account_id = account_id
        self.symbol = symbol
        self.order_type = order_type
        self.time_in_force = time_in_force
        self.quantity = quantity
        """Total quantity in lots: filled plus open (an amend changes it)."""
        self.filled = 0
        """Filled quantity in lots."""
        self.filled_value = 0
        """Sum of price x quantity over the fills, in ticks x lots."""
        self.created_ns = created_ns

    def reprice(self, price: int, leaves: int) -> None:
        """Gives an order that does not rest another price and open quantity."""
        self.price = price
        self.quantity += leaves - self.leaves
        self.leaves = leaves


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was refused: a stable code, a sentence, and the rule's figures where it has any."""

    code: str
    """Stable UPPER_SNAKE_CASE; the venue's are in `reasons.py`, risk has its own."""
    message: str
    limit: str = ""
    """The rule's limit, as text."""
    actual: str = ""
    """What the order would have come to, as text."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What risk decided about one command, as journaled beside it."""

    accepted: bool
    reasons: tuple[Reason, ...] = ()
    """Why not; empty when accepted."""


@dataclass(frozen=True, slots=True)
class OrderIntent:
    """An order (or the amend of one) as risk judges it."""

    account_id: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: int
    """Lots that would be open."""
    price: int
    """Limit price in ticks; 0 for a market order."""
    notional_unit: int
    """Money units (1e-8) of one tick times one lot of the instrument."""
    currency: str
    replaced_quantity: int = 0
    """For an amend: the lots now open, which this replaces; 0 for a new order."""
    replaced_price: int = 0
    """For an amend: the price in ticks of what it replaces."""
