"""Clients that trade: each places orders at a steady rate, amends some and cancels most, and logs what it is told."""

import asyncio
import random
import time
from collections.abc import Awaitable
from decimal import Decimal

from aac_grpc.client import AsyncClient
from aac_grpc.client.errors import AacError
from aac_grpc.client.models.market import Side
from aac_grpc.client.models.orders import OrderState
from tests.support.client_log import Answer, ClientLog, Command

MIDDLE = 10_000
"""Price that orders are placed around, in cents."""
PATIENCE_S = 60.0
"""How long the SDK retries a call under its key."""
IN_FLIGHT = 40


class LoadClient:
    """One client of one account."""

    def __init__(
        self, client: AsyncClient, account: str, venue: str, symbol: str, log: ClientLog, seed: str, rate: float
    ) -> None:
        """Prepares.

        Args:
            client: Of the account's owner.
            account: Whose orders.
            venue: Where.
            symbol: What.
            log: Where everything is written down.
            seed: Of what it decides.
            rate: Orders a second.
        """
        self._client = client
        self._account = account
        self._venue = venue
        self._symbol = symbol
        self._log = log
        self._random = random.Random(seed)
        self._pause = 1 / rate
        self._prefix = f"k{self._random.getrandbits(40):010x}"
        self._count = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Trades until told to stop; returns once every order's life has ended."""
        room = asyncio.Semaphore(IN_FLIGHT)
        async with asyncio.TaskGroup() as lives:
            next_at = time.monotonic()
            while not stop.is_set():
                await room.acquire()
                lives.create_task(self._live(room))
                # What an outage held up is not made up for.
                next_at = max(next_at + self._pause, time.monotonic() - 10 * self._pause)
                await asyncio.sleep(next_at - time.monotonic())

    async def _live(self, room: asyncio.Semaphore) -> None:
        """The life of one order."""
        try:
            self._count += 1
            key = f"{self._prefix}-{self._count}"
            placed = await self._place(key)
            if placed is None or placed.order is None or placed.order.state is not OrderState.OPEN:
                return
            await asyncio.sleep(self._random.uniform(0, 0.3))
            if self._random.random() < 0.3:
                await self._amend(key)
            if self._random.random() < 0.8:
                await self._cancel(key)
        finally:
            room.release()

    async def _place(self, key: str) -> Command | None:
        side = self._random.choice((Side.BUY, Side.SELL))
        distance = self._random.randint(-2, 6)
        price = Decimal(MIDDLE + (-distance if side is Side.BUY else distance)) / 100
        quantity = Decimal(self._random.randint(1, 10))
        command = Command("place", self._account, key, time.monotonic(), side, price, quantity)
        call = self._client.place_order(
            self._symbol,
            side,
            quantity,
            price=price,
            client_order_id=key,
            account=self._account,
            venue=self._venue,
            timeout=PATIENCE_S,
        )
        return await self._write_down(command, call)

    async def _amend(self, key: str) -> None:
        quantity = Decimal(self._random.randint(1, 10))
        price = Decimal(MIDDLE + self._random.randint(-6, 6)) / 100 if self._random.random() < 0.5 else None
        command = Command("amend", self._account, key, time.monotonic(), price=price, quantity=quantity)
        call = self._client.amend_order(
            client_order_id=key,
            price=price,
            open_quantity=quantity,
            request_id=f"{key}-a",
            account=self._account,
            venue=self._venue,
            timeout=PATIENCE_S,
        )
        await self._write_down(command, call)

    async def _cancel(self, key: str) -> None:
        command = Command("cancel", self._account, key, time.monotonic())
        call = self._client.cancel_order(
            client_order_id=key,
            request_id=f"{key}-c",
            account=self._account,
            venue=self._venue,
            timeout=PATIENCE_S,
        )
        await self._write_down(command, call)

    async def _write_down(self, command: Command, call: Awaitable[Answer]) -> Command:
        self._log.commands.append(command)
        try:
            command.answer = await call
        except AacError as error:
            command.error = error
        command.done_at = time.monotonic()
        return command
