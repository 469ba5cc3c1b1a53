"""Rows whose time is over are removed, a few at a time, and no others."""

from collections.abc import AsyncIterator, Mapping

import pytest

from aac_grpc.common import database as databases
from aac_grpc.common.database import Database
from aac_grpc.common.pruning import PRUNED, Pruning
from aac_grpc.common.settings import ServiceSettings
from tests.support.scratch import scratch_database


@pytest.fixture
async def database(backends: Mapping[str, str]) -> AsyncIterator[Database]:
    async with scratch_database(backends["DATABASE_URL"], effects="n int") as opened:
        yield opened


async def test_old_ids_of_events_go_in_batches_and_young_ones_stay(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "DELETED_AT_ONCE", 10)
    await database.execute(
        """insert into inbox (consumer, event_id, handled_at)
        select 'analytics', number::text, now() - number * interval '1 day' from generate_series(1, 45) as number"""
    )
    await Pruning(database, ServiceSettings(inbox_kept_days=20), ["inbox"]).prune("inbox")
    left = await database.fetch_all("select event_id from inbox order by event_id::int")
    assert [row["event_id"] for row in left] == [str(number) for number in range(1, 20)]
    assert PRUNED.labels(database.schema, "inbox")._value.get() == 26


async def test_what_is_not_published_stays_however_old_it_is(database: Database) -> None:
    await database.execute(
        """insert into outbox (event_id, topic, key, version, type, payload, created_at, published_at)
        select name, 't', name, 1, 't', '', now() - interval '1 year', published from (values
            ('waits', null), ('old', now() - interval '2 days'), ('young', now())) as rows (name, published)"""
    )
    await Pruning(database, ServiceSettings(), ["outbox"]).prune("outbox")
    assert {row["event_id"] for row in await database.fetch_all("select event_id from outbox")} == {"waits", "young"}
