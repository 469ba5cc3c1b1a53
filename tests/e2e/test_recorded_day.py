"""A recorded NASDAQ day goes through the running platform whole, as FLOW orders, as fast as it can.

The day is GOOG of 2012-06-21 from LOBSTER's samples, in the folder of recorded data.
"""

import asyncio
import contextlib
import csv
import io
import json
import random
import zipfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aac.trading.v1.venue_pb2 import FeedRun, GetFeedRunRequest, ListVenuesRequest
from grpc import aio

from aac_grpc.client import AsyncClient
from aac_grpc.client.channel import channel_options
from aac_grpc.client.errors import NotFound
from tests.support.books import check_money, read_books
from tests.support.installation import Installation, Outcome
from tests.support.markets import CASH, engine, new_traders, new_venue
from tests.support.stream_log import MarketFollower, until
from tests.support.telling import tell

DAY = "lobster/LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"
SYMBOL = "GOOG"
RUN = "whole-day"
COMPARED_AFTER_S = 34_201.0
"""09:30:01, in seconds after midnight: before it the recording's book is not settled."""
LEAST_EQUAL = 0.9999
REPLAY_WITHIN_S = 300.0
EXECUTIONS = ("4", "5")
"""Types of messages that trade: visible and hidden ones."""

pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Recording:
    """What the files say, read without any of our code."""

    path: Path
    messages: int
    after_start: int
    """Messages after 09:30:01."""
    traded: int
    """Shares."""
    levels: Sequence[tuple[Decimal, int]]
    """The last row of the book: ask 1, bid 1, ask 2, bid 2 and so on."""


@pytest.fixture(scope="module")
def recording(shared: Path) -> Recording:
    path = shared / "data" / DAY
    if not path.is_file():
        pytest.skip(f"there is no {DAY} in {shared}")
    with zipfile.ZipFile(path) as archive:
        names = {kind: name for name in archive.namelist() for kind in ("message", "orderbook") if kind in name}
        messages = list(csv.reader(io.TextIOWrapper(archive.open(names["message"]))))
        *_, last = csv.reader(io.TextIOWrapper(archive.open(names["orderbook"])))
    return Recording(
        path=path,
        messages=len(messages),
        after_start=sum(1 for row in messages if float(row[0]) > COMPARED_AFTER_S),
        traded=sum(int(row[3]) for row in messages if row[1] in EXECUTIONS),
        levels=[(Decimal(price) / 10_000, int(size)) for price, size in zip(last[::2], last[1::2], strict=True)],
    )


async def replay(platform: Installation, recording: Recording, venue: str) -> Outcome:
    """Feeds the whole day into a venue by the command for it."""
    return await platform.aac(
        "replay",
        str(recording.path),
        "--venue",
        venue,
        "--run",
        RUN,
        "--speed",
        "max",
        "--json",
        timeout_s=REPLAY_WITHIN_S,
    )


async def feed_run(platform: Installation, venue: str) -> FeedRun:
    """What the venue itself says of the run, to a service of the mesh."""
    async with engine(platform) as venues:
        return (await venues.GetFeedRun(GetFeedRunRequest(venue=venue, run_id=RUN))).run


def told(outcome: Outcome) -> dict[str, Any]:
    """The result that the command printed."""
    assert outcome.code == 0, outcome.errors
    run: dict[str, Any] = json.loads(outcome.output.splitlines()[-1])["run"]
    return run


async def begun(platform: Installation, venue: str) -> None:
    """Waits for the first rows of the run."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(NotFound):
                if (await feed_run(platform, venue)).rows:
                    return
            await asyncio.sleep(0.1)


async def last_sequence(platform: Installation, venue: str) -> int:
    """Of the venue's last event."""
    async with engine(platform) as venues:
        known = (await venues.ListVenues(ListVenuesRequest())).venues
    (sequence,) = (one.sequence for one in known if one.venue == venue)
    return sequence


