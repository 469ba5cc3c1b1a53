"""The streams of one venue: its committed events, and each account's orders."""

from collections.abc import Iterator
from contextlib import contextmanager

from aac.type.v1 import stream_pb2

from aac_grpc.client.errors import NotFound
from aac_grpc.common.database import Database
from aac_grpc.common.streams import Entry, EventTopic, Snapshot, StreamSession, frame
from aac_grpc.servicers.trading.batch import Batch
from aac_grpc.servicers.trading.history import JournalHistory
from aac_grpc.servicers.trading.live import LiveVenue
from aac_grpc.servicers.trading.memory import Memory
from aac_grpc.servicers.trading.order_changes import OrderChange
from aac_grpc.servicers.trading.rows import OrderRow
from aac_grpc.servicers.trading.venue_table import VenueRow
from aac_grpc.servicers.trading.views import order_view
from aac_grpc.servicers.trading.writer import VenueWriter

ORDERS_FIELD = 2
"""Of the orders in WatchOrdersResponse."""
RING_EVENTS = 65_536
RING_BYTES = 16 << 20
RING_ORDERS = 4096


class VenueStreams:
    """What is streamed of one venue. Everything in it is committed.

    Attributes:
        market: All of the venue's events.
    """

    def __init__(self, row: VenueRow, memory: Memory, database: Database) -> None:
        """Begins after the last committed event."""
        self._row = row
        self._memory = memory
        self._history = JournalHistory(database, row.venue_id)
        self._orders: dict[str, EventTopic] = {}
        self._sessions: set[StreamSession] = set()
        self.market = EventTopic(
            stream_pb2.TOPIC_VENUE,
            row.name,
            venue=row.name,
            epoch=row.epoch,
            sequence=memory.live.venue.sequence,
            history=self._history.events,
            max_entries=RING_EVENTS,
            max_bytes=RING_BYTES,
        )

    @contextmanager
    def session(self) -> Iterator[StreamSession]:
        """Opens one outgoing stream, which ends when this instance writes the venue no more."""
        session = StreamSession()
        self._sessions.add(session)
        try:
            yield session
        finally:
            self._sessions.discard(session)

    def close(self) -> None:
        """Ends all streams: those who follow go on at the venue's next writer."""
        for session in tuple(self._sessions):
            session.close()

    def publish(self, batch: Batch) -> None:
        """Sends what a committed batch did to those who follow."""
        self.market.extend(batch.entries)
        if not self._orders:
            return
        news: dict[str, list[Entry]] = {}
        for change in batch.order_changes:
            if change.account_id in self._orders:
                news.setdefault(change.account_id, []).append(self._entry(change))
        for account_id, entries in news.items():
            self._orders[account_id].extend(entries)

    async def orders(self, account_id: str, writer: VenueWriter) -> EventTopic:
        """Returns the topic of an account's orders; it begins with the first one who asks.

        Raises:
            NotFound: The venue has no such account of a user.
        """
        found = self._orders.get(account_id)
        if found is not None:
            return found
        return await writer.inspect(lambda live: self._begin(account_id, live, writer))

    def _begin(self, account_id: str, live: LiveVenue, writer: VenueWriter) -> EventTopic:
        found = self._orders.get(account_id)
        if found is not None:
            return found
        if live.accounts.get(account_id, True):
            raise NotFound("account", account_id)

        async def snapshot() -> Snapshot:
            return await writer.inspect(lambda live: self._open_orders(account_id, live))

        async def history(after: int, limit: int) -> list[Entry]:
            return await self._history.orders(account_id, after, limit, self._entry)

        topic = self._orders[account_id] = EventTopic(
            stream_pb2.TOPIC_ORDERS,
            account_id,
            venue=self._row.name,
            epoch=self._row.epoch,
            sequence=live.order_sequences.get(account_id, 0),
            snapshot=snapshot,
            history=history,
            max_entries=RING_ORDERS,
        )
        return topic

    def _open_orders(self, account_id: str, live: LiveVenue) -> Snapshot:
        rows = [live.orders[order.order_id] for order in live.venue.open_orders(account_id)]
        rows.sort(key=lambda row: row.number)
        return Snapshot(live.order_sequences.get(account_id, 0), [self._frame(row) for row in rows])

    def _entry(self, change: OrderChange) -> Entry:
        # A refused request has a number, too, but changes no order.
        return Entry(change.sequence, b"" if change.row is None else self._frame(change.row))

    def _frame(self, row: OrderRow) -> bytes:
        instrument = self._memory.live.instrument(row.symbol)
        assert instrument is not None
        return frame(ORDERS_FIELD, order_view(self._row.name, row, instrument).SerializeToString())
