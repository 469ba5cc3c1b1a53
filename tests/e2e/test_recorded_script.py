"""A recorded morning as a command script: takes hit their makers in order, and each book shown is the recorded one."""

import asyncio
import csv
import gzip
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aac.trading.v1 import journal_pb2, order_pb2, trading_pb2, venue_pb2
from aac.trading.v1.trading_pb2_grpc import TradingServiceStub
from aac.trading.v1.venue_pb2_grpc import VenueServiceStub
from aac.type.v1 import market_pb2

from tests.integration.services import Caller, new_installation
from tests.integration.trading import Stack, account, instrument, stack

FILE_UNITS = 100
"""File prices are of 1e-4, ticks of 1e-2."""
SIDES = {"B": market_pb2.SIDE_BUY, "S": market_pb2.SIDE_SELL}
DEPTH = 5
TAKES, CHECKS = 525, 19_876
VENUE = "script"


@pytest.fixture
async def engine(backends: dict[str, str]) -> AsyncIterator[Stack]:
    async with new_installation(backends) as installation, stack(installation) as running:
        yield running


def read(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt") as file:
        return list(csv.DictReader(file))


def recorded_books(folder: Path) -> dict[int, tuple[list[tuple[int, int]], ...]]:
    """Bids and asks of each row as (ticks, lots), best first; places of absent levels left out."""
    books = {}
    for row in read(folder / "GOOG10_20k_book5.csv.gz"):
        sides = []
        for side in ("bid", "ask"):
            levels = [(int(row[f"{side}_px{level}"]), int(row[f"{side}_qty{level}"])) for level in range(1, DEPTH + 1)]
            sides.append([(price // FILE_UNITS, quantity) for price, quantity in levels if quantity])
        books[int(row["row"])] = tuple(sides)
    return books


class Follower:
    """A book by price level, built from the venue's committed events alone."""

    def __init__(self, service: Caller, venue: str) -> None:
        request = venue_pb2.FollowMarketRequest(venue=venue)
        self._call = service._stub.FollowMarket(request, metadata=service._metadata, timeout=1200)
        self._events: list[journal_pb2.VenueEvent] = []
        self._levels: dict[int, dict[int, int]] = {market_pb2.SIDE_BUY: {}, market_pb2.SIDE_SELL: {}}
        self.trades: list[journal_pb2.TradeExecuted] = []
        self.sequence = 0

    async def event(self) -> journal_pb2.VenueEvent:
        """Applies the next event."""
        while not self._events:
            response = await self._call.read()
            self._events = list(reversed(response.events))
        event = self._events.pop()
        assert event.sequence == self.sequence + 1
        self.sequence = event.sequence
        kind = event.WhichOneof("event")
        said = getattr(event, kind)
        if kind == "trade":
            self.trades.append(said)
        if "level" in said.DESCRIPTOR.fields_by_name and said.HasField("level"):
            self._levels[said.level.side][said.level.price] = said.level.quantity
            if not said.level.quantity:
                del self._levels[said.level.side][said.level.price]
        return event

    async def reach(self, sequence: int) -> None:
        """Applies events up to a sequence."""
        while self.sequence < sequence:
            await self.event()

    def top(self) -> tuple[list[tuple[int, int]], ...]:
        bids, asks = self._levels[market_pb2.SIDE_BUY], self._levels[market_pb2.SIDE_SELL]
        return (
            [(price, bids[price]) for price in sorted(bids, reverse=True)[:DEPTH]],
            [(price, asks[price]) for price in sorted(asks)[:DEPTH]],
        )

    def makers(self, name: Any) -> str:
        """The trades since the last call, as the script writes them."""
        parts = [f"{name(trade.maker)}:{trade.quantity}@{trade.price * FILE_UNITS}" for trade in self.trades]
        self.trades.clear()
        return "|".join(parts)


def feed_rows(script: list[dict[str, str]]) -> Iterator[tuple[dict[str, str], venue_pb2.FeedRow]]:
    """Each command as a row of a feed; what is left of a TAKE_GTC joins the book as a new order."""
    for number, command in enumerate(script):
        name = command["order_id"]
        items = venue_pb2.FeedRow(row=number).items
        side = SIDES.get(command["side"], market_pb2.SIDE_UNSPECIFIED)
        quantity = int(command["qty"] or 0)
        price = int(command["price"] or 0) // FILE_UNITS
        if command["cmd"] == "NEW":
            items.add().new.CopyFrom(venue_pb2.FeedNew(order_ref=name, side=side, price=price, quantity=quantity))
        elif command["cmd"] == "REDUCE":
            items.add().reduce.CopyFrom(venue_pb2.FeedReduce(order_ref=name, quantity=quantity))
        elif command["cmd"] == "CANCEL":
            items.add().cancel.CopyFrom(venue_pb2.FeedCancel(order_ref=name))
        elif command["cmd"].startswith("TAKE"):
            take, left = venue_pb2.FeedTake(side=side, price=price, quantity=quantity), quantity
            for fill in command["expect"].split("|"):
                maker, _, rest = fill.partition(":")
                take.fills.add(row=number, order_ref=maker, quantity=int(rest.partition("@")[0]))
                left -= take.fills[-1].quantity
            items.add().take.CopyFrom(take)
            if command["cmd"] == "TAKE_GTC":
                items.add().new.CopyFrom(venue_pb2.FeedNew(order_ref=name, side=side, price=price, quantity=left))
        else:
            continue
        yield command, venue_pb2.FeedRow(row=number, items=items)


async def follow_items(follower: Follower, row: venue_pb2.FeedRow) -> None:
    """Applies the events of one row's items."""
    for item in row.items:
        kind = (await next_of_row(follower)).WhichOneof("event")
        if item.HasField("take"):
            assert kind == "order_accepted"
            left = item.take.quantity
            for fill in item.take.fills:
                await follower.event()
                left -= fill.quantity
            if left:
                assert (await follower.event()).HasField("order_canceled")


async def next_of_row(follower: Follower) -> journal_pb2.VenueEvent:
    """The next event that a row's item made."""
    while True:
        event = await follower.event()
        if event.WhichOneof("event") in ("order_accepted", "order_amended", "order_canceled"):
            return event


@pytest.mark.timeout(400)
async def test_the_script_as_flow_hits_every_maker_in_order_and_shows_every_book(shared: Path, engine: Stack) -> None:
    script = read(shared / "data/lobster/GOOG10_20k.csv.gz")
    books = recorded_books(shared / "data/lobster")
    service = engine.service()
    await service.CreateVenue(venue_pb2.CreateVenueRequest(venue=VENUE))
    rows = {id(command): row for command, row in feed_rows(script)}
    feed = service._stub.Feed(metadata=service._metadata, timeout=300)

    async def send() -> None:
        opening = venue_pb2.FeedOpen(venue=VENUE, run_id="run", account_id="flow", instrument=instrument())
        await feed.write(venue_pb2.FeedRequest(open=opening))
        ordered = list(rows.values())
        for begin in range(0, len(ordered), 500):
            await feed.write(venue_pb2.FeedRequest(rows=ordered[begin : begin + 500]))
        await feed.done_writing()

    sending = asyncio.create_task(send())
    follower = Follower(service, VENUE)
    takes = checks = 0
    for command in script:
        if command["cmd"] == "CHECK":
            checks += follower.top() == books[int(command["row"])]
            continue
        await follow_items(follower, rows[id(command)])
        if command["cmd"].startswith("TAKE"):
            takes += follower.makers(lambda maker: maker.client_order_id.partition(":")[2]) == command["expect"]
    await sending
    print(f"as flow: {takes} of {TAKES} takes, {checks} of {CHECKS} checks")
    assert (takes, checks) == (TAKES, CHECKS)


class Trader:
    """Plays the script by order entry; all orders are of one account, as the venue prevents no self-trade."""

    def __init__(self, orders: Caller) -> None:
        self._orders = orders
        self._open: dict[str, int] = {}

    async def play(self, command: dict[str, str], number: int) -> int:
        """Sends one command; returns the venue's sequence after it."""
        name = command["order_id"]
        place = {"venue": VENUE, "account_id": "trader", "client_order_id": name}
        if command["cmd"] == "CANCEL":
            request = trading_pb2.CancelOrderRequest(**place, request_id=f"c{number}")
            return (await self._orders.CancelOrder(request)).order.venue_sequence
        if command["cmd"] == "REDUCE":
            order = (await self._orders.GetOrder(trading_pb2.GetOrderRequest(**place))).order
            left = str(int(order.open_quantity) - int(command["qty"]))
            request = trading_pb2.AmendOrderRequest(**place, open_quantity=left, request_id=f"r{number}")
            return (await self._orders.AmendOrder(request)).order.venue_sequence
        ticks = int(command["price"]) // FILE_UNITS
        price = f"{ticks / 100:.2f}".rstrip("0").rstrip(".")
        ioc = command["cmd"] == "TAKE"
        request = trading_pb2.PlaceOrderRequest(
            **place,
            symbol="GOOG",
            side=SIDES[command["side"]],
            type=order_pb2.ORDER_TYPE_LIMIT,
            time_in_force=order_pb2.TIME_IN_FORCE_IOC if ioc else order_pb2.TIME_IN_FORCE_GTC,
            quantity=command["qty"],
            price=price,
        )
        return (await self._orders.PlaceOrder(request)).order.venue_sequence


async def play_as_orders(shared: Path, engine: Stack, commands: int | None) -> tuple[int, int, int, int]:
    """Plays the script's beginning, or all of it, by order entry; returns takes and checks: right ones and all."""
    script = read(shared / "data/lobster/GOOG10_20k.csv.gz")[:commands]
    books = recorded_books(shared / "data/lobster")
    identity = {"subject": "script", "kind": "service", "accounts": ("*",)}
    scopes = ("orders:write", "orders:read", "internal")
    trader = Trader(engine.caller(TradingServiceStub, scopes=scopes, **identity))
    service = engine.caller(VenueServiceStub, scopes=scopes, **identity)
    opened = account("trader", "9000000000", short=True)
    await service.CreateVenue(venue_pb2.CreateVenueRequest(venue=VENUE, instruments=[instrument()], accounts=[opened]))
    follower = Follower(service, VENUE)
    takes = checks = all_takes = all_checks = 0
    for number, command in enumerate(script):
        if command["cmd"] == "CHECK":
            all_checks += 1
            checks += follower.top() == books[int(command["row"])]
            continue
        await follower.reach(await trader.play(command, number))
        if command["cmd"].startswith("TAKE"):
            all_takes += 1
            takes += follower.makers(lambda maker: maker.client_order_id) == command["expect"]
    print(f"as orders: {takes} of {all_takes} takes, {checks} of {all_checks} checks")
    return takes, all_takes, checks, all_checks


async def test_the_scripts_beginning_as_orders_scores_in_full(shared: Path, engine: Stack) -> None:
    takes, all_takes, checks, all_checks = await play_as_orders(shared, engine, 2000)
    assert (takes, checks) == (all_takes, all_checks)
    assert all_takes > 20


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_the_whole_script_as_orders_scores_in_full(shared: Path, engine: Stack) -> None:
    assert await play_as_orders(shared, engine, None) == (TAKES, TAKES, CHECKS, CHECKS)
