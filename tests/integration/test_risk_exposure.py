"""Exposure: what an account has at stake, from the engine's positions and orders at market-data's prices."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aac.auth.v1.auth_pb2 import CreateAccountRequest
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub
from aac.marketdata.v1.marketdata_pb2 import GetQuotesRequest
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceStub
from aac.risk.v1.risk_pb2 import GetExposureRequest
from aac.risk.v1.risk_pb2_grpc import RiskServiceStub
from aac.trading.v1.order_pb2 import ORDER_STATE_FILLED, ORDER_STATE_OPEN, ORDER_TYPE_LIMIT
from aac.trading.v1.trading_pb2 import PlaceOrderRequest
from aac.trading.v1.trading_pb2_grpc import TradingServiceStub
from aac.trading.v1.venue_pb2 import CreateVenueRequest, VenueAccount
from aac.trading.v1.venue_pb2_grpc import VenueServiceStub
from aac.type.v1.market_pb2 import SIDE_BUY, SIDE_SELL, Instrument
from aac.type.v1.money_pb2 import Money

from aac_grpc.client.errors import NotFound, PermissionDenied
from tests.integration.services import (
    ADMIN,
    DEMO,
    Caller,
    Callers,
    Platform,
    eventually,
    platform_serving,
    service_token,
    sign_in,
)

VENUE = f"exposure-{secrets.token_hex(3)}"


def usd(amount: str) -> Money:
    return Money(currency="USD", amount=amount)


@pytest.fixture(scope="module")
async def platform(installation: dict[str, Any]) -> AsyncIterator[Platform]:
    """A venue in which demo and a maker have accounts."""
    callers = Callers()
    async with platform_serving(installation) as platform:
        root = (await sign_in(platform.auth.address, *ADMIN)).tokens.access_token
        await callers.add(AuthServiceStub, platform.auth, token=root).CreateAccount(
            CreateAccountRequest(account_id="maker")
        )
        feed = callers.add(VenueServiceStub, platform.engine, token=await service_token(platform.auth, "feed"))
        await feed.CreateVenue(
            CreateVenueRequest(
                venue=VENUE,
                instruments=[
                    Instrument(symbol=symbol, currency="USD", tick_size="0.01", lot_size="1")
                    for symbol in ("GOOG", "MSFT", "SUN")
                ],
                accounts=[
                    VenueAccount(account_id="demo", cash=usd("100000"), allow_short=True),
                    VenueAccount(account_id="maker", cash=usd("1000000"), allow_short=True),
                ],
            )
        )
        yield platform
        await callers.close()


class Trader:
    """Somebody who trades on one account of the venue."""

    def __init__(self, caller: Caller, account: str) -> None:
        self._caller = caller
        self._account = account

    async def place(self, symbol: str, side: int, quantity: str, price: str) -> int:
        request = PlaceOrderRequest(
            venue=VENUE,
            account_id=self._account,
            client_order_id=secrets.token_hex(8),
            symbol=symbol,
            side=side,
            type=ORDER_TYPE_LIMIT,
            quantity=quantity,
            price=price,
        )
        state: int = (await self._caller.PlaceOrder(request)).order.state
        return state


@pytest.fixture
async def demo(callers: Callers, platform: Platform) -> Caller:
    token = (await sign_in(platform.auth.address, *DEMO)).tokens.access_token
    return callers.add(RiskServiceStub, platform.risk, token=token)


async def test_exposure_is_positions_and_orders_at_the_latest_prices(
    demo: Caller, callers: Callers, platform: Platform
) -> None:
    mine, admin = [(await sign_in(platform.auth.address, *who)).tokens.access_token for who in (DEMO, ADMIN)]
    trader = Trader(callers.add(TradingServiceStub, platform.engine, token=mine), "demo")
    maker = Trader(callers.add(TradingServiceStub, platform.engine, token=admin), "maker")
    await maker.place("GOOG", SIDE_SELL, "10", "570.5")
    assert await trader.place("GOOG", SIDE_BUY, "10", "570.5") == ORDER_STATE_FILLED
    await maker.place("MSFT", SIDE_BUY, "4", "30.25")
    assert await trader.place("MSFT", SIDE_SELL, "4", "30.25") == ORDER_STATE_FILLED
    # The price moves on without demo.
    await maker.place("GOOG", SIDE_SELL, "1", "580")
    await maker.place("GOOG", SIDE_BUY, "1", "580")
    assert await trader.place("GOOG", SIDE_BUY, "5", "560.01") == ORDER_STATE_OPEN
    assert await trader.place("SUN", SIDE_SELL, "3", "7") == ORDER_STATE_OPEN

    quotes = callers.add(MarketDataServiceStub, platform.market_data, token=mine)

    async def seen() -> bool:
        response = await quotes.GetQuotes(GetQuotesRequest(venue=VENUE, symbols=["GOOG", "SUN"]))
        return response.quotes[0].last_price == "580" and bool(response.quotes[1].ask_price)

    await eventually(seen)
    response = await demo.GetExposure(GetExposureRequest(venue=VENUE))
    goog, msft, sun = response.instruments
    assert (goog.symbol, goog.position, goog.price) == ("GOOG", "10", "580")
    assert (goog.market_value, goog.unrealized_pnl) == (usd("5800"), usd("95"))
    assert (goog.open_buy_notional, goog.open_sell_notional) == (usd("2800.05"), usd("0"))
    assert (msft.position, msft.market_value, msft.unrealized_pnl) == ("-4", usd("-121"), usd("0"))
    assert (sun.position, sun.market_value, sun.open_sell_notional) == ("0", usd("0"), usd("21"))
    assert (response.gross, response.net) == (usd("5921"), usd("5679"))
    assert (response.equity, response.leverage) == (usd("100095"), "0.059153804")


async def test_exposure_of_what_there_is_not_or_is_anothers_is_refused(demo: Caller) -> None:
    with pytest.raises(NotFound):
        await demo.GetExposure(GetExposureRequest(venue="no-such-venue"))
    with pytest.raises(PermissionDenied):
        await demo.GetExposure(GetExposureRequest(venue=VENUE, account_id="maker"))
