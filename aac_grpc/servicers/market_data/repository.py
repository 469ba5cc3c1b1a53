"""Trades kept in PostgreSQL, and how far they reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from aac_grpc.common.database import Database
from aac_grpc.common.paging import Key
from aac_grpc.servicers.market_data.candle_repository import CandlesRepository

_COLUMNS = "sequence, trade_id, price, quantity, aggressor, print, executed_ns"


@dataclass(frozen=True, slots=True)
class TradeRow:
    """A trade to keep."""

    symbol: str
    sequence: int
    trade_id: str
    price: Decimal
    quantity: Decimal
    aggressor: int
    print: bool
    executed_ns: int


class TradesRepository:
    """Trades of every venue, by instrument and time.

    Attributes:
        candles: Of these trades.
    """

    def __init__(self, database: Database) -> None:
        self.candles = CandlesRepository(database)
        self._database = database

    async def checkpoint(self, venue: str, epoch: int) -> int:
        """Sequence of the venue's last event whose trades are kept; 0 where none are."""
        row = await self._database.fetch_one(
            "SELECT sequence FROM checkpoints WHERE venue = %s AND epoch = %s", (venue, epoch)
        )
        return int(row["sequence"]) if row else 0

    async def keep(self, venue: str, epoch: int, sequence: int, trades: Sequence[TradeRow]) -> None:
        """Keeps trades and moves the checkpoint, in one transaction.

        Other instances that follow the same venue keep the same rows; each is stored once.
        """
        columns: list[list[Any]] = [
            [trade.symbol for trade in trades],
            [trade.sequence for trade in trades],
            [trade.trade_id for trade in trades],
            [trade.price for trade in trades],
            [trade.quantity for trade in trades],
            [trade.aggressor for trade in trades],
            [trade.print for trade in trades],
            [trade.executed_ns for trade in trades],
        ]
        async with self._database.transaction() as tx:
            await tx.execute(
                "INSERT INTO trades (venue, epoch, symbol, sequence, trade_id, price, quantity, aggressor, print,"
                " executed_ns) SELECT %s, %s, * FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::numeric[],"
                " %s::numeric[], %s::smallint[], %s::boolean[], %s::bigint[]) ON CONFLICT DO NOTHING",
                (venue, epoch, *columns),
            )
            await tx.execute(
                "INSERT INTO checkpoints (venue, epoch, sequence) VALUES (%s, %s, %s) ON CONFLICT (venue, epoch)"
                " DO UPDATE SET sequence = greatest(checkpoints.sequence, excluded.sequence)",
                (venue, epoch, sequence),
            )

    async def page(
        self,
        venue: str,
        epoch: int,
        symbol: str,
        span: tuple[int | None, int | None],
        after: Key | None,
        limit: int,
    ) -> list[dict[str, Any]]:
        """Trades of a span, newest first.

        Args:
            venue: Isolated market.
            epoch: Numbering in force; a venue of the same name that was deleted had another.
            symbol: Instrument.
            span: First nanosecond inside and first outside; None is open.
            after: (executed_ns, sequence) of the last trade of the page before.
            limit: How many at most.
        """
        return await self._database.fetch_all(
            f"SELECT {_COLUMNS} FROM trades WHERE venue = %s AND epoch = %s AND symbol = %s"  # noqa: S608 - constant column list
            " AND executed_ns >= %s AND executed_ns < %s AND (executed_ns, sequence) < (%s, %s)"
            " ORDER BY executed_ns DESC, sequence DESC LIMIT %s",
            (venue, epoch, symbol, *_bounds(span), *(after or (_FOREVER, _FOREVER)), limit),
        )

    async def missed(self, venue: str, symbol: str, epoch: int, after: int, until: int) -> list[dict[str, Any]]:
        """Trades of an instrument by number, after one and up to another: what a resuming stream missed."""
        return await self._database.fetch_all(
            f"SELECT {_COLUMNS} FROM trades WHERE venue = %s AND symbol = %s AND epoch = %s"  # noqa: S608 - as above
            " AND sequence > %s AND sequence <= %s ORDER BY sequence",
            (venue, symbol, epoch, after, until),
        )

    async def kept(self) -> list[tuple[str, int]]:
        """The venues, each with its epoch, that something is kept of."""
        rows = await self._database.fetch_all("SELECT venue, epoch FROM checkpoints")
        return [(row["venue"], row["epoch"]) for row in rows]

    async def forget(self, venue: str, epoch: int) -> None:
        """Removes what is kept of a venue that no longer exists, in small transactions."""
        await self._database.delete_in_batches("trades", "venue = %s AND epoch = %s", (venue, epoch))
        await self.candles.forget(venue, epoch)
        await self._database.execute("DELETE FROM checkpoints WHERE venue = %s AND epoch = %s", (venue, epoch))


_FOREVER = 2**63 - 1


def _bounds(span: tuple[int | None, int | None]) -> tuple[int, int]:
    start, end = span
    return (start if start is not None else 0, end if end is not None else _FOREVER)
