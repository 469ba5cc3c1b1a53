"""A publisher with a topic of its own, and a schema with inbox and outbox."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping

import pytest

from aac_grpc.common.database import Database
from aac_grpc.common.events import EventPublisher
from aac_grpc.common.tasks import Tasks
from aac_grpc.common.topics import Topic
from tests.support.scratch import scratch_database


@pytest.fixture
async def topic(publisher: EventPublisher) -> str:
    return publisher._topics[0].name


@pytest.fixture
async def publisher(backends: Mapping[str, str]) -> AsyncIterator[EventPublisher]:
    topic = Topic(f"test.{secrets.token_hex(4)}", partitions=3)
    made = EventPublisher(backends["KAFKA_BOOTSTRAP_SERVERS"], topics=[topic])
    await made.start()
    await asyncio.wait_for(made.ready(), 20)
    yield made
    await made.stop(timeout=5)


@pytest.fixture
async def database(backends: Mapping[str, str]) -> AsyncIterator[Database]:
    columns = "n bigint generated always as identity, event_id text, key text"
    async with scratch_database(backends["DATABASE_URL"], effects=columns) as opened:
        yield opened


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    owner = Tasks()
    yield owner
    await owner.stop(grace=15)
