"""What the domain's tests share: a small market, and orders in few words."""

from collections.abc import Iterable
from decimal import Decimal

from aac_grpc.domain.commands import (
    AccountKind,
    AddInstrument,
    AdjustCash,
    CreateAccount,
    PlaceOrder,
)
from aac_grpc.domain.events import Event, Trade
from aac_grpc.domain.instruments import Instrument, InstrumentKind
from aac_grpc.domain.orders import Order, OrderType, Side, TimeInForce
from aac_grpc.domain.venue import Venue

BUY, SELL = Side.BUY, Side.SELL
LIMIT, MARKET = OrderType.LIMIT, OrderType.MARKET
GTC, IOC, FOK = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK
MONEY = 10**8
"""Units of one dollar."""
NOW = 1_700_000_000_000_000_000


def instrument(symbol: str = "X", *, tick_size: str = "0.01", lot_size: str = "1") -> Instrument:
    """Returns an instrument of the venue "main" in US dollars."""
    return Instrument(
        symbol, "main", InstrumentKind.VENUE, f"{symbol} Inc.", "USD", Decimal(tick_size), Decimal(lot_size)
    )


class Market:
    """A venue "main" that trades X, and every event that came of it."""

    def __init__(self, *symbols: str) -> None:
        self.venue = Venue("main")
        self.events: list[Event] = []
        for symbol in symbols or ("X",):
            self.run(AddInstrument(instrument(symbol)))

    def run(self, command: object, **options: object) -> list[Event]:
        """Executes a command and keeps its events."""
        events = self.venue.execute(command, NOW, **options)  # type: ignore[arg-type]
        self.events += events
        return events

    def account(self, account_id: str, *, dollars: int = 0, allow_short: bool = False) -> str:
        """Opens a USER account with so much cash."""
        self.run(CreateAccount(account_id, "USD", allow_short=allow_short))
        if dollars:
            self.run(AdjustCash(account_id, dollars * MONEY))
        return account_id

    def flow(self, account_id: str = "flow") -> str:
        """Opens a FLOW account."""
        self.run(CreateAccount(account_id, "USD", AccountKind.FLOW))
        return account_id

    def place(
        self,
        account_id: str,
        key: str,
        side: Side,
        quantity: int,
        price: int | None = None,
        tif: TimeInForce | None = None,
        symbol: str = "X",
    ) -> list[Event]:
        """Places a limit order, or a market order where there is no price."""
        order_type = MARKET if price is None else LIMIT
        tif = tif or (IOC if price is None else GTC)
        return self.run(PlaceOrder(account_id, key, symbol, side, order_type, tif, quantity, price))

    def order(self, account_id: str, key: str) -> Order:
        """Returns a live order."""
        order = self.venue.find_order(account_id, key)
        assert order is not None
        return order

    def levels(self, side: Side, symbol: str = "X") -> list[tuple[int, int]]:
        """Returns (price, lots) of a side's levels, best first."""
        return [(price, quantity) for price, quantity, _ in self.venue.book(symbol).levels(side)]


def fills(events: Iterable[Event]) -> list[tuple[str, str, int, int]]:
    """Returns (taker's key, maker's key, price, lots) of the trades among events."""
    return [
        (event.taker.client_order_id, event.maker.client_order_id, event.price, event.quantity)
        for event in events
        if isinstance(event, Trade)
    ]
