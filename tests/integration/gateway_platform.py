"""The platform in this process with its gateway, and SDK clients of it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aac.trading.v1.venue_pb2 import CreateVenueRequest, VenueAccount
from aac.trading.v1.venue_pb2_grpc import VenueServiceStub
from aac.type.v1.market_pb2 import INSTRUMENT_KIND_VENUE, Instrument
from aac.type.v1.money_pb2 import Money

from aac_grpc.client import AsyncClient, ReconnectPolicy
from aac_grpc.common.server import Server
from aac_grpc.servicers import gateway
from tests.integration.services import (
    DEMO,
    Caller,
    Platform,
    new_installation,
    platform_serving,
    service_token,
    serving,
)

QUICK = ReconnectPolicy(patience_s=20.0, first_patience_s=10.0, silence_s=5.0)


@dataclass
class GatewayPlatform:
    """A platform behind its gateway.

    Attributes:
        services: All but the gateway.
        gateway: The gateway that runs now.
        installation: Settings that all share.
    """

    services: Platform
    gateway: Server
    installation: Mapping[str, Any]

    def client(self, **credential: Any) -> AsyncClient:
        """A client of the gateway; by default the demo user."""
        given = credential or {"username": DEMO[0], "password": DEMO[1]}
        return AsyncClient(self.gateway.address, reconnect=QUICK, **given)

    async def new_venue(self, *symbols: str, accounts: tuple[str, ...] = ("demo",)) -> str:
        """A venue of one's own, where the accounts have a million dollars."""
        name = f"v{secrets.token_hex(4)}"
        caller = Caller(
            VenueServiceStub, self.services.engine.address, token=await service_token(self.services.auth, "feed")
        )
        instruments = [
            Instrument(symbol=symbol, kind=INSTRUMENT_KIND_VENUE, currency="USD", tick_size="0.01", lot_size="1")
            for symbol in symbols or ("GOOG",)
        ]
        million = Money(currency="USD", amount="1000000")
        opened = [VenueAccount(account_id=account, cash=million, allow_short=True) for account in accounts]
        try:
            await caller.CreateVenue(CreateVenueRequest(venue=name, instruments=instruments, accounts=opened))
        finally:
            await caller.channel.close()
        return name

    def gateway_settings(self, **changes: Any) -> dict[str, Any]:
        """Where the gateway finds the services."""
        services = self.services
        return {
            **self.installation,
            "auth_address": services.auth.address,
            "trading_address": services.engine.address,
            "market_data_address": services.market_data.address,
            "risk_address": services.risk.address,
            "analytics_address": services.analytics.address,
            "rate_limits": {},
            "heartbeat_s": 0.3,
            "drain_grace_s": 1.0,
            "shutdown_grace_s": 1.0,
            **changes,
        }


@asynccontextmanager
async def gateway_platform(backends: Mapping[str, str], **changes: Any) -> AsyncIterator[GatewayPlatform]:
    """A whole platform on a database of its own; `changes` are settings of the gateway."""
    async with new_installation(backends) as installation, platform_serving(installation) as services:
        platform = GatewayPlatform(services, services.auth, installation)
        async with serving(gateway.service, platform.gateway_settings(**changes)) as server:
            platform.gateway = server
            yield platform
