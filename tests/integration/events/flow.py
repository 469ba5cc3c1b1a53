"""What the tests of events share: an event, its effect, and a reader of everything that a topic holds."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aac.event.v1.event_pb2 import Event

from aac_grpc.common.database import Database, Transaction
from aac_grpc.common.events import EventTail, ReceivedEvent


def event(number: int, key: str = "main/a", type_: str = "aac.test") -> Event:
    return Event(event_id=f"{key}-{number}", type=type_, key=key, sequence=number, venue="main")


async def write(event: Event, tx: Transaction) -> None:
    """The effect of an event: a row."""
    await tx.execute("insert into effects (event_id, key) values (%s, %s)", (event.event_id, event.key))


async def effects(database: Database, key: str = "") -> list[str]:
    rows = await database.fetch_all("select event_id, key from effects order by n")
    return [row["event_id"] for row in rows if not key or row["key"] == key]


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


@dataclass
class Tail:
    """Everything that a topic holds, read from its beginning."""

    tail: EventTail
    seen: list[ReceivedEvent] = field(default_factory=list)

    async def read(self, count: int) -> list[ReceivedEvent]:
        async with asyncio.timeout(20):
            async for batch in self.tail.batches():
                self.seen += batch
                if len(self.seen) >= count:
                    break
        return self.seen


@asynccontextmanager
async def reading(backends: Mapping[str, str], *topics: str) -> AsyncIterator[Tail]:
    tail = EventTail(backends["KAFKA_BOOTSTRAP_SERVERS"], topics, from_beginning=True)
    await tail.open()
    try:
        yield Tail(tail)
    finally:
        await tail.close()