async def test_undisturbed_the_top_of_book_is_the_recorded_one(
    platform: Installation, recording: Recording, pytestconfig: pytest.Config
) -> None:
    async with new_venue(platform) as venue, platform.client("admin", timeout=60.0) as client:
        replaying = asyncio.create_task(replay(platform, recording, venue))
        await begun(platform, venue)
        async with watching(platform, client, venue) as market:
            outcome = await replaying
            run = await feed_run(platform, venue)
            share = run.top_equal / run.compared
            tell(
                pytestconfig,
                f"{run.rows} rows in {outcome.seconds:.1f} s ({run.rows / outcome.seconds:.0f} a second): "
                f"top of book equal on {run.top_equal} of {run.compared} ({share:.4%}), {run.resets} levels reset",
            )
            assert told(outcome)["rows"] == str(run.rows)
            # The row before the first message opens the book.
            assert (run.last_row, run.rows) == (recording.messages, recording.messages + 1)
            assert (run.applied, run.diverged) == (run.rows, 0)
            assert run.compared == recording.after_start
            assert share >= LEAST_EQUAL
            assert run.resets > 0
            await market_data_has_the_day(client, venue, await last_sequence(platform, venue), recording, market)


@contextlib.asynccontextmanager
async def watching(platform: Installation, client: AsyncClient, venue: str) -> AsyncIterator[MarketFollower]:
    """Somebody who watches the market meanwhile, through the gateway."""
    key = (("x-api-key", (await client.create_api_key("watch")).secret),)
    async with aio.insecure_channel(platform.gateway, options=channel_options()) as channel:
        follower = MarketFollower(channel, key, venue, SYMBOL)
        follower.start()
        try:
            yield follower
        finally:
            await follower.stop()


async def market_data_has_the_day(
    client: AsyncClient, venue: str, sequence: int, recording: Recording, market: MarketFollower
) -> None:
    """What everybody sees through the gateway is the day's last book, and all that was traded."""
    book = await client.book(SYMBOL, depth=1000, min_sequence=sequence, venue=venue)
    depth = len(recording.levels) // 2
    shown = [level for pair in zip(book.asks[:depth], book.bids[:depth], strict=True) for level in pair]
    assert [(level.price, level.quantity) for level in shown] == recording.levels
    candles = [one async for one in client.list_candles(SYMBOL, timedelta(hours=1), venue=venue)]
    assert sum(candle.volume for candle in candles) == recording.traded
    assert await until(lambda: market.depth.sequence >= book.depth_sequence, 60.0)
    market.check()
    for side, levels in ((1, reversed(book.bids)), (2, book.asks)):
        assert market.book(side) == [(level.price, level.quantity, level.orders) for level in levels]


async def test_a_users_own_orders_fill_in_it_and_what_no_longer_applies_is_counted(
    platform: Installation, recording: Recording, pytestconfig: pytest.Config
) -> None:
    async with new_venue(platform) as venue:
        (trader,) = await new_traders(platform, 1, venue)
        async with platform.client(trader.username, trader.password, timeout=60.0) as client:
            replaying = asyncio.create_task(replay(platform, recording, venue))
            await begun(platform, venue)
            placed = await trade_until(replaying, client, venue)
            outcome = await replaying
            books = await read_books(client, trader.account, venue)
        run = await feed_run(platform, venue)
        tell(
            pytestconfig,
            f"{run.rows} rows in {outcome.seconds:.1f} s while a user placed {placed} orders, which filled "
            f"{len(books.executions)} times: {run.applied} applied, {run.diverged} diverged, {run.resets} levels reset",
        )
        assert told(outcome)["rows"] == str(run.rows)
        assert run.last_row == recording.messages
        assert books.executions
        assert run.diverged > 0
        assert run.applied + run.diverged == run.rows == recording.messages + 1
        check_money(books, Decimal(CASH))


async def trade_until(replaying: asyncio.Task[Outcome], client: AsyncClient, venue: str) -> int:
    """Takes what is there, on both sides in turn, until the day ends; returns how many orders were placed."""
    chance = random.Random(7)
    placed = 0
    while not replaying.done():
        await client.place_order(SYMBOL, ("buy", "sell")[placed % 2], chance.randint(1, 50), venue=venue)
        placed += 1
        await asyncio.wait({replaying}, timeout=0.1)
    return placed
