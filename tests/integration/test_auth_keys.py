"""Signing keys: one for all instances, replaced in time, useless to whoever reads the database."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aac_grpc.common.clock import SystemClock
from aac_grpc.common.database import Database
from aac_grpc.common.migrations import migrate
from aac_grpc.servicers.auth.signing import KeyRing
from tests.integration.services import new_installation

SECRET, OTHER_SECRET = secrets.token_bytes(32), secrets.token_bytes(32)
LIFETIME = timedelta(days=90)


class SetClock(SystemClock):
    """A wall clock that tests move on."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment


@pytest.fixture
async def database(backends: Any) -> AsyncIterator[Database]:
    async with new_installation(backends) as installation:
        database = Database(installation["database_url"], schema="auth_service")
        await database.open()
        await migrate(database, "aac_grpc.servicers.auth.migrations")
        yield database
        await database.close()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def ring(database: Database, clock: SetClock, secret: bytes = SECRET) -> KeyRing:
    return KeyRing(database, clock, secret, LIFETIME)


def kid(keys: KeyRing) -> str:
    """The key that signs now."""
    name: str = jwt.get_unverified_header(keys.sign({"sub": "somebody"}))["kid"]
    return name


async def verifies(keys: KeyRing, token: str) -> bool:
    key = await keys.find(jwt.get_unverified_header(token)["kid"])
    return key is not None and jwt.decode(token, key, algorithms=["EdDSA"]) == {"sub": "somebody"}


async def test_instances_that_start_at_the_same_time_sign_with_one_key(database: Database, clock: SetClock) -> None:
    rings = [ring(database, clock) for _ in range(4)]
    await asyncio.gather(*(each.load() for each in rings))
    assert len({kid(each) for each in rings}) == 1
    assert await verifies(rings[1], rings[0].sign({"sub": "somebody"}))


async def test_an_old_key_is_replaced_once_all_know_its_successor(database: Database, clock: SetClock) -> None:
    keys = ring(database, clock)
    await keys.load()
    first, token = kid(keys), keys.sign({"sub": "somebody"})
    clock.moment += LIFETIME
    await keys.load()
    assert len(keys.published()) == 2
    assert kid(keys) == first
    clock.moment += timedelta(minutes=2)
    assert kid(keys) != first
    clock.moment += timedelta(minutes=59)
    assert await verifies(keys, token)
    clock.moment += timedelta(minutes=2)
    assert not await verifies(keys, token)
    assert [key.kid for key in keys.published()] == [kid(keys)]


async def test_another_mesh_secret_makes_a_new_key_and_old_tokens_live_out_their_time(
    database: Database, clock: SetClock
) -> None:
    before = ring(database, clock)
    await before.load()
    token = before.sign({"sub": "somebody"})
    after = ring(database, clock, OTHER_SECRET)
    await after.load()
    assert kid(after) != kid(before)
    assert await verifies(after, token)


async def test_the_database_does_not_tell_the_private_key(database: Database, clock: SetClock) -> None:
    keys = ring(database, clock)
    await keys.load()
    row = await database.fetch_one("select public_key, private_key from signing_keys")
    assert row is not None
    sealed, public = bytes(row["private_key"]), bytes(row["public_key"])
    for start in range(len(sealed) - 31):
        guess = Ed25519PrivateKey.from_private_bytes(sealed[start : start + 32])
        assert guess.public_key().public_bytes_raw() != public
