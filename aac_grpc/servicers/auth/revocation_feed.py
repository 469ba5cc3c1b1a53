"""Follows the table of revocations, whichever instance writes it, and tells this process and those who watch."""

import asyncio
from collections.abc import Sequence

import psycopg
import structlog
from aac.auth.v1.auth_pb2 import WatchRevocationsResponse
from aac.type.v1.stream_pb2 import TOPIC_REVOCATIONS

from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common.clock import Clock
from aac_grpc.common.database import Connection, Database
from aac_grpc.common.revocations import Revocations
from aac_grpc.common.streams import Entry, EventTopic, Snapshot, frame
from aac_grpc.servicers.auth.revocations import CHANNEL, Page, Revocation, read_after, to_revocation

READ_TIMEOUT_S = 2.0
"""A database that takes longer to say what is new is given up, and connected to again."""
MAX_AGE_S = 2.0
"""An instance that has not read for so long begins no stream: another one may know more."""

_ENTRY = WatchRevocationsResponse.REVOCATIONS_FIELD_NUMBER
_log = structlog.get_logger("revocations")


class RevocationFeed:
    """All revocations that matter, in memory, and the topic that streams are made of.

    A connection of its own listens for NOTIFY, and looks by itself each `poll_s`, so that a notification that is lost
    costs no more than that.
    """

    def __init__(self, database: Database, revocations: Revocations, clock: Clock, poll_s: float) -> None:
        """Begins empty; `load` fills it.

        Args:
            database: Where the table is.
            revocations: What this process itself refuses by.
            clock: Wall time.
            poll_s: Seconds between looks where nobody notifies.
        """
        self.topic = EventTopic(TOPIC_REVOCATIONS, "", snapshot=self._snapshot)
        self._database = database
        self._revocations = revocations
        self._clock = clock
        self._poll_s = poll_s
        self._live: dict[tuple[str, str], Revocation] = {}

    @property
    def staleness_s(self) -> float:
        """Seconds since the table was read."""
        return self._revocations.staleness_s

    def check(self) -> None:
        """Passes where this instance may tell others what was revoked.

        Raises:
            DependencyUnavailable: It could not read the table lately.
        """
        if self.staleness_s > MAX_AGE_S:
            raise DependencyUnavailable("postgresql")

    async def load(self) -> None:
        """Reads all that matters."""
        async with self._database.connection() as connection:
            self._begin(await read_after(connection, 0))

    async def follow(self) -> None:
        """Runs until it is cancelled; a database that is away is waited for."""
        while True:
            try:
                connection = await self._database.dedicated()
                try:
                    await self._listen(connection)
                finally:
                    await connection.close()
            except (DependencyUnavailable, psycopg.Error, TimeoutError) as error:
                _log.warning("the revocations can't be read", error=str(error), stale_s=round(self.staleness_s, 1))
            await asyncio.sleep(self._poll_s)

    async def _listen(self, connection: Connection) -> None:
        async with asyncio.timeout(READ_TIMEOUT_S):
            await connection.execute(f"listen {CHANNEL}".encode())
        while True:
            async with asyncio.timeout(READ_TIMEOUT_S):
                page = await read_after(connection, self.topic.sequence)
                if not self._follows(page):
                    page = await read_after(connection, 0)
                    self._begin(page)
                else:
                    self._take(page.revocations)
            async for _ in connection.notifies(timeout=self._poll_s, stop_after=1):
                pass

    def _follows(self, page: Page) -> bool:
        """Nothing was removed, or numbered anew, before it was read here."""
        topic, found = self.topic, page.revocations
        first = found[0].sequence if found else page.sequence + 1
        last = found[-1].sequence if found else topic.sequence
        return (page.epoch, first, last) == (topic.epoch, topic.sequence + 1, page.sequence)

    def _begin(self, page: Page) -> None:
        """Takes the whole table."""
        self._live = {(one.kind, one.subject): one for one in page.revocations}
        last = len(page.revocations)
        while last > 0 and page.revocations[last - 1].sequence == page.sequence - (len(page.revocations) - last):
            last -= 1
        topic = self.topic
        recent = [one for one in page.revocations[last:] if (page.epoch, one.sequence) > (topic.epoch, topic.sequence)]
        topic.reset(page.epoch, page.sequence - len(recent))
        topic.extend(map(_entry, recent))
        self._revocations.replace(map(to_revocation, page.revocations))
        self._revocations.heard()

    def _take(self, news: Sequence[Revocation]) -> None:
        if news:
            self._live.update({(one.kind, one.subject): one for one in news})
            self.topic.extend(map(_entry, news))
            self._revocations.add(map(to_revocation, news))
        self._revocations.heard()

    def _snapshot(self) -> Snapshot:
        now = self._clock.now()
        self._live = {key: one for key, one in self._live.items() if one.matters_until > now}
        return Snapshot(self.topic.sequence, [_framed(one) for one in self._live.values()])


def _entry(revocation: Revocation) -> Entry:
    return Entry(revocation.sequence, _framed(revocation))


def _framed(revocation: Revocation) -> bytes:
    return frame(_ENTRY, to_revocation(revocation).SerializeToString())
