"""Streams that are followed through every fault: each update is counted, and nothing may be missing in silence."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable

from aac_grpc.client import AsyncClient, Gap, Topic, TradesUpdate
from aac_grpc.client.updates import OrdersUpdate, SubscriptionRefused


class Followed:
    """One numbered stream.

    Attributes:
        begun: The sequence that it began after; None before it began.
        last: The last sequence that was seen, or told to be lost.
        seen: All that were seen.
        disordered: Updates that came twice, or after a later one.
        times: When updates came, of `time.monotonic`.
    """

    def __init__(self) -> None:
        self.begun: int | None = None
        self.last = 0
        self.seen: set[int] = set()
        self.disordered = 0
        self.times: list[float] = []

    def saw(self, sequences: Iterable[int]) -> None:
        """Notes updates as they came."""
        for sequence in sequences:
            self.times.append(time.monotonic())
            if self.begun is None:
                self.begun = sequence - 1
            self.disordered += sequence <= self.last
            self.last = max(self.last, sequence)
            self.seen.add(sequence)

    def stands_at(self, sequence: int) -> None:
        """Notes a full state as of a sequence."""
        if self.begun is None:
            self.begun = sequence
        self.last = max(self.last, sequence)

    def lost(self, gap: Gap) -> None:
        """Notes what the stream says is lost, so that it is not missing in silence."""
        self.seen.update(range(self.last + 1, gap.last + 1))
        self.last = max(self.last, gap.last)

    def silent(self, there: Iterable[int]) -> int:
        """How many of the updates that there are were missing without a word, or came in another order."""
        begun = self.last if self.begun is None else self.begun
        return self.disordered + sum(sequence not in self.seen for sequence in set(there) if sequence > begun)


class Follower:
    """Follows an account's orders and an instrument's trades, by the SDK, which resumes by itself."""

    def __init__(self, client: AsyncClient, account: str, venue: str, symbol: str) -> None:
        self._client, self._account, self._venue, self._symbol = client, account, venue, symbol
        self.orders = Followed()
        self.trades = Followed()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Follower:
        self._tasks = [asyncio.create_task(self._follow_orders()), asyncio.create_task(self._follow_trades())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def check(self) -> None:
        """Raises what ended a stream."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def _follow_orders(self) -> None:
        async with contextlib.aclosing(self._client.watch_orders(self._account, venue=self._venue)) as updates:
            async for update in updates:
                if isinstance(update, Gap):
                    self.orders.lost(update)
                elif isinstance(update, OrdersUpdate):
                    if update.snapshot:
                        self.orders.stands_at(update.sequence)
                    else:
                        self.orders.saw(order.version for order in update.orders)

    async def _follow_trades(self) -> None:
        async with self._client.stream() as stream:
            await stream.subscribe(self._symbol, Topic.TRADES, venue=self._venue)
            async for update in stream:
                if isinstance(update, Gap):
                    self.trades.lost(update)
                elif isinstance(update, SubscriptionRefused):
                    raise update.error
                elif isinstance(update, TradesUpdate):
                    self.trades.saw(trade.sequence for trade in update.trades)
