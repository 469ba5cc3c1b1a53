"""The engines share the venues: each says that it runs, adopts what nobody writes, and gives up what is too much."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import structlog

from aac_grpc.client.errors import AacError
from aac_grpc.common.peers import is_gone
from aac_grpc.common.tasks import Task, Tasks
from aac_grpc.common.types import DEFAULT_VENUE
from aac_grpc.servicers.trading.engines import Engines
from aac_grpc.servicers.trading.exchange import RENEWALS_A_LEASE, Exchange
from aac_grpc.servicers.trading.open_venue import OpenVenue
from aac_grpc.servicers.trading.venue_table import Held, VenueTable
from aac_grpc.servicers.trading.writers import Writer

_log = structlog.get_logger(__name__)

SHORTEST_PAUSE_S = 0.02
LISTEN_AGAIN_S = 1.0


class Sharing:
    """This engine among the others."""

    def __init__(
        self,
        exchange: Exchange,
        table: VenueTable,
        engines: Engines,
        tasks: Tasks,
        address: Callable[[], str],
        lease_s: float,
    ) -> None:
        """Configures.

        Args:
            exchange: The venues of this one.
            table: All venues.
            engines: All engines.
            tasks: Run its work.
            address: Where this one is reached; empty until it listens.
            lease_s: How long a lease lasts.
        """
        self._exchange = exchange
        self._table = table
        self._engines = engines
        self._tasks = tasks
        self._address = address
        self._lease_s = lease_s
        self._woken = asyncio.Event()
        self._free_since: dict[int, float] = {}
        self._presence: Task | None = None
        self._above_since: float | None = None

    async def start(self) -> None:
        """Opens the main venue unless another engine writes it, and takes part from now on."""
        await self._engines.leave()
        await self._exchange.create(DEFAULT_VENUE)
        self._exchange.start()
        until = time.monotonic() + self._lease_s + 0.5
        while time.monotonic() < until:
            place = await self._exchange.locate(DEFAULT_VENUE)
            if isinstance(place, OpenVenue):
                break
            if isinstance(place, Writer):
                if not await self.has_ended(place):
                    break
                continue
            await asyncio.sleep(SHORTEST_PAUSE_S)
        self._presence = self._tasks.spawn(self._present, name="presence")
        for work, name in ((self._watch, "venues"), (self._listen, "lease news")):
            self._tasks.spawn(work, name=name)

    async def leave(self) -> None:
        """Gives all venues to others, where there are any."""
        if self._presence is not None:
            await self._presence.cancel()
        try:
            await self._engines.leave()
            if not await self._engines.others():
                return
        except AacError as error:
            _log.warning("venues not handed over", error=str(error))
            return
        self._exchange.leaving = True
        async with asyncio.TaskGroup() as group:
            for name in self._exchange.names:
                group.create_task(self._exchange.hand_over(name))

    async def has_ended(self, writer: Writer) -> bool:
        """Finds out whether a writer's process has ended, once for all whose calls to it failed."""
        async with writer.asking:
            if not writer.over and not writer.gone:
                writer.gone = await is_gone(writer.address)
                if writer.gone:
                    _log.warning("the writer's process has ended", venue=writer.venue, address=writer.address)
        return writer.gone

    async def _present(self) -> None:
        """Says again and again that this engine runs, until cancelled."""
        while not (address := self._address()):  # noqa: ASYNC110 the server tells nobody
            await asyncio.sleep(SHORTEST_PAUSE_S)
        while True:
            try:
                await self._engines.say(address)
            except AacError as error:
                _log.warning("presence not told", error=str(error))
            await asyncio.sleep(self._lease_s / RENEWALS_A_LEASE)

    async def _listen(self) -> None:
        """Looks at once when another engine has taken or given up a lease, until cancelled."""
        while True:
            with contextlib.suppress(AacError):
                async for _ in self._engines.news():
                    self._woken.set()
            await asyncio.sleep(LISTEN_AGAIN_S)

    async def _watch(self) -> None:
        """Keeps to what the leases say, until cancelled: whom to ask, what to adopt, what to give up."""
        while True:
            self._woken.clear()
            pause = self._lease_s / RENEWALS_A_LEASE
            try:
                held = await self._table.holders()
                others = await self._engines.others()
            except AacError as error:
                _log.warning("leases not read", error=str(error))
            else:
                elsewhere = [one for one in held if not one.free and one.holder != self._exchange.holder]
                self._exchange.writers.note_all(elsewhere)
                self._exchange.note_all(held)
                await self._share(held, others)
                pause = min([pause, *(one.left_s for one in elsewhere)])
            await self._pause(max(SHORTEST_PAUSE_S, pause))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    async def _share(self, held: Sequence[Held], others: set[str]) -> None:
        """Adopts free venues up to this engine's share, and more where nobody else does; gives one up that is above."""
        now = time.monotonic()
        free = [one for one in held if one.free or self._exchange.writers.is_gone(one)]
        ended = {one.holder for one in free if one.lapses}
        share = -(-len(held) // (1 + len(others - ended)))
        room = share - len(self._exchange.names)
        since = {one.venue.venue_id: self._free_since.get(one.venue.venue_id, now) for one in free}
        self._free_since = since
        for one in free:
            if room > 0 or now - since[one.venue.venue_id] > self._lease_s / 2:
                if not self._exchange.adopt(one):
                    break
                room -= 1
        if room >= 0 or free or not others:
            self._above_since = None
        elif self._above_since is None:
            self._above_since = now
        elif now - self._above_since > self._lease_s:
            # For as long as this all of the others have run.
            self._above_since = now
            await self._exchange.hand_over(self._exchange.names[-1])
