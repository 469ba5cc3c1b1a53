"""The venues of this instance: opened under a lease, kept, made and ended."""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from aac_grpc.client.errors import AacError, Draining, NotFound, Unavailable, WrongState
from aac_grpc.common.types import DEFAULT_VENUE
from aac_grpc.servicers.trading.leases import LeaseLost, Leases
from aac_grpc.servicers.trading.open_venue import Means, OpenVenue
from aac_grpc.servicers.trading.recovery import JournalDamaged
from aac_grpc.servicers.trading.venue_table import VenueRow, VenueTable

_log = structlog.get_logger(__name__)

RENEWALS_A_LEASE = 4
PURGE_S = 5.0


class HeldElsewhere(Unavailable):
    """Another instance writes the venue, or did until a moment ago."""

    def __init__(self, venue: str, retry_after: float) -> None:
        super().__init__(
            f"venue {venue!r} is written by another instance; try again",
            metadata={"venue": venue},
            retry_after=retry_after,
        )


class Exchange:
    """Opens venues, renews their leases, and gives them back."""

    def __init__(self, table: VenueTable, leases: Leases, means: Means) -> None:
        self._table = table
        self._leases = leases
        self._means = means
        self._open: dict[str, OpenVenue] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._stopping = False

    async def start(self) -> None:
        """Opens the main venue, waiting at most for another's lease to end, and looks after all from now on."""
        row = await self._table.create(DEFAULT_VENUE)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._leases.duration_s + 0.5
        while await self._try_open(row) is None and loop.time() < until:  # noqa: ASYNC110 - another process's lease
            await asyncio.sleep(0.05)
        for work, name in ((self._renew, "leases"), (self._adopt, "venues"), (self._purge, "purge")):
            self._means.tasks.spawn(work, name=name)

    async def stop(self) -> None:
        """Gives all venues back, each with a snapshot."""
        self._stopping = True
        for venue in tuple(self._open.values()):
            await self._close(venue, Draining())
            try:
                await venue.save()
                await self._leases.release(venue.lease)
            except AacError as error:
                _log.warning("venue left as it was", venue=venue.row.name, error=str(error))

    async def venue(self, name: str) -> OpenVenue:
        """Returns a venue that this instance writes, opening it if nobody does.

        Raises:
            NotFound: There is none.
            HeldElsewhere: Another instance writes it.
        """
        venue = self._open.get(name)
        if venue is not None and not venue.closed:
            return venue
        row = await self._table.find(name)
        if row is None:
            raise NotFound("venue", name)
        venue = await self._try_open(row)
        if venue is None:
            raise HeldElsewhere(name, self._leases.duration_s / 2)
        return venue

    async def create(self, name: str) -> OpenVenue:
        """Makes a venue, or opens the one that there is."""
        row = await self._table.create(name)
        venue = await self._try_open(row)
        if venue is None:
            raise HeldElsewhere(name, self._leases.duration_s / 2)
        return venue

    async def delete(self, name: str) -> bool:
        """Ends a venue; False where there is none.

        Raises:
            WrongState: It is the main venue.
            HeldElsewhere: Another instance writes it.
        """
        if name == DEFAULT_VENUE:
            raise WrongState(f"venue {name!r} can't be removed")
        try:
            await self.venue(name)
        except NotFound:
            return False
        # Nobody may open it again before its row is gone.
        async with self._opening[name]:
            venue = self._open.get(name)
            if venue is None:
                return False
            await self._close(venue, NotFound("venue", name))
            deleted = await self._table.delete(venue.row.venue_id, venue.lease.epoch)
        self._opening.pop(name, None)
        return deleted

    async def all(self) -> Sequence[dict[str, Any]]:
        """Returns the rows of all venues, by id."""
        return await self._table.all()

    async def _try_open(self, row: VenueRow) -> OpenVenue | None:
        async with self._opening.setdefault(row.name, asyncio.Lock()):
            venue = self._open.get(row.name)
            if venue is not None and not venue.closed:
                return venue
            if self._stopping:
                raise Draining
            lease = await self._leases.acquire(row.venue_id)
            if lease is None:
                return None
            venue = await OpenVenue.open(row, lease, self._means)
            self._open[row.name] = venue
            return venue

    async def _close(self, venue: OpenVenue, reason: AacError) -> None:
        if self._open.get(venue.row.name) is venue:
            del self._open[venue.row.name]
        await venue.close(reason)

    async def _renew(self) -> None:
        """Renews all leases until cancelled; venues whose lease is lost are closed."""
        while True:
            await asyncio.sleep(self._leases.duration_s / RENEWALS_A_LEASE)
            venues = {venue.row.venue_id: venue for venue in self._open.values()}
            if not venues:
                continue
            try:
                lost = await self._leases.renew([venue.lease for venue in venues.values()])
            except AacError as error:
                # A lease that ends meanwhile is still ours unless somebody else took it: batches check.
                _log.warning("leases not renewed", error=str(error))
                continue
            for venue_id in lost:
                _log.warning("lease lost", venue=venues[venue_id].row.name)
                await self._close(venues[venue_id], LeaseLost())

    async def _adopt(self) -> None:
        """Opens venues that nobody writes, until cancelled: what they have not published yet goes out."""
        damaged: set[str] = set()
        while True:
            await asyncio.sleep(self._leases.duration_s / 2)
            try:
                names = await self._table.unwritten()
            except AacError as error:
                _log.warning("venues not looked for", error=str(error))
                continue
            for name in names:
                if name not in damaged:
                    try:
                        await self.venue(name)
                    except AacError as error:
                        _log.warning("venue not opened", venue=name, error=str(error))
                    except JournalDamaged:
                        _log.exception("venue damaged", venue=name)
                        damaged.add(name)

    async def _purge(self) -> None:
        while True:
            await asyncio.sleep(PURGE_S)
            try:
                await self._table.purge()
            except AacError as error:
                _log.warning("purge failed", error=str(error))
