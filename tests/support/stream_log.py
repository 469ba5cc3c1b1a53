"""Streams followed by a client that trusts nothing: every sequence once, in order, or a GAP that says what is missing.

Not the SDK's resume: bare stubs, so that what the platform sends is looked at itself.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import grpc
from aac.marketdata.v1 import marketdata_pb2
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceStub
from aac.trading.v1 import trading_pb2
from aac.trading.v1.order_pb2 import Order
from aac.trading.v1.trading_pb2_grpc import TradingServiceStub
from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import ResumePoint, StreamHeader
from grpc import aio

from aac_grpc.client.errors import from_rpc_error
from aac_grpc.client.writing import write

RETRY_S = 0.05
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class SilentGap(AssertionError):
    """The stream left something out, repeated it or changed its order without a word."""


@dataclass
class KeyLog:
    """What came of one key and topic."""

    name: str
    epoch: int = 0
    sequence: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """Explicit ones."""
    snapshots: int = 0
    heard_at: list[float] = field(default_factory=list)
    """When updates came."""
    _after_gap: bool = False

    def resume(self, key: str, topic: Any) -> ResumePoint | None:
        """Where a new connection goes on: with the snapshot, where one is to follow a GAP and has not come."""
        if not self.epoch or (self._after_gap and topic != stream_pb2.TOPIC_TRADES):
            return None
        return ResumePoint(key=key, topic=topic, epoch=self.epoch, sequence=self.sequence)

    def take(self, header: StreamHeader, sequences: list[int], *, dense: bool) -> None:
        """Takes a frame.

        Args:
            header: Its header.
            sequences: Those of its entries.
            dense: Each sequence has an entry; otherwise some stand for what changed nothing.

        Raises:
            SilentGap: Something is wrong with it.
        """
        if header.kind == stream_pb2.FRAME_KIND_UPDATE:
            self._update(header, sequences, dense)
            self._after_gap = False
            self.heard_at.append(time.monotonic())
        elif header.kind == stream_pb2.FRAME_KIND_GAP:
            self.gaps.append((header.gap_first, header.gap_last))
            self._after_gap = True
        elif header.kind == stream_pb2.FRAME_KIND_SNAPSHOT:
            if self.epoch and not self._after_gap:
                raise SilentGap(f"{self.name}: a snapshot came though {self.sequence} was there to go on from")
            self.snapshots += 1
            self._after_gap = not header.epoch  # more parts follow
        if header.epoch:
            self.epoch, self.sequence = header.epoch, header.sequence

    def check_heartbeat(self, point: ResumePoint | StreamHeader) -> None:
        """Takes what a heartbeat says of where the reader stands.

        Raises:
            SilentGap: It is further than what came.
        """
        if not self.epoch:
            self.epoch, self.sequence = point.epoch, point.sequence
        elif point.epoch == self.epoch and point.sequence > self.sequence:
            raise SilentGap(f"{self.name}: said to be at {point.sequence}, but {self.sequence} came last")

    def longest_pause(self, since: float, until: float) -> float:
        """Longest time between two updates, in seconds."""
        marks = [since, *(at for at in self.heard_at if since < at < until), until]
        return max(after - before for before, after in itertools.pairwise(marks))

    def _update(self, header: StreamHeader, sequences: list[int], dense: bool) -> None:
        if self.epoch and header.epoch != self.epoch:
            raise SilentGap(f"{self.name}: epoch {header.epoch} follows {self.epoch} without a GAP")
        found = f"{self.name}: {header.first_sequence} to {header.sequence} after {self.sequence}"
        if self.epoch and header.first_sequence != self.sequence + 1:
            raise SilentGap(found)
        covered = range(header.first_sequence, header.sequence + 1)
        if dense:
            whole = sequences == list(covered)
        else:
            ascending = all(before < after for before, after in itertools.pairwise(sequences))
            whole = ascending and all(sequence in covered for sequence in sequences)
        if not whole:
            raise SilentGap(f"{found}, with {sequences[:3]}...{sequences[-3:]}")


class _Follower:
    """Reads calls, one after another."""

    def __init__(self, metadata: Iterable[tuple[str, str]]) -> None:
        self._metadata = tuple(metadata)
        self.connections = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follows from now on."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Ends; raises what went wrong meanwhile."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def check(self) -> None:
        """Raises what has gone wrong so far."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def _open(self) -> Any:
        raise NotImplementedError

    def _take(self, frame: Any) -> None:
        raise NotImplementedError

    async def _follow(self) -> None:
        while True:
            call = await self._open()
            self.connections += 1
            try:
                while (frame := await call.read()) is not aio.EOF:
                    self._take(frame)
            except aio.AioRpcError as error:
                # A stream ends with the token that it was opened with; the key is exchanged for a fresh one.
                expired = from_rpc_error(error).reason == "EXPIRED_TOKEN"
                if not expired and error.code() not in _AWAY:
                    raise
            finally:
                call.cancel()
            await asyncio.sleep(RETRY_S)


