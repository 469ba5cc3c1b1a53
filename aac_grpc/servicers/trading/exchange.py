"""The venues of this instance: opened under a lease, kept, handed over, made and ended; and who writes the others."""

import asyncio
import time
from collections.abc import Sequence
from contextvars import Context
from typing import Any
from weakref import WeakValueDictionary

import structlog

from aac_grpc.client.errors import AacError, Draining, NotFound
from aac_grpc.servicers.trading.leases import LeaseLost, Leases
from aac_grpc.servicers.trading.open_venue import Means, OpenVenue
from aac_grpc.servicers.trading.recovery import JournalDamaged
from aac_grpc.servicers.trading.venue_table import Held, VenueRow, VenueTable
from aac_grpc.servicers.trading.writers import Writer, Writers

_log = structlog.get_logger(__name__)

RENEWALS_A_LEASE = 4
PURGE_S = 5.0
OTHERS_FIRST_S = 0.3
"""How long an instance keeps away from a venue that it has given up."""
OPENINGS_AT_ONCE = 8
"""Venues that are adopted at the same time; those that somebody asks for are opened beside them."""


class Exchange:
    """Opens venues, renews their leases, and gives them back.

    Attributes:
        writers: Who writes the venues that this instance does not write.
        leaving: It opens no more venues, because others are there to do so.
    """

    def __init__(self, table: VenueTable, leases: Leases, writers: Writers, means: Means) -> None:
        self.writers = writers
        self.leaving = False
        self._table = table
        self._leases = leases
        self._means = means
        self._open: dict[str, OpenVenue] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """As long as somebody holds one or waits for it."""
        self._openings: dict[str, asyncio.Task[OpenVenue | None]] = {}
        self._looking: dict[str, asyncio.Task[Held | None]] = {}
        self._given_up: dict[str, float] = {}
        """Until when others go first, by venue, on the monotonic clock."""
        self._damaged: set[int] = set()
        self._stopping = False

    @property
    def holder(self) -> str:
        """The name that its leases carry."""
        return self._leases.holder

    @property
    def names(self) -> Sequence[str]:
        """The venues that it writes, in the order in which they were opened."""
        return tuple(self._open)

    def start(self) -> None:
        """Looks after what is open from now on."""
        for work, name in ((self._renew, "leases"), (self._purge, "purge")):
            self._means.tasks.spawn(work, name=name)

    async def stop(self) -> None:
        """Gives all venues back, each with a snapshot."""
        self._stopping = True
        for task in (*self._openings.values(), *self._looking.values()):
            task.cancel()
        await asyncio.gather(*self._openings.values(), *self._looking.values(), return_exceptions=True)
        for venue in tuple(self._open.values()):
            await self._give_back(venue, Draining())

    async def locate(self, name: str) -> OpenVenue | Writer | None:
        """Returns a venue that this instance writes, opening it if nobody does, or else who writes it.

        None where that can't be told now, as while its writer changes.

        Raises:
            NotFound: There is no such venue.
            AacError: The database is away.
        """
        venue = self._open.get(name)
        if venue is not None and not venue.closed and await self._is_ours(venue):
            return venue
        if (writer := self.writers.get(name)) is not None:
            return writer
        held = await self._look_up(name)
        if held is None:
            raise NotFound("venue", name)
        if self._is_free(held):
            return await asyncio.shield(self._begin_opening(held))
        return None if held.holder == self.holder else self.writers.note(held)

    async def create(self, name: str) -> None:
        """Makes a venue that is empty, unless there is one."""
        await self._table.create(name)

    async def delete(self, venue: OpenVenue) -> bool:
        """Ends a venue; False where it is gone already.

        Raises:
            LeaseLost: Another instance writes it now.
        """
        name = venue.row.name
        # Nobody may open it again before its row is gone.
        async with self._lock(name):
            if self._open.get(name) is not venue:
                raise LeaseLost(name)
            await self._close(venue, NotFound("venue", name))
            return await self._table.delete(venue.row.venue_id, venue.lease.epoch)

    async def all(self) -> Sequence[dict[str, Any]]:
        """Returns the rows of all venues, by id."""
        return await self._table.all()

    def note_all(self, held: Sequence[Held]) -> None:
        """Forgets what it knows of venues that there are no more.

        Args:
            held: All that there are.
        """
        self._damaged &= {one.venue.venue_id for one in held}

    def adopt(self, held: Held) -> bool:
        """Begins to open a venue that nobody writes; False where enough are being opened already, or it must not be."""
        name = held.venue.name
        if held.venue.venue_id in self._damaged or name in self._openings or not self._is_free(held):
            return True
        if len(self._openings) >= OPENINGS_AT_ONCE:
            return False
        self._begin_opening(held)
        return True

    async def hand_over(self, name: str) -> None:
        """Gives a venue up, so that another instance opens it at once."""
        venue = self._open.get(name)
        if venue is not None:
            self._given_up[name] = float("inf")
            await self._give_back(venue, LeaseLost(name))
            now = time.monotonic()
            self._given_up = {other: until for other, until in self._given_up.items() if until > now}
            self._given_up[name] = now + OTHERS_FIRST_S

    async def _give_back(self, venue: OpenVenue, reason: AacError) -> None:
        name = venue.row.name
        async with self._lock(name):
            if self._open.get(name) is not venue:
                return
            try:
                await venue.finish(reason)
                await self._close(venue, reason)
                await venue.save()
                await self._leases.release(venue.lease)
            except AacError as error:
                _log.warning("venue left as it was", venue=name, error=str(error))
        _log.info("venue given back", venue=name, epoch=venue.lease.epoch)
        self.writers.tell()

    async def _is_ours(self, venue: OpenVenue) -> bool:
        """Whether nobody else can have written a venue meanwhile, as after this process was stopped for a while."""
        if time.monotonic() < venue.lease.sure_until:
            return True
        lost = await self._leases.renew([venue.lease])
        if lost:
            await self._lose(venue)
        return not lost

    async def _look_up(self, name: str) -> Held | None:
        """Reads a venue's lease, once for all who want to know it now."""
        task = self._looking.get(name)
        if task is None:
            task = asyncio.create_task(self._read_lease(name), context=Context())
            self._looking[name] = task
            task.add_done_callback(lambda _: self._looking.pop(name, None))
            task.add_done_callback(_heard)
        return await asyncio.shield(task)

    async def _read_lease(self, name: str) -> Held | None:
        found = await self._table.holders(name)
        return found[0] if found else None

    def _is_free(self, held: Held) -> bool:
        """Whether this instance may open a venue now."""
        if self._stopping or self.leaving or self._given_up.get(held.venue.name, 0.0) > time.monotonic():
            return False
        return held.free or held.holder == self.holder or self.writers.is_gone(held)

    def _begin_opening(self, held: Held) -> "asyncio.Task[OpenVenue | None]":
        """Opens a venue for all who wait for it; no caller's deadline ends that."""
        name = held.venue.name
        task = self._openings.get(name)
        if task is None:
            task = asyncio.create_task(self._try_open(held), name=f"open {name}", context=Context())
            self._openings[name] = task
            task.add_done_callback(lambda ended: self._opened(held.venue, ended))
        return task

    def _opened(self, row: VenueRow, task: "asyncio.Task[OpenVenue | None]") -> None:
        self._openings.pop(row.name, None)
        failure = None if task.cancelled() else task.exception()
        if isinstance(failure, JournalDamaged):
            self._damaged.add(row.venue_id)
        if failure is not None:
            _log.error("venue not opened", venue=row.name, exc_info=failure)
        self.writers.tell()

    async def _try_open(self, held: Held) -> OpenVenue | None:
        row = held.venue
        async with self._lock(row.name):
            venue = self._open.get(row.name)
            if venue is not None and not venue.closed:
                return venue
            if not self._is_free(held):
                return None
            gone = held.epoch if self.writers.is_gone(held) else None
            lease = await self._leases.acquire(row.venue_id, gone)
            if lease is None:
                return None
            venue = await OpenVenue.open(row, lease, self._means)
            self._open[row.name] = venue
            self.writers.forget(row.name)
            return venue

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    async def _lose(self, venue: OpenVenue) -> None:
        _log.warning("lease lost", venue=venue.row.name, epoch=venue.lease.epoch)
        await self._close(venue, LeaseLost(venue.row.name))

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
                await self._lose(venues[venue_id])

    async def _purge(self) -> None:
        while True:
            await asyncio.sleep(PURGE_S)
            try:
                await self._table.purge()
            except AacError as error:
                _log.warning("purge failed", error=str(error))


def _heard(task: "asyncio.Task[Any]") -> None:
    """A failure that nobody waits for any more is no surprise."""
    if not task.cancelled():
        task.exception()
