"""What is done once the services run: the demo account has cash, and the first orders of the flow are there."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from contextlib import suppress

from aac.trading.v1.trading_pb2 import OpenAccountRequest
from aac.trading.v1.trading_pb2_grpc import TradingServiceStub
from aac.trading.v1.venue_pb2 import ListVenuesRequest
from aac.trading.v1.venue_pb2_grpc import VenueServiceStub
from aac.type.v1.money_pb2 import Money
from pydantic import SecretStr

from aac_grpc.client.errors import AacError, AlreadyExists
from aac_grpc.client.retry import RetryPolicy, call_with_retry
from aac_grpc.common.breaker import Breakers
from aac_grpc.common.channel import Channels
from aac_grpc.common.clock import SystemClock
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.common.types import DEFAULT_VENUE
from aac_grpc.platform.composition import AUTH, DEMO, SUPERVISOR, TRADING, Platform

DEMO_CASH = Money(currency="USD", amount="1000000")
_PATIENCE_S = 30.0
_POLL_S = 0.1


class Bootstrap:
    """Calls of the supervisor's own identity."""

    def __init__(self, platform: Platform) -> None:
        """Prepares; the first call connects."""
        settings = ServiceSettings(
            registry_address="",  # the addresses are known
            auth_address=platform.addresses(AUTH),
            trading_address=platform.addresses(TRADING),
            service_secret=SecretStr(platform.service_secret(SUPERVISOR)),
        )
        self._channels = Channels(SUPERVISOR, settings, SystemClock(), Breakers())
        self._trading = self._channels.stub(TradingServiceStub, TRADING)
        self._venues = self._channels.stub(VenueServiceStub, TRADING)

    async def open_demo_account(self) -> None:
        """Opens the demo user's account in the default venue, where it is not open yet.

        Raises:
            AacError: That was refused, or the services were away for long.
        """
        request = OpenAccountRequest(venue=DEFAULT_VENUE, account_id=DEMO, cash=DEMO_CASH)
        try:
            await call_with_retry(
                lambda seconds: self._trading.OpenAccount(request, timeout=seconds),
                timeout_s=_PATIENCE_S,
                policy=RetryPolicy(),
            )
        except AlreadyExists:  # opened with other cash before
            return

    async def first_instrument(self, symbols: Container[str]) -> str | None:
        """Returns one of the flow's symbols that the default venue lists; None where none comes in time."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while asyncio.get_running_loop().time() < deadline:
            with suppress(AacError):
                venues = (await self._venues.ListVenues(ListVenuesRequest())).venues
                listed = (one.symbol for each in venues if each.venue == DEFAULT_VENUE for one in each.instruments)
                if (symbol := next((one for one in listed if one in symbols), None)) is not None:
                    return symbol
            await asyncio.sleep(_POLL_S)
        return None

    async def close(self) -> None:
        """Closes the channels."""
        await self._channels.close()
