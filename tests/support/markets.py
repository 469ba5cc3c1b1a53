"""Isolated venues on a running platform, and people who trade there."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aac.trading.v1.venue_pb2 import CreateVenueRequest, DeleteVenueRequest
from aac.trading.v1.venue_pb2_grpc import VenueServiceStub
from aac.type.v1.market_pb2 import INSTRUMENT_KIND_VENUE, Instrument

from aac_grpc.feeds.runner import venue_service
from tests.support.installation import Installation

CASH = "1000000"


def instrument(symbol: str = "GOOG") -> Instrument:
    """A stock with cents and whole shares."""
    return Instrument(
        symbol=symbol,
        name=f"{symbol} for tests",
        kind=INSTRUMENT_KIND_VENUE,
        currency="USD",
        tick_size="0.01",
        lot_size="1",
        min_quantity="1",
        max_quantity="1000000",
    )


@dataclass(frozen=True)
class Trader:
    """A user with one account."""

    username: str
    password: str
    account: str


@contextlib.asynccontextmanager
async def engine(installation: Installation) -> AsyncIterator[VenueServiceStub]:
    """The trading engine's internal methods, with the feeder's identity."""
    async with venue_service(installation.service_settings()) as venues:
        yield venues


@contextlib.asynccontextmanager
async def new_venue(installation: Installation, *symbols: str) -> AsyncIterator[str]:
    """A venue of one's own; it is removed at the end."""
    name = f"test-{secrets.token_hex(4)}"
    async with engine(installation) as venues:
        request = CreateVenueRequest(venue=name, instruments=map(instrument, symbols))
        await venues.CreateVenue(request)
        try:
            yield name
        finally:
            await venues.DeleteVenue(DeleteVenueRequest(venue=name))


async def new_traders(
    installation: Installation, count: int, *venues: str, role: str = "trader", cash: str = CASH
) -> list[Trader]:
    """Users of the first administrator's firm, each with an account of the same name that is opened in each venue."""
    traders = [Trader(name, secrets.token_urlsafe(16), name) for name in (_new_name() for _ in range(count))]
    async with installation.client("admin") as admin:
        for trader in traders:
            await admin.create_account(trader.account)
            await admin.create_user(trader.username, trader.password, role, accounts=[trader.account])
    # A token names the accounts that there were when it was issued.
    async with installation.client("admin") as admin:
        for trader in traders:
            for venue in venues:
                await admin.open_account(trader.account, cash, "USD", allow_short=True, venue=venue)
    return traders


def _new_name() -> str:
    return f"t{secrets.token_hex(4)}"
