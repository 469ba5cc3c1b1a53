"""Streams followed by the SDK, which connects again and resumes by itself."""

import asyncio
import contextlib

from aac_grpc.client import AsyncClient, DepthUpdate, Gap, LocalBook, Topic, TradesUpdate
from aac_grpc.client.updates import OrdersUpdate, SubscriptionRefused


class SdkFollower:
    """Follows an account's orders, and trades and depth of one instrument."""

    def __init__(self, client: AsyncClient, account: str, venue: str, symbol: str) -> None:
        """Prepares; `start` begins."""
        self._client = client
        self._account = account
        self._venue = venue
        self._symbol = symbol
        self._tasks: list[asyncio.Task[None]] = []
        self.versions: list[int] = []
        """Of the orders that changed."""
        self.trades: list[int] = []
        """Sequences."""
        self.book = LocalBook()
        self.gaps: list[Gap] = []
        self.disconnects = 0
        self.orders_begun = asyncio.Event()
        self.depth_begun = asyncio.Event()

    def start(self) -> None:
        """Follows from now on."""
        self._tasks = [asyncio.create_task(self._orders()), asyncio.create_task(self._market())]

    async def stop(self) -> None:
        """Ends; raises what went wrong meanwhile."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def check(self) -> None:
        """Raises what has gone wrong so far."""
        for task in self._tasks:
            if task.done():
                task.result()

    def _count(self, _: object) -> None:
        self.disconnects += 1

    async def _orders(self) -> None:
        updates = self._client.watch_orders(self._account, venue=self._venue, on_disconnect=self._count)
        async with contextlib.aclosing(updates):
            async for update in updates:
                if isinstance(update, Gap):
                    self.gaps.append(update)
                elif isinstance(update, OrdersUpdate) and update.snapshot:
                    self.orders_begun.set()
                elif isinstance(update, OrdersUpdate):
                    self.versions.extend(order.version for order in update.orders)

    async def _market(self) -> None:
        async with self._client.stream(on_disconnect=self._count) as stream:
            await stream.subscribe(self._symbol, Topic.TRADES, Topic.DEPTH, venue=self._venue)
            async for update in stream:
                match update:
                    case Gap():
                        self.gaps.append(update)
                    case TradesUpdate():
                        self.trades.extend(trade.sequence for trade in update.trades)
                    case DepthUpdate():
                        self.book.apply(update)
                        self.depth_begun.set()
                    case SubscriptionRefused():
                        raise update.error
