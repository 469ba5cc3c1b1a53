"""Steady calls and streams through the gateways, and what the clients were told."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

from aac_grpc.client import AsyncClient, OrderState, Side
from aac_grpc.client.errors import AacError
from aac_grpc.client.models.orders import Order

MIDDLE = Decimal(100)
CENT = Decimal("0.01")
IN_FLIGHT = 64
"""Calls of one client that may be under way; while an outage holds them up, no more are made."""


@dataclass(slots=True)
class Call:
    """One call of a client, its retries included. Times are of `time.monotonic`."""

    name: str
    sent_at: float
    write: bool = False
    done_at: float = float("inf")
    error: AacError | None = None
    order: Order | None = None
    """What a write was answered with."""


@dataclass
class Trader:
    """A user with an account, and the client that speaks for it."""

    client: AsyncClient
    account: str
    calls: list[Call] = field(default_factory=list)


class Load:
    """Clients that place and cancel orders and read from every service, at a steady rate."""

    def __init__(self, traders: Sequence[Trader], *, venue: str, symbol: str, rate: float, seed: str) -> None:
        """Prepares.

        Args:
            traders: Who calls.
            venue: Where orders go.
            symbol: What is traded.
            rate: Orders a second of each trader, and as many reads.
            seed: Of what is decided.
        """
        self.traders = traders
        self.venue = venue
        self.symbol = symbol
        self._rate = rate
        self._seed = seed
        self._number = itertools.count(1)

    @property
    def calls(self) -> Iterator[Call]:
        """What has been called so far."""
        return itertools.chain.from_iterable(trader.calls for trader in self.traders)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Calls while the block runs, and waits for the last answers."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number, trader in enumerate(self.traders):
                chance = random.Random(f"{self._seed}-{number}")
                group.create_task(self._steadily(stop, partial(self._order, trader, chance)))
                group.create_task(self._steadily(stop, partial(self._read, trader, chance)))
            try:
                yield
            finally:
                stop.set()

    async def _steadily(self, stop: asyncio.Event, work: Callable[[], Awaitable[None]]) -> None:
        room = asyncio.Semaphore(IN_FLIGHT)

        async def one() -> None:
            try:
                await work()
            finally:
                room.release()

        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                await room.acquire()
                group.create_task(one())
                await asyncio.sleep(1 / self._rate)

    async def _order(self, trader: Trader, chance: random.Random) -> None:
        """Places an order that may trade, and cancels it where it rests."""
        side = chance.choice((Side.BUY, Side.SELL))
        away = CENT * chance.randint(-1, 4)
        price = MIDDLE - away if side is Side.BUY else MIDDLE + away
        key = f"drill-{self._seed}-{next(self._number)}"
        common: dict[str, Any] = {"account": trader.account, "venue": self.venue}
        placing = trader.client.place_order(self.symbol, side, 1, price=price, client_order_id=key, **common)
        placed = await _written_down(trader, Call("place_order", time.monotonic(), write=True), placing)
        if placed is None or placed.order is None or placed.order.state is not OrderState.OPEN:
            return
        await asyncio.sleep(chance.uniform(0.05, 0.3))
        canceling = trader.client.cancel_order(client_order_id=key, request_id=f"{key}-c", **common)
        await _written_down(trader, Call("cancel_order", time.monotonic(), write=True), canceling)

    async def _read(self, trader: Trader, chance: random.Random) -> None:
        client, venue = trader.client, self.venue
        reads: dict[str, Callable[[], Awaitable[Any]]] = {
            "book": lambda: client.book(self.symbol, venue=venue),
            "quote": lambda: client.quote(self.symbol, venue=venue),
            "account": lambda: client.account(trader.account, venue=venue),
            "overview": lambda: client.overview(trader.account, venue=venue),
            "performance": lambda: client.performance(trader.account, venue=venue),
            "limits": lambda: client.limits(trader.account, venue=venue),
            "list_accounts": lambda: _all(client.list_accounts()),
        }
        name = chance.choice(sorted(reads))
        await _written_down(trader, Call(name, time.monotonic()), reads[name]())


async def _written_down(trader: Trader, call: Call, making: Awaitable[Any]) -> Any:
    """Makes a call and notes how it ended."""
    trader.calls.append(call)
    try:
        answer = await making
    except AacError as error:
        call.error = error
        answer = None
    else:
        call.order = answer.order if call.write else None
    call.done_at = time.monotonic()
    return answer


async def _all(pages: AsyncIterator[Any]) -> list[Any]:
    return [one async for one in pages]
