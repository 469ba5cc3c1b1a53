"""The trading engine on real backends with real risk-management; tokens are signed by a test key."""

import itertools
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aac.trading.v1 import order_pb2, trading_pb2, venue_pb2
from aac.trading.v1.trading_pb2_grpc import TradingServiceStub
from aac.trading.v1.venue_pb2_grpc import VenueServiceStub
from aac.type.v1 import market_pb2
from aac.type.v1.money_pb2 import Money

from aac_grpc.common.identity import derive_service_secret
from aac_grpc.common.server import Server, Service
from aac_grpc.servicers import risk, trading
from tests.integration.services import Caller
from tests.support import mesh

NO_LIMITS = {
    "default_max_order_quantity": "",
    "default_max_order_notional": "",
    "default_price_band": "",
    "default_max_position": "",
    "default_max_open_orders": 0,
}

BUY, SELL = market_pb2.SIDE_BUY, market_pb2.SIDE_SELL
LIMIT, MARKET = order_pb2.ORDER_TYPE_LIMIT, order_pb2.ORDER_TYPE_MARKET
OPEN, FILLED = order_pb2.ORDER_STATE_OPEN, order_pb2.ORDER_STATE_FILLED
CANCELED, REJECTED = order_pb2.ORDER_STATE_CANCELED, order_pb2.ORDER_STATE_REJECTED


def instrument(symbol: str = "GOOG", tick: str = "0.01", lot: str = "1") -> market_pb2.Instrument:
    return market_pb2.Instrument(symbol=symbol, currency="USD", tick_size=tick, lot_size=lot)


def account(account_id: str, cash: str = "1000000", *, short: bool = False) -> venue_pb2.VenueAccount:
    return venue_pb2.VenueAccount(account_id=account_id, cash=Money(currency="USD", amount=cash), allow_short=short)


@asynccontextmanager
async def running(
    service: Service, installation: Mapping[str, Any], auth: Server, **changes: Any
) -> AsyncIterator[Server]:
    """A service of the installation that believes the test key."""
    fixed = {
        "grpc_port": 0,
        "admin_port": 0,
        "registry_address": "",
        "revocation_watch": False,
        "service_secret": derive_service_secret(mesh.MESH_SECRET, service.name),
        "auth_address": auth.address,
        "rate_limits": {},
        "drain_grace_s": 1.0,
        "shutdown_grace_s": 1.0,
    }
    server = Server(service, service.settings(**{**installation, **fixed, **changes}))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@dataclass
class Stack:
    """auth double, risk-management and trading-engine, and callers of the engine."""

    signer: mesh.Signer
    auth: Server
    risk: Server
    engine: Server
    installation: Mapping[str, Any]
    _exit: AsyncExitStack

    def caller(self, stub: Any, **token: Any) -> Caller:
        caller = Caller(stub, self.engine.address, token=self.signer.token(**token))
        self._exit.push_async_callback(caller.channel.close)
        return caller

    def trader(
        self, *accounts: str, scopes: Sequence[str] = ("orders:write", "orders:read", "accounts:read")
    ) -> Caller:
        return self.caller(TradingServiceStub, subject="trader", accounts=accounts, scopes=scopes)

    def operator(self) -> Caller:
        scopes = ("orders:read", "accounts:read", "accounts:admin", "events:read")
        return self.caller(TradingServiceStub, subject="operator", accounts=("*",), scopes=scopes)

    def service(self) -> Caller:
        token = {"subject": "market-data", "kind": "service", "scopes": ("internal",), "accounts": ("*",)}
        return self.caller(VenueServiceStub, **token)

    async def another(self, **changes: Any) -> "Stack":
        """Another engine on the same state, as the engine of the same stack."""
        place = {"risk_address": self.risk.address, **changes}
        engine = await self._exit.enter_async_context(running(trading.service, self.installation, self.auth, **place))
        return Stack(self.signer, self.auth, self.risk, engine, self.installation, self._exit)

    async def restart(self, **changes: Any) -> None:
        """Stops the engine and starts another one on the same state and port."""
        await self.engine.stop()
        port = int(self.engine.address.rpartition(":")[2])
        place = {"risk_address": self.risk.address, "grpc_port": port, **changes}
        self.engine = await self._exit.enter_async_context(
            running(trading.service, self.installation, self.auth, **place)
        )


@asynccontextmanager
async def stack(installation: Mapping[str, Any], **settings: Any) -> AsyncIterator[Stack]:
    """An engine with what it needs. Settings are the engine's."""
    signer = mesh.Signer()
    async with AsyncExitStack() as exit_stack:
        auth = await exit_stack.enter_async_context(mesh.serving("auth-service", mesh.AuthDouble(signer)))
        risks = await exit_stack.enter_async_context(running(risk.service, installation, auth, **NO_LIMITS))
        place = {"risk_address": risks.address, **settings}
        engine = await exit_stack.enter_async_context(running(trading.service, installation, auth, **place))
        yield Stack(signer, auth, risks, engine, installation, exit_stack)


@dataclass
class VenueUnderTest:
    """An isolated venue with two traders and an instrument."""

    name: str
    service: Caller
    alice: Caller
    bob: Caller
    operator: Caller
    stack: Stack
    keys: Any

    def order(self, side: int, quantity: str | int, price: str = "", **changes: Any) -> trading_pb2.PlaceOrderRequest:
        fields: dict[str, Any] = {
            "venue": self.name,
            "client_order_id": f"o{next(self.keys)}",
            "symbol": "GOOG",
            "side": side,
            "type": LIMIT if price else MARKET,
            "quantity": str(quantity),
            "price": price,
        }
        return trading_pb2.PlaceOrderRequest(**{**fields, **changes})

    def cancel(self, order_id: str, **changes: Any) -> trading_pb2.CancelOrderRequest:
        fields = {"venue": self.name, "order_id": order_id, "request_id": f"c{next(self.keys)}"}
        return trading_pb2.CancelOrderRequest(**{**fields, **changes})

    def amend(self, order_id: str, **changes: Any) -> trading_pb2.AmendOrderRequest:
        fields = {"venue": self.name, "order_id": order_id, "request_id": f"a{next(self.keys)}"}
        return trading_pb2.AmendOrderRequest(**{**fields, **changes})

    async def book(self, symbol: str = "GOOG") -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Bids and asks, best first, as (price, quantity)."""
        request = venue_pb2.GetMarketSnapshotRequest(venue=self.name)
        snapshot = await self.service.GetMarketSnapshot(request)
        market = next(each for each in snapshot.instruments if each.instrument.symbol == symbol)
        return tuple([(level.price, level.quantity) for level in levels] for levels in (market.bids, market.asks))  # type: ignore[return-value]


@asynccontextmanager
async def new_venue(stack: Stack, **changes: Any) -> AsyncIterator[VenueUnderTest]:
    """A venue of its own, where alice and bob have cash and bob may sell short."""
    name = f"t-{secrets.token_hex(4)}"
    service = stack.service()
    fields: dict[str, Any] = {
        "instruments": [instrument()],
        "accounts": [account("alice"), account("bob", short=True)],
    }
    await service.CreateVenue(venue_pb2.CreateVenueRequest(venue=name, **{**fields, **changes}))
    yield VenueUnderTest(
        name, service, stack.trader("alice"), stack.trader("bob"), stack.operator(), stack, itertools.count(1)
    )
    await service.DeleteVenue(venue_pb2.DeleteVenueRequest(venue=name))
