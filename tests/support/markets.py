"""Isolated venues on a running platform, and people who trade there."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aac.trading.v1.venue_pb2 import CreateVenueRequest, DeleteVenueRequest
from aac.trading.v1.venue_pb2_grpc import VenueServiceStub

from aac_grpc.feeds.runner import venue_service
from bench.market import new_users, stock
from tests.support.installation import Installation

CASH = "1000000"


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
        request = CreateVenueRequest(venue=name, instruments=map(stock, symbols))
        await venues.CreateVenue(request)
        try:
            yield name
        finally:
            await venues.DeleteVenue(DeleteVenueRequest(venue=name))


async def new_traders(
    installation: Installation, count: int, *venues: str, role: str = "trader", cash: str = CASH
) -> list[Trader]:
    """Users of the first administrator's firm, each with an account of the same name that is opened in each venue."""
    names = [f"t{secrets.token_hex(4)}" for _ in range(count)]
    passwords = await new_users(lambda: installation.client("admin"), names, venues, cash, role)
    return [Trader(name, password, name) for name, password in zip(names, passwords, strict=True)]
