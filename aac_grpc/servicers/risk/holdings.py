"""What an account holds, asked of trading-engine, and at which prices, asked of market-data."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from aac.marketdata.v1.marketdata_pb2 import GetQuotesRequest, Quote
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceStub
from aac.trading.v1.order_pb2 import ORDER_STATE_OPEN, Order, Position
from aac.trading.v1.trading_pb2 import GetAccountRequest, ListOrdersRequest, ListPositionsRequest
from aac.trading.v1.trading_pb2_grpc import TradingServiceStub
from aac.type.v1.market_pb2 import SIDE_BUY, SIDE_SELL, Side
from aac.type.v1.page_pb2 import PageRequest

from aac_grpc.client.decimals import from_wire, from_wire_optional
from aac_grpc.client.errors import InvalidFields, NotFound
from aac_grpc.common.channel import Channels
from aac_grpc.common.paging import MAX_PAGE_SIZE, each_page
from aac_grpc.domain.exposure import Holding, mark

_QUOTES_A_CALL = 100


@dataclass(frozen=True, slots=True)
class Portfolio:
    """An account's cash and holdings, by symbol."""

    currency: str
    cash: Decimal
    holdings: Sequence[Holding]


class Holdings:
    """Reads portfolios and prices from their owners."""

    def __init__(self, channels: Channels) -> None:
        self._trading = channels.stub(TradingServiceStub, "trading-engine")
        self._market_data = channels.stub(MarketDataServiceStub, "market-data")

    async def portfolio(self, venue: str, account_id: str) -> Portfolio:
        """Returns what an account holds; the parts are read one after the other, so they may be an order apart.

        Raises:
            NotFound: There is no such account in the venue.
        """
        place = {"venue": venue, "account_id": account_id}
        answer = await self._trading.GetAccount(GetAccountRequest(**place))
        cash = answer.account.cash
        page = PageRequest(page_size=MAX_PAGE_SIZE)
        position_pages = each_page(self._trading.ListPositions, ListPositionsRequest(**place, page=page))
        order_pages = each_page(
            self._trading.ListOrders, ListOrdersRequest(**place, states=[ORDER_STATE_OPEN], page=page)
        )
        positions = [position async for page in position_pages for position in page.positions]
        orders = [order async for page in order_pages for order in page.orders]
        return Portfolio(cash.currency, from_wire(cash.amount), _holdings(positions, orders))

    async def prices(self, venue: str, symbols: Sequence[str]) -> dict[str, Decimal]:
        """Returns the price of each symbol that has one."""
        prices = {}
        for start in range(0, len(symbols), _QUOTES_A_CALL):
            for quote in await self._quotes(venue, symbols[start : start + _QUOTES_A_CALL]):
                if (price := _price(quote)) is not None:
                    prices[quote.symbol] = price
        return prices

    async def _quotes(self, venue: str, symbols: Sequence[str]) -> Sequence[Quote]:
        """Asks for quotes, without those of symbols that market-data does not know (yet)."""
        try:
            return (await self._market_data.GetQuotes(GetQuotesRequest(venue=venue, symbols=symbols))).quotes
        except NotFound:
            return []
        except InvalidFields as error:
            unknown = {violation.field for violation in error.violations}
            known = [symbol for index, symbol in enumerate(symbols) if f"symbols[{index}]" not in unknown]
            return await self._quotes(venue, known) if 0 < len(known) < len(symbols) else []


def _holdings(positions: Iterable[Position], orders: Iterable[Order]) -> list[Holding]:
    held = {position.symbol: position for position in positions}
    resting: dict[tuple[str, Side.ValueType], Decimal] = defaultdict(Decimal)
    for order in orders:
        resting[order.symbol, order.side] += from_wire(order.price) * from_wire(order.open_quantity)
    return [
        Holding(
            symbol=symbol,
            quantity=from_wire(held[symbol].quantity) if symbol in held else Decimal(0),
            cost=from_wire(held[symbol].cost.amount) if symbol in held else Decimal(0),
            open_buy_notional=resting[symbol, SIDE_BUY],
            open_sell_notional=resting[symbol, SIDE_SELL],
        )
        for symbol in sorted(held.keys() | {symbol for symbol, _ in resting})
    ]


def _price(quote: Quote) -> Decimal | None:
    texts = (quote.last_price, quote.bid_price, quote.ask_price)
    last, bid, ask = map(from_wire_optional, texts)
    return mark(last, bid, ask)
