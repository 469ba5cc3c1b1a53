"""A feeder in tests."""

from collections.abc import Sequence

from aac.trading.v1 import venue_pb2
from grpc import aio

from tests.integration.services import Caller
from tests.integration.trading import instrument


def new(ref: str, side: int, price: int, quantity: int) -> venue_pb2.FeedItem:
    return venue_pb2.FeedItem(new=venue_pb2.FeedNew(order_ref=ref, side=side, price=price, quantity=quantity))


def take(side: int, price: int, row: int, ref: str, quantity: int) -> venue_pb2.FeedItem:
    fill = venue_pb2.FeedFill(row=row, order_ref=ref, quantity=quantity)
    return venue_pb2.FeedItem(take=venue_pb2.FeedTake(side=side, price=price, quantity=quantity, fills=[fill]))


class Feeder:
    """One feeder's stream."""

    def __init__(self, service: Caller, venue: str, run_id: str = "day-1") -> None:
        self._call = service._stub.Feed(metadata=service._metadata, timeout=60)
        self.opening = venue_pb2.FeedOpen(venue=venue, run_id=run_id, account_id="flow", instrument=instrument())

    async def open(self) -> venue_pb2.FeedRun:
        await self._call.write(venue_pb2.FeedRequest(open=self.opening))
        return (await self._call.read()).run

    async def send(self, rows: Sequence[venue_pb2.FeedRow]) -> venue_pb2.FeedResponse:
        await self._call.write(venue_pb2.FeedRequest(rows=rows))
        return await self._call.read()

    async def close(self) -> None:
        await self._call.done_writing()
        assert await self._call.read() is aio.EOF
