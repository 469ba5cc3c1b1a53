"""Candles in PostgreSQL: aggregates of kept trades, and one-minute candles that are rolled up once and for all.

What a candle is, `aac_grpc.domain.candles` says; the statements here compute the same.
"""

from typing import Any

from aac_grpc.common.database import Database

MINUTE_NS = 60_000_000_000
ROLL_UP_TRADES = 50_000
"""Trades that one step rolls up, about; a minute is never divided."""

_INSTRUMENT = "venue = %(venue)s AND epoch = %(epoch)s AND symbol = %(symbol)s"


def _of_trades(interval: str, start: str, end: str) -> str:
    """Statement for the candles of the trades of a span; `at_ns` orders them among candles of other spans."""
    return (
        f"SELECT executed_ns - executed_ns %% {interval} AS start_ns, min(executed_ns) AS at_ns,"  # noqa: S608 - constants
        " (array_agg(price ORDER BY executed_ns, sequence))[1] AS open, max(price) AS high, min(price) AS low,"
        " (array_agg(price ORDER BY executed_ns DESC, sequence DESC))[1] AS close, sum(quantity) AS volume,"
        " sum(price * quantity) AS notional, count(*) AS trades"
        f" FROM trades WHERE {_INSTRUMENT} AND executed_ns >= {start} AND executed_ns < {end} GROUP BY 1"
    )


# From one interval that holds a trade to the next by the index: what lies between is not read.
_PAGE_END = f"""
    WITH RECURSIVE starts (start_ns, number) AS (
        (SELECT executed_ns - executed_ns %% %(interval)s, 1 FROM trades
            WHERE {_INSTRUMENT} AND executed_ns >= %(start)s AND executed_ns < %(end)s
            ORDER BY executed_ns LIMIT 1)
        UNION ALL
        SELECT next.start_ns, number + 1 FROM starts, LATERAL (
            SELECT executed_ns - executed_ns %% %(interval)s AS start_ns FROM trades
            WHERE {_INSTRUMENT} AND executed_ns >= starts.start_ns + %(interval)s AND executed_ns < %(end)s
            ORDER BY executed_ns LIMIT 1) AS next
        WHERE number < %(limit)s
    )
    SELECT max(start_ns) + %(interval)s AS end_ns FROM starts"""  # noqa: S608 - constants

_CANDLES = f"""
    WITH parts AS (
        {_of_trades("%(interval)s", "%(start)s", "%(rolled_start)s")}
        UNION ALL
        SELECT start_ns - start_ns %% %(interval)s, start_ns, open, high, low, close, volume, notional, trades
            FROM minute_candles
            WHERE {_INSTRUMENT} AND start_ns >= %(rolled_start)s AND start_ns < %(rolled_end)s
        UNION ALL
        {_of_trades("%(interval)s", "%(rolled_end)s", "%(end)s")}
    )
    SELECT start_ns, (array_agg(open ORDER BY at_ns))[1] AS open, max(high) AS high, min(low) AS low,
        (array_agg(close ORDER BY at_ns DESC))[1] AS close, sum(volume) AS volume, sum(notional) AS notional,
        sum(trades)::bigint AS trades
    FROM parts GROUP BY start_ns ORDER BY start_ns LIMIT %(limit)s"""  # noqa: S608 - constants

_ROLL_UP = (
    "INSERT INTO minute_candles (venue, epoch, symbol, start_ns, open, high, low, close, volume, notional, trades)"  # noqa: S608 - constants
    " SELECT %(venue)s, %(epoch)s, %(symbol)s, start_ns, open, high, low, close, volume, notional, trades"
    f" FROM ({_of_trades('%(minute)s', '%(start)s', '%(end)s')} ORDER BY 1) AS minutes ON CONFLICT DO NOTHING"
)


