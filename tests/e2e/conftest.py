"""One platform for all tests that leave it running, and clients of it."""

from collections.abc import AsyncIterator

import pytest

from aac_grpc.client import AsyncClient
from tests.support import installation as installations
from tests.support.installation import Installation
from tests.support.markets import Trader, new_traders, new_venue
from tests.support.telling import tell


@pytest.fixture(scope="session")
async def platform(pytestconfig: pytest.Config) -> AsyncIterator[Installation]:
    """A running platform without flow."""
    async with installations.new_installation() as installation:
        seconds = await installation.up("--no-flow")
        tell(pytestconfig, f"aac up: ready in {seconds:.1f} s at {installation.gateway}")
        yield installation


@pytest.fixture(scope="session")
async def admin(platform: Installation) -> AsyncIterator[AsyncClient]:
    """The first administrator's client."""
    async with platform.client("admin") as client:
        yield client


@pytest.fixture(scope="module")
async def venue(platform: Installation) -> AsyncIterator[str]:
    """A venue of the test module, where GOOG is traded."""
    async with new_venue(platform, "GOOG") as name:
        yield name


@pytest.fixture(scope="module")
async def traders(platform: Installation, venue: str) -> list[Trader]:
    """Two users with a funded account each in the module's venue."""
    return await new_traders(platform, 2, venue)
