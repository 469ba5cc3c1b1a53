"""Building a venue's memory from the last snapshot and the events after it, and saving snapshots."""

import asyncio
import hashlib
import json
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

from aac.trading.v1.journal_pb2 import JournalBatch

from aac_grpc.common.database import Database
from aac_grpc.domain.commands import AccountKind
from aac_grpc.domain.venue import Venue
from aac_grpc.servicers.trading.decoding import decode
from aac_grpc.servicers.trading.live import LiveOrders, LiveVenue
from aac_grpc.servicers.trading.rows import OrderRow

_CHUNK = 50
"""Batches that are read and applied before others may run."""
_KEPT_SNAPSHOTS = 2


class JournalDamaged(Exception):
    """The journal, a snapshot or the tables do not fit together; the venue must not be written."""


async def recover(database: Database, venue_id: int, name: str) -> LiveVenue:
    """Builds a venue's memory as of its last committed batch. The caller holds the lease.

    Raises:
        JournalDamaged: What is kept does not fit together.
    """
    live = await _load_snapshot(database, venue_id, name)
    venue, chain, last = live.venue, live.chain, live.batch
    async for row in _batches(database, venue_id, live.batch):
        if row["batch"] != last + 1:
            raise JournalDamaged(f"venue {name}: batch {row['batch']} follows {last}")
        events = bytes(row["events"])
        chain = hashlib.sha256(chain + events).digest()
        if chain != bytes(row["chain"]):
            raise JournalDamaged(f"venue {name}: the events of batch {row['batch']} were changed")
        for message in JournalBatch.FromString(events).events:
            venue.apply(decode(message, name))
        last = row["batch"]
    written = await database.fetch_one("select batch, sequence from leases where venue_id = %s", (venue_id,))
    if written is None or (written["batch"], written["sequence"]) != (last, venue.sequence):
        raise JournalDamaged(f"venue {name}: the journal ends at batch {last}, but {written} was written")
    orders = await database.fetch_all("select * from orders where venue_id = %s and state = 1", (venue_id,))
    sequences = await database.fetch_all(
        """select account_id, max(last_order_sequence) as last from journal_accounts
        where venue_id = %s group by account_id""",
        (venue_id,),
    )
    return LiveVenue(
        venue_id,
        venue,
        last,
        chain,
        LiveOrders(OrderRow.of_record(record) for record in orders),
        {account_id: _is_flow(venue, account_id) for account_id in venue.account_ids()},
        {row["account_id"]: row["last"] for row in sequences},
    )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A venue's whole state after one batch."""

    venue_id: int
    sequence: int
    batch: int
    chain: bytes
    state: dict[str, Any]

    @classmethod
    def take(cls, live: LiveVenue) -> Self:
        """Copies a venue's state. To be called when its last batch is committed and the next one has not begun."""
        return cls(live.venue_id, live.venue.sequence, live.batch, live.chain, live.venue.snapshot())


async def save_snapshot(database: Database, snapshot: Snapshot) -> None:
    """Saves a snapshot, in its own time; all but the latest ones are dropped."""
    named: dict[str, Any] = {
        "venue_id": snapshot.venue_id,
        "sequence": snapshot.sequence,
        "batch": snapshot.batch,
        "chain": snapshot.chain,
    }
    named["hash"], named["state"] = await asyncio.to_thread(_pack, snapshot.state)
    async with database.transaction() as tx:
        await tx.execute(
            """insert into snapshots (venue_id, sequence, batch, chain, state_hash, state)
            values (%(venue_id)s, %(sequence)s, %(batch)s, %(chain)s, %(hash)s, %(state)s)
            on conflict do nothing""",
            named,
        )
        await tx.execute(
            """delete from snapshots where venue_id = %(venue_id)s and sequence not in (
                select sequence from snapshots where venue_id = %(venue_id)s order by sequence desc limit %(kept)s)""",
            {**named, "kept": _KEPT_SNAPSHOTS},
        )


async def _load_snapshot(database: Database, venue_id: int, name: str) -> LiveVenue:
    rows = await database.fetch_all(
        "select batch, chain, state_hash, state from snapshots where venue_id = %s order by sequence desc", (venue_id,)
    )
    for row in rows:
        text = await asyncio.to_thread(zlib.decompress, row["state"])
        if hashlib.sha256(text).hexdigest() != row["state_hash"]:
            raise JournalDamaged(f"venue {name}: the snapshot of batch {row['batch']} was changed")
        try:
            venue = Venue.restore(json.loads(text))
        except ValueError:
            # Of another version of the engine: its events can be read all the same.
            continue
        return LiveVenue(venue_id, venue, row["batch"], bytes(row["chain"]), LiveOrders(), {}, {})
    return LiveVenue(venue_id, Venue(name), 0, b"", LiveOrders(), {}, {})


async def _batches(database: Database, venue_id: int, after: int) -> AsyncIterator[dict[str, Any]]:
    while True:
        rows = await database.fetch_all(
            """select batch, events, chain from journal where venue_id = %s and batch > %s
            order by batch limit %s""",
            (venue_id, after, _CHUNK),
        )
        for row in rows:
            yield row
        if len(rows) < _CHUNK:
            return
        after = rows[-1]["batch"]


def _pack(snapshot: dict[str, Any]) -> tuple[str, bytes]:
    """Returns the hash of a snapshot's text, and the text compressed."""
    text = json.dumps(snapshot, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(text).hexdigest(), zlib.compress(text, 1)


def _is_flow(venue: Venue, account_id: str) -> bool:
    state = venue.account_state(account_id)
    return state is not None and state.kind is AccountKind.FLOW