class CandlesRepository:
    """Candles of every venue's kept trades."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, venue: str, epoch: int, symbol: str, interval_ns: int, span: tuple[int, int], limit: int
    ) -> list[dict[str, Any]]:
        """The first candles of a span, oldest first: start_ns, open, high, low, close, volume, notional, trades.

        It reads the trades of these candles alone, however many there are before, between and after them; of whole
        minutes that are rolled up, it reads no trades.

        Args:
            venue: Isolated market.
            epoch: Its numbering in force.
            symbol: Instrument.
            interval_ns: Whole seconds, in nanoseconds.
            span: First nanosecond inside and first outside.
            limit: How many at most.
        """
        start, end = span
        of = {"venue": venue, "epoch": epoch, "symbol": symbol, "interval": interval_ns, "limit": limit}
        async with self._database.connection() as connection:
            found = await connection.execute(_PAGE_END.encode(), {**of, "start": start, "end": end})
            last = await found.fetchone()
            if last is None or last["end_ns"] is None:
                return []
            end = min(end, last["end_ns"])
            mark = None
            if interval_ns % MINUTE_NS == 0:
                mark = await (await connection.execute(_MARK.encode(), of)).fetchone()
            rolled = _whole_minutes(start, min(end, mark["until_ns"] if mark else 0))
            places = {"start": start, "end": end, "rolled_start": rolled[0], "rolled_end": rolled[1]}
            return await (await connection.execute(_CANDLES.encode(), {**of, **places})).fetchall()

    async def roll_up(self, venue: str, epoch: int, symbol: str) -> bool:
        """Rolls up some of the minutes that are over, those that end before that of the last kept trade begins.

        Trades are kept in their order, and a venue's clock never goes back: such a minute gets no more trades.
        Several instances may do this at once.

        Returns:
            Whether there may be more to roll up.
        """
        of = {"venue": venue, "epoch": epoch, "symbol": symbol, "minute": MINUTE_NS, "step": ROLL_UP_TRADES}
        async with self._database.transaction() as tx:
            mark = await (await tx.execute(_MARK.encode(), of)).fetchone()
            start = mark["until_ns"] if mark else 0
            bounds = await (await tx.execute(_BOUNDS.encode(), {**of, "start": start})).fetchone()
            if bounds is None or bounds["first_ns"] is None:
                return False
            over = _minute(bounds["last_ns"])
            end = over
            if bounds["step_ns"] is not None:
                end = min(over, max(_minute(bounds["step_ns"]), _minute(bounds["first_ns"]) + MINUTE_NS))
            if end <= start:
                return False
            await tx.execute(_ROLL_UP.encode(), {**of, "start": start, "end": end})
            await tx.execute(_SET_MARK.encode(), {**of, "end": end})
        return bool(end < over)

    async def forget(self, venue: str, epoch: int) -> None:
        """Removes the rolled up candles of a venue, in small transactions."""
        await self._database.delete_in_batches("minute_candles", "venue = %s AND epoch = %s", (venue, epoch))
        await self._database.execute("DELETE FROM minute_marks WHERE venue = %s AND epoch = %s", (venue, epoch))


_MARK = f"SELECT until_ns FROM minute_marks WHERE {_INSTRUMENT}"  # noqa: S608 - constants
_SET_MARK = (
    "INSERT INTO minute_marks (venue, epoch, symbol, until_ns) VALUES (%(venue)s, %(epoch)s, %(symbol)s, %(end)s)"
    " ON CONFLICT (venue, epoch, symbol) DO UPDATE SET until_ns = greatest(minute_marks.until_ns, excluded.until_ns)"
)
_SINCE = f"FROM trades WHERE {_INSTRUMENT} AND executed_ns >= %(start)s ORDER BY executed_ns"
_BOUNDS = (
    f"SELECT (SELECT executed_ns {_SINCE} LIMIT 1) AS first_ns,"
    f" (SELECT executed_ns {_SINCE} OFFSET %(step)s LIMIT 1) AS step_ns,"
    f" (SELECT executed_ns {_SINCE} DESC LIMIT 1) AS last_ns"
)


def _minute(time_ns: int) -> int:
    """Where the minute of a time begins."""
    return time_ns - time_ns % MINUTE_NS


def _whole_minutes(start: int, end: int) -> tuple[int, int]:
    """The part of a span that is whole minutes; where there is none, an empty one at its start."""
    first, last = _minute(start + MINUTE_NS - 1), _minute(end)
    return (first, last) if first < last else (start, start)
