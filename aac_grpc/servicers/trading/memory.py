"""The venue in memory, and whether it can be believed."""

import asyncio
from collections.abc import Awaitable, Callable

from aac_grpc.servicers.trading.live import LiveVenue


class Memory:
    """A venue in memory, as of its last batch. After a failed commit it is doubted until it was built anew.

    Attributes:
        live: The venue.
        generation: Counts how often it was built anew.
    """

    def __init__(self, live: LiveVenue, load: Callable[[], Awaitable[LiveVenue]]) -> None:
        """Believes `live`, which `load` gave."""
        self.live = live
        self.generation = 0
        self._load = load
        self._trusted = asyncio.Event()
        self._trusted.set()

    @property
    def is_trusted(self) -> bool:
        """Nothing in it is known not to be committed."""
        return self._trusted.is_set()

    async def trusted(self) -> None:
        """Waits until it can be believed."""
        await self._trusted.wait()

    def doubt(self) -> None:
        """It holds what may never be committed."""
        self._trusted.clear()

    def believe(self) -> None:
        """What it holds was committed after all."""
        self._trusted.set()

    async def rebuild(self) -> None:
        """Builds it anew from what is committed.

        Raises:
            AacError: The database is away; it stays doubted.
        """
        self.live = await self._load()
        self.generation += 1
        self._trusted.set()
