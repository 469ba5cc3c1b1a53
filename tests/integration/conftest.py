"""Installations with a database of their own, and callers of the services in them."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.integration.services import Callers, new_installation


@pytest.fixture(scope="module")
async def installation(backends: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
    """Settings of an installation that a test module has for itself."""
    async with new_installation(backends) as settings:
        yield settings


@pytest.fixture
async def callers() -> AsyncIterator[Callers]:
    """Makes callers, and closes their channels."""
    callers = Callers()
    yield callers
    await callers.close()
