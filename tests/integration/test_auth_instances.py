"""Two instances of auth-service on one database: whoever is asked answers as the other would."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aac.auth.v1.auth_pb2 import (
    GetJwksRequest,
    ListAccountsRequest,
    ListSessionsRequest,
    LoginRequest,
    LogoutRequest,
    RefreshRequest,
    TokenPair,
)
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub

from aac_grpc.client.errors import Unauthenticated
from aac_grpc.common.server import Server
from aac_grpc.common.topics import IDENTITY
from tests.integration.services import DEMO, Caller, Callers, auth_serving, new_installation, sign_in, told

Pair = tuple[Server, Server]


@pytest.fixture(scope="module")
async def installation(backends: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
    async with new_installation(backends) as settings:
        yield settings


@pytest.fixture(scope="module")
async def pair(installation: dict[str, Any]) -> AsyncIterator[Pair]:
    """Both start at the same time, on an empty database."""
    async with AsyncExitStack() as stack:
        starts = [stack.enter_async_context(auth_serving(installation)) for _ in range(2)]
        first, second = await asyncio.gather(*starts)
        yield first, second


async def refresh(caller: Caller, token: str, key: str) -> TokenPair:
    return (await caller.Refresh(RefreshRequest(refresh_token=token, request_id=key))).tokens


async def test_a_token_of_one_is_good_at_the_other_and_their_keys_are_the_same(pair: Pair, callers: Callers) -> None:
    for issuer, other in (pair, pair[::-1]):
        token = (await sign_in(issuer.address, *DEMO)).tokens.access_token
        assert (await callers.add(AuthServiceStub, other, token=token).ListAccounts(ListAccountsRequest())).accounts
    sets = [await callers.add(AuthServiceStub, server).GetJwks(GetJwksRequest()) for server in pair]
    assert sets[0] == sets[1]
    assert len(sets[0].keys) == 1


async def test_a_refresh_that_is_repeated_at_the_other_gives_the_same_successor(pair: Pair, callers: Callers) -> None:
    here, there = (callers.add(AuthServiceStub, server) for server in pair)
    first = (await sign_in(pair[0].address, *DEMO)).tokens
    at_both = [refresh(caller, first.refresh_token, "key-1") for caller in (here, there) for _ in range(4)]
    assert len({tokens.refresh_token for tokens in await asyncio.gather(*at_both)}) == 1


async def test_a_refresh_token_that_is_used_again_at_the_other_ends_the_session_at_both(
    pair: Pair, callers: Callers
) -> None:
    here, there = (callers.add(AuthServiceStub, server) for server in pair)
    first = (await sign_in(pair[0].address, *DEMO)).tokens
    second = await refresh(here, first.refresh_token, "key-1")
    for caller, token in ((there, first), (here, second), (there, second)):
        with pytest.raises(Unauthenticated) as caught:
            await refresh(caller, token.refresh_token, "key-2")
        assert caught.value.reason == "REVOKED_TOKEN"


async def test_wrong_tries_at_both_count_together(pair: Pair, callers: Callers) -> None:
    asked = [callers.add(AuthServiceStub, server) for server in pair]
    tries = [asked[n % 2].Login(LoginRequest(username="stranger", password=f"guess {n}")) for n in range(12)]
    reasons = [error.reason for error in await asyncio.gather(*tries, return_exceptions=True)]
    assert sorted(reasons) == ["LOCKED_OUT"] * 7 + ["WRONG_CREDENTIALS"] * 5


async def test_events_are_relayed_by_one_of_them_and_by_the_other_once_that_has_ended(
    backends: Mapping[str, str], callers: Callers
) -> None:
    async with new_installation(backends) as installation, AsyncExitStack() as stack:
        first = await stack.enter_async_context(auth_serving(installation))
        async with auth_serving(installation) as second, told(installation, IDENTITY) as next_of:
            for server in (first, second, first, second):
                session = await sign_out(callers, server)
                assert (await next_of(session)).type == "aac.identity.signed_out"
        # Whichever relayed: of the next two one takes over from the other.
        async with auth_serving(installation) as third, told(installation, IDENTITY) as next_of:
            await stack.aclose()
            assert (await next_of(await sign_out(callers, third))).type == "aac.identity.signed_out"


async def sign_out(callers: Callers, server: Server) -> str:
    """Signs in and out, and returns the session's id."""
    token = (await sign_in(server.address, *DEMO)).tokens.access_token
    caller = callers.add(AuthServiceStub, server, token=token)
    session: str = (await caller.ListSessions(ListSessionsRequest())).sessions[0].session_id
    await caller.Logout(LogoutRequest())
    return session