class OrderFollower(_Follower):
    """Follows an account's orders."""

    def __init__(self, channel: aio.Channel, metadata: Iterable[tuple[str, str]], venue: str, account: str) -> None:
        super().__init__(metadata)
        self._stub = TradingServiceStub(channel)
        self._venue = venue
        self._account = account
        self.log = KeyLog(f"orders of {account}")
        self.orders: dict[int, Order] = {}
        """Each update's order, by its version."""

    async def _open(self) -> Any:
        resume = self.log.resume(self._account, stream_pb2.TOPIC_ORDERS)
        request = trading_pb2.WatchOrdersRequest(venue=self._venue, account_id=self._account, resume=resume)
        return self._stub.WatchOrders(request, metadata=self._metadata)

    def _take(self, frame: trading_pb2.WatchOrdersResponse) -> None:
        header = frame.header
        if header.kind == stream_pb2.FRAME_KIND_HEARTBEAT:
            self.log.check_heartbeat(header)
        elif header.kind != stream_pb2.FRAME_KIND_DRAINING:
            self.log.take(header, [order.version for order in frame.orders], dense=False)
            if header.kind == stream_pb2.FRAME_KIND_UPDATE:
                self.orders.update((order.version, order) for order in frame.orders)


class MarketFollower(_Follower):
    """Follows trades and depth of one instrument on one stream."""

    def __init__(self, channel: aio.Channel, metadata: Iterable[tuple[str, str]], venue: str, symbol: str) -> None:
        super().__init__(metadata)
        self._stub = MarketDataServiceStub(channel)
        self._venue = venue
        self._symbol = symbol
        self.trades = KeyLog(f"trades of {symbol}")
        self.depth = KeyLog(f"depth of {symbol}")
        self.traded: dict[int, marketdata_pb2.Trade] = {}
        self.levels: dict[tuple[int, str], marketdata_pb2.LevelChange] = {}
        """The book as the stream tells it, by side and price."""
        self._logs = {stream_pb2.TOPIC_TRADES: self.trades, stream_pb2.TOPIC_DEPTH: self.depth}

    async def _open(self) -> Any:
        call = self._stub.Stream(metadata=self._metadata)
        items = [
            marketdata_pb2.Subscription(
                id=stream_pb2.Topic.Name(topic),
                venue=self._venue,
                symbol=self._symbol,
                topic=topic,
                resume=log.resume(self._symbol, topic),
            )
            for topic, log in self._logs.items()
        ]
        with contextlib.suppress(asyncio.InvalidStateError):  # its reader learns why
            await write(call, marketdata_pb2.StreamRequest(subscribe=items))
        return call

    def _take(self, frame: marketdata_pb2.StreamResponse) -> None:
        header = frame.header
        if header.kind == stream_pb2.FRAME_KIND_ITEM_STATUS:
            assert header.status.code == 0, header
        elif header.kind == stream_pb2.FRAME_KIND_HEARTBEAT:
            for point in header.resume:
                if point.epoch:
                    self._logs[point.topic].check_heartbeat(point)
        elif header.topic == stream_pb2.TOPIC_TRADES:
            self.trades.take(header, [trade.sequence for trade in frame.trades], dense=True)
            self.traded.update((trade.sequence, trade) for trade in frame.trades)
        elif header.topic == stream_pb2.TOPIC_DEPTH:
            self._take_depth(header, list(frame.levels))

    def _take_depth(self, header: StreamHeader, levels: list[marketdata_pb2.LevelChange]) -> None:
        if header.kind == stream_pb2.FRAME_KIND_SNAPSHOT:
            self.levels.clear()
        self.depth.take(header, [level.sequence for level in levels], dense=True)
        for level in levels:
            if level.quantity == "0":
                self.levels.pop((level.side, level.price), None)
            else:
                self.levels[level.side, level.price] = level

    def book(self, side: int) -> list[tuple[Decimal, Decimal, int]]:
        """Price, quantity and orders of a side's levels, lowest price first."""
        found = [level for (of, _), level in self.levels.items() if of == side]
        return sorted((Decimal(level.price), Decimal(level.quantity), level.orders) for level in found)


Fact = Callable[[], bool]


async def until(fact: Fact, seconds: float) -> bool:
    """Waits until something is so; returns whether it is so in time."""
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True
