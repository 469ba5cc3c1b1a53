"""Candles that PostgreSQL makes of kept trades are those of the domain, whatever is rolled up."""

import random
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from types import SimpleNamespace

import pytest

from aac_grpc.common.database import Database
from aac_grpc.common.migrations import migrate
from aac_grpc.domain.candles import Candle
from aac_grpc.domain.decimals import to_scaled
from aac_grpc.servicers.market_data import candle_repository
from aac_grpc.servicers.market_data.candle_repository import MINUTE_NS
from aac_grpc.servicers.market_data.candles import candle_page
from aac_grpc.servicers.market_data.convert import CANDLE_SCALE, candle_message
from aac_grpc.servicers.market_data.repository import TradeRow, TradesRepository
from aac_grpc.servicers.market_data.trade_keeper import TradeKeeper
from tests.support.candles import CandleBuilder

SECOND = 1_000_000_000
BEGIN = 1_700_000_000 * SECOND
FOREVER = 2**63 - 1
INTERVALS = (1, 2, 7, 59, 60, 61, 90, 120, 180, 420, 3600, 3660, 86_399, 86_400)
"""Seconds; among them multiples of a minute and others."""


@pytest.fixture(scope="module")
async def trades(backends: Mapping[str, str]) -> AsyncIterator[TradesRepository]:
    database = Database(backends["DATABASE_URL"], schema=f"test_{secrets.token_hex(4)}")
    await database.open()
    await migrate(database, "aac_grpc.servicers.market_data.migrations")
    yield TradesRepository(database)
    await database.execute(f"drop schema {database.schema} cascade")
    await database.close()


