"""What the journal has of a venue's streams, for readers that come back after memory has forgotten."""

from collections.abc import Callable

from aac.trading.v1.journal_pb2 import JournalBatch

from aac_grpc.common.database import Database
from aac_grpc.common.streams import Entry, frame
from aac_grpc.servicers.trading.batch import EVENTS_FIELD
from aac_grpc.servicers.trading.order_changes import OrderChange, changes_in

_BATCHES = 64
"""Journal rows that are read at once."""


class JournalHistory:
    """Reads one venue's journal."""

    def __init__(self, database: Database, venue_id: int) -> None:
        self._database = database
        self._venue_id = venue_id

    async def events(self, after: int, limit: int) -> list[Entry]:
        """Returns events after a sequence as followers get them, oldest first, at most `limit`."""
        entries: list[Entry] = []
        while len(entries) < limit:
            rows = await self._database.fetch_all(
                """select events, last_sequence from journal where venue_id = %s and last_sequence > %s
                order by last_sequence limit %s""",
                (self._venue_id, after, _BATCHES),
            )
            for row in rows:
                entries.extend(
                    Entry(message.sequence, frame(EVENTS_FIELD, message.SerializeToString()))
                    for message in JournalBatch.FromString(row["events"]).events
                    if message.sequence > after
                )
                if len(entries) >= limit:
                    return entries[:limit]
            if len(rows) < _BATCHES:
                break
            after = rows[-1]["last_sequence"]
        return entries

    async def orders(
        self, account_id: str, after: int, limit: int, entry: Callable[[OrderChange], Entry]
    ) -> list[Entry]:
        """Returns an account's order events after a sequence, oldest first, at most `limit`.

        Args:
            account_id: Whose.
            after: Number among the account's order events.
            limit: How many.
            entry: Frames one.
        """
        entries: list[Entry] = []
        while len(entries) < limit:
            rows = await self._database.fetch_all(
                """select events, last_order_sequence from journal_accounts join journal using (venue_id, batch)
                where venue_id = %s and account_id = %s and last_order_sequence > %s
                order by last_order_sequence limit %s""",
                (self._venue_id, account_id, after, _BATCHES),
            )
            for row in rows:
                entries.extend(
                    entry(change)
                    for _, changes in changes_in(JournalBatch.FromString(row["events"]).events)
                    for change in changes
                    if change.account_id == account_id and change.sequence > after
                )
            if len(rows) < _BATCHES:
                break
            after = rows[-1]["last_order_sequence"]
        return entries[:limit]
