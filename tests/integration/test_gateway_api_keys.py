"""API keys at the gateway: exchanged once for all who wait, remembered for a while, refusals briefly."""

from __future__ import annotations

import asyncio
import contextvars
from datetime import UTC, datetime

import pytest

from aac_grpc.client.errors import DependencyUnavailable, Unauthenticated
from aac_grpc.common.call import Principal
from aac_grpc.common.revocations import Revocations
from aac_grpc.servicers.gateway.api_keys import ApiKeyExchange
from tests.support.revoking import revocation


class World:
    """Wall time, and an auth-service that counts.

    Attributes:
        asked: Keys that were exchanged, in order.
        wrong: Keys that are refused.
        away: auth-service does not answer.
    """

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.asked: list[str] = []
        self.wrong: set[str] = set()
        self.away = False
        self.revocations = Revocations(self, 5)
        self.exchange = ApiKeyExchange(self._ask, self.revocations, self, size=3, ttl_s=60, refusal_ttl_s=5)

    def time(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def nanoseconds(self) -> int:
        return int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds

    async def token(self, key: str = "key", *, stream: bool = False) -> str:
        return await self.exchange.token(key, "127.0.0.1", for_stream=stream)

    async def _ask(self, key: str, address: str) -> tuple[str, float, Principal]:
        self.asked.append(key)
        await asyncio.sleep(0)
        if self.away:
            raise DependencyUnavailable("auth-service")
        if key in self.wrong:
            raise Unauthenticated("this is no API key of ours", reason="WRONG_CREDENTIALS")
        return f"token-{len(self.asked)}", self.seconds + 300, Principal("owner", token_id=f"id-{len(self.asked)}.1")


@pytest.fixture
def world() -> World:
    return World()


async def test_calls_at_the_same_time_share_one_exchange(world: World) -> None:
    assert await asyncio.gather(*(world.token() for _ in range(10))) == ["token-1"] * 10
    assert world.asked == ["key"]


async def test_a_token_is_used_for_a_while_and_then_got_anew(world: World) -> None:
    assert await world.token() == "token-1"
    world.seconds += 59
    assert await world.token() == "token-1"
    world.seconds += 2
    assert await world.token() == "token-2"


async def test_a_token_that_is_about_to_end_is_not_used(world: World) -> None:
    world.exchange = ApiKeyExchange(world._ask, world.revocations, world, size=3, ttl_s=10_000, refusal_ttl_s=5)
    await world.token()
    world.seconds += 291
    assert await world.token() == "token-2"


async def test_a_stream_gets_a_token_that_lasts(world: World) -> None:
    world.exchange = ApiKeyExchange(world._ask, world.revocations, world, size=3, ttl_s=10_000, refusal_ttl_s=5)
    await world.token()
    world.seconds += 151
    assert await world.token() == "token-1"
    assert await world.token(stream=True) == "token-2"


async def test_a_refused_key_is_refused_again_without_asking_for_a_while(world: World) -> None:
    world.wrong = {"bad"}
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await world.token("bad")
    assert world.asked == ["bad"]
    world.seconds += 6
    world.wrong.clear()
    assert await world.token("bad") == "token-2"


async def test_an_outage_is_not_remembered(world: World) -> None:
    world.away = True
    with pytest.raises(DependencyUnavailable):
        await world.token()
    world.away = False
    assert await world.token() == "token-2"


async def test_a_caller_who_gives_up_does_not_end_the_exchange_of_the_others(world: World) -> None:
    impatient, patient = asyncio.create_task(world.token()), asyncio.create_task(world.token())
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == "token-1"


async def test_the_key_used_longest_ago_is_forgotten_first(world: World) -> None:
    for key in ("a", "b", "c", "a", "d"):
        await world.token(key)
    world.asked.clear()
    await world.token("a")
    await world.token("b")
    assert world.asked == ["b"]


async def test_keys_are_not_kept_as_they_are(world: World) -> None:
    await world.token("aac_secret")
    assert b"aac_secret" not in repr(world.exchange.__dict__).encode()


async def test_a_revoked_key_is_exchanged_again_at_once_and_then_refused(world: World) -> None:
    assert await world.token("mine") == "token-1"
    assert await world.token("other") == "token-2"
    world.revocations.add([revocation(api_key_id="id-1")])
    world.wrong = {"mine"}
    with pytest.raises(Unauthenticated):
        await world.token("mine")
    assert await world.token("other") == "token-2"
    assert world.asked == ["mine", "other", "mine"]


async def test_a_key_that_is_revoked_while_it_is_exchanged_is_refused(world: World) -> None:
    exchange = asyncio.create_task(world.token())
    await asyncio.sleep(0)
    world.revocations.add([revocation(api_key_id="id-1")])
    with pytest.raises(Unauthenticated) as refusal:
        await exchange
    assert refusal.value.reason == "REVOKED_TOKEN"
    assert await world.token() == "token-2"


CALLERS: contextvars.ContextVar[str] = contextvars.ContextVar("caller")


async def test_the_exchange_is_not_within_what_its_first_caller_has(world: World) -> None:
    """Its deadline, for one: others wait for the same exchange."""
    seen: list[str] = []
    ask = world._ask

    async def look(key: str, address: str) -> tuple[str, float, Principal]:
        seen.append(CALLERS.get("nobody"))
        return await ask(key, address)

    world.exchange = ApiKeyExchange(look, world.revocations, world, size=3, ttl_s=60, refusal_ttl_s=5)
    CALLERS.set("the first one")
    await world.token()
    assert seen == ["nobody"]