class History:
    """Random trades of one instrument in a venue of their own: spells of many and hours of none, several at once."""

    def __init__(self, chance: random.Random, trades: TradesRepository, count: int = 300) -> None:
        self.venue = f"t-{secrets.token_hex(4)}"
        self.chance = chance
        self.trades = trades
        self.rows: list[TradeRow] = []
        now = BEGIN + chance.randrange(86_400 * SECOND)
        for number in range(1, count + 1):
            now += chance.choice((0, 0, 1, SECOND // 3, SECOND, 7 * SECOND, MINUTE_NS, 1 + 500 * SECOND))
            if chance.random() < 0.1:  # at a border
                now = max(now, now + -now % MINUTE_NS - chance.choice((0, 0, 1)))
            if chance.random() < 0.02:
                now += chance.randrange(30 * 3600 * SECOND)
            self.rows.append(self._trade(number, now))

    def _trade(self, number: int, now: int) -> TradeRow:
        # Up to 27 digits, so that sums and products have more than a Decimal keeps by default.
        whole = 10 ** self.chance.choice((1, 3, 12, 18))
        price = Decimal(self.chance.randrange(1, whole)) + Decimal(self.chance.randrange(10**9)).scaleb(-9)
        quantity = Decimal(self.chance.randrange(1, 10 ** self.chance.choice((1, 9)))).scaleb(
            -self.chance.choice((0, 9))
        )
        return TradeRow("X", number, f"{number}", price, quantity, 1, False, now)

    async def keep(self, until: int | None = None) -> None:
        kept = self.rows[:until]
        await self.trades.keep(self.venue, 1, len(kept), kept)

    async def roll_up(self) -> None:
        while await self.trades.candles.roll_up(self.venue, 1, "X"):
            pass

    def expected(self, interval: int, span: tuple[int, int], limit: int, now: int) -> list[Candle]:
        builder, found = CandleBuilder(interval), []
        for row in self.rows:
            if span[0] <= row.executed_ns < span[1]:
                price, quantity = to_scaled(row.price, CANDLE_SCALE), to_scaled(row.quantity, CANDLE_SCALE)
                found.append(builder.add(row.executed_ns, price, quantity))
        found += [builder.close_until(now), builder.current]
        return [candle for candle in found if candle is not None][:limit]

    def some_span(self) -> tuple[int, int]:
        times = sorted(
            self.chance.choice(self.rows).executed_ns + self.chance.choice((-1, 0, 1, MINUTE_NS)) for _ in range(2)
        )
        chosen = self.chance.choice((times, (0, FOREVER), (times[0], FOREVER), (0, times[1])))
        start, end = chosen
        if self.chance.random() < 0.5:
            start -= start % MINUTE_NS
        return start, end

    async def check(self, intervals: Sequence[int], times: int = 6) -> None:
        for interval_s in intervals:
            for _ in range(times):
                interval, span = interval_s * SECOND, self.some_span()
                limit, last = self.chance.choice((1, 3, 50, 1001)), self.rows[-1].executed_ns
                now = last + self.chance.choice((0, interval, 2 * interval))
                page = await candle_page(self.trades.candles, self.venue, 1, "X", interval, span, limit, now)
                expected = self.expected(interval, span, limit, now)
                assert page == [candle_message(candle) for candle in expected], (interval_s, span, limit, now)


@pytest.mark.parametrize("seed", range(8))
async def test_candles_are_those_of_the_domain_before_while_and_after_minutes_are_rolled_up(
    trades: TradesRepository, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    history = History(chance, trades)
    intervals = [*INTERVALS, *(chance.randint(1, 86_400) for _ in range(4))]
    monkeypatch.setattr(candle_repository, "ROLL_UP_TRADES", chance.choice((1, 20, 100)))
    await history.keep(150)
    await history.roll_up()
    await history.keep()
    await history.check(intervals)  # the later half is not rolled up
    await trades.candles.roll_up(history.venue, 1, "X")
    await history.check(intervals, 2)
    await history.roll_up()
    await history.check(intervals)


async def test_minutes_are_rolled_up_once_and_only_when_they_are_over(trades: TradesRepository) -> None:
    history = History(random.Random(1), trades)
    await history.keep()
    over = history.rows[-1].executed_ns // MINUTE_NS * MINUTE_NS
    minutes = {row.executed_ns // MINUTE_NS for row in history.rows if row.executed_ns < over}
    for _ in range(2):  # an instance that comes later
        await history.roll_up()
        assert await minutes_of(trades, history.venue) == [minute * MINUTE_NS for minute in sorted(minutes)]


async def test_the_keeper_rolls_up_what_was_kept_before_it_and_what_it_keeps(trades: TradesRepository) -> None:
    history = History(random.Random(2), trades)
    await history.keep(200)
    waiting = list(history.rows[200:])

    def take() -> list[TradeRow]:
        taken, waiting[:] = list(waiting), []
        return taken

    # The keeper needs of the markets only what there is to keep.
    markets = SimpleNamespace(venue=history.venue, epoch=1, sequence=200, instruments={"X": None}, take_kept=take)
    keeper = TradeKeeper(markets, trades, 200)  # type: ignore[arg-type]
    await keeper.roll_up()
    before = await minutes_of(trades, history.venue)
    assert before[-1] < history.rows[199].executed_ns
    assert len(before) == len({row.executed_ns // MINUTE_NS for row in history.rows[:200]}) - 1
    markets.sequence = 300
    await keeper.keep()
    await keeper.roll_up()
    after = await minutes_of(trades, history.venue)
    assert len(after) == len({row.executed_ns // MINUTE_NS for row in history.rows}) - 1
    await history.check((60, 86_400))


async def test_nothing_rolled_up_is_left_of_a_venue_that_is_forgotten(trades: TradesRepository) -> None:
    history = History(random.Random(3), trades, 100)
    await history.keep()
    await history.roll_up()
    await trades.forget(history.venue, 1)
    assert await minutes_of(trades, history.venue) == []
    page = await candle_page(trades.candles, history.venue, 1, "X", MINUTE_NS, (0, FOREVER), 10, FOREVER)
    assert page == []


async def minutes_of(trades: TradesRepository, venue: str) -> list[int]:
    """Where the rolled up minutes of X begin."""
    rows = await trades._database.fetch_all(
        "SELECT start_ns FROM minute_candles WHERE venue = %s AND symbol = 'X' ORDER BY 1", (venue,)
    )
    return [row["start_ns"] for row in rows]
