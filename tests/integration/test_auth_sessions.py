"""Signing in, staying signed in, signing out."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from aac.auth.v1.auth_pb2 import (
    GetJwksRequest,
    ListAccountsRequest,
    LoginRequest,
    LogoutRequest,
    RefreshRequest,
    TokenPair,
)
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub

from aac_grpc.client.errors import Unauthenticated
from aac_grpc.common.server import Server
from tests.integration.services import ADMIN, DEMO, Caller, Callers, auth_serving, eventually, sign_in


@pytest.fixture(scope="module")
async def server(installation: dict[str, Any]) -> AsyncIterator[Server]:
    async with auth_serving(installation) as server:
        yield server


@pytest.fixture
def anybody(callers: Callers, server: Server) -> Caller:
    """A caller without a credential."""
    return callers.add(AuthServiceStub, server)


async def refresh(caller: Caller, token: str, key: str) -> TokenPair:
    return (await caller.Refresh(RefreshRequest(refresh_token=token, request_id=key))).tokens


async def claims_of(caller: Caller, token: str) -> dict[str, Any]:
    """The claims of a token, verified by the published keys as any client would."""
    header = jwt.get_unverified_header(token)
    keys = (await caller.GetJwks(GetJwksRequest())).keys
    key = next(key for key in keys if key.kid == header["kid"])
    public = jwt.PyJWK({"kty": key.kty, "crv": key.crv, "x": key.x}, algorithm=key.alg)
    claims: dict[str, Any] = jwt.decode(token, public, algorithms=["EdDSA"], issuer="aac")
    return claims


async def test_a_user_signs_in_and_the_token_says_what_the_user_may_do(anybody: Caller) -> None:
    response = await anybody.Login(LoginRequest(username=DEMO[0], password=DEMO[1]))
    claims = await claims_of(anybody, response.tokens.access_token)
    assert claims["sub"] == response.user.user_id
    assert (claims["usr"], claims["knd"], claims["accounts"]) == ("demo", "user", ["demo"])
    assert "orders:write" in claims["scopes"]
    assert "internal" not in claims["scopes"]
    assert claims["exp"] - claims["iat"] == 300
    assert response.tokens.access_expires_at.seconds == claims["exp"]


@pytest.mark.parametrize(("username", "password"), [(DEMO[0], "wrong"), ("nobody", DEMO[1])])
async def test_wrong_credentials_do_not_tell_which_is_wrong(anybody: Caller, username: str, password: str) -> None:
    with pytest.raises(Unauthenticated, match="user name and password do not match") as caught:
        await anybody.Login(LoginRequest(username=username, password=password))
    assert caught.value.reason == "WRONG_CREDENTIALS"


async def test_an_unknown_user_takes_as_long_as_a_wrong_password(
    installation: dict[str, Any], callers: Callers
) -> None:
    async with auth_serving(installation, lockout_tries=1000) as server:
        caller = callers.add(AuthServiceStub, server)

        async def seconds(username: str) -> float:
            begun = time.perf_counter()
            with pytest.raises(Unauthenticated):
                await caller.Login(LoginRequest(username=username, password="wrong"))
            return time.perf_counter() - begun

        known, unknown = [], []
        for _ in range(15):
            known.append(await seconds("demo"))
            unknown.append(await seconds("nobody"))
    # The fastest of each: other processes only ever make a call slower.
    assert 0.6 < min(unknown) / min(known) < 1.7


async def test_five_wrong_tries_lock_a_user_out_and_say_for_how_long(
    installation: dict[str, Any], callers: Callers
) -> None:
    async with auth_serving(installation, lockout_wait_s=1.0) as server:
        caller = callers.add(AuthServiceStub, server)
        for _ in range(5):
            with pytest.raises(Unauthenticated) as caught:
                await caller.Login(LoginRequest(username=ADMIN[0], password="wrong"))
            assert caught.value.reason == "WRONG_CREDENTIALS"
        with pytest.raises(Unauthenticated) as caught:
            await caller.Login(LoginRequest(username=ADMIN[0], password=ADMIN[1]))
        assert caught.value.reason == "LOCKED_OUT"
        assert caught.value.retry_after is not None
        assert 0 < caught.value.retry_after <= 1.0
        await asyncio.sleep(caught.value.retry_after)
        assert (await caller.Login(LoginRequest(username=ADMIN[0], password=ADMIN[1]))).tokens.access_token


async def test_wrong_tries_at_the_same_time_count_each(installation: dict[str, Any], callers: Callers) -> None:
    async with auth_serving(installation) as server:
        caller = callers.add(AuthServiceStub, server)
        tries = [caller.Login(LoginRequest(username="stranger", password=f"guess {n}")) for n in range(12)]
        reasons = [error.reason for error in await asyncio.gather(*tries, return_exceptions=True)]
    assert sorted(reasons) == ["LOCKED_OUT"] * 7 + ["WRONG_CREDENTIALS"] * 5


async def test_a_repeated_refresh_gives_the_same_successor(anybody: Caller, server: Server) -> None:
    first = (await sign_in(server.address, *DEMO)).tokens
    second = await refresh(anybody, first.refresh_token, "key-1")
    assert await refresh(anybody, first.refresh_token, "key-1") == second
    assert second.refresh_token != first.refresh_token
    third = await refresh(anybody, second.refresh_token, "key-2")
    assert (await claims_of(anybody, third.access_token))["usr"] == "demo"


@pytest.mark.parametrize("key", ["key-2", "key-1"])
async def test_a_refresh_token_that_is_used_again_ends_the_session(
    installation: dict[str, Any], callers: Callers, key: str
) -> None:
    async with auth_serving(installation, refresh_repeat_s=0) as server:
        caller = callers.add(AuthServiceStub, server)
        first = (await sign_in(server.address, *DEMO)).tokens
        second = await refresh(caller, first.refresh_token, "key-1")
        for token, why in [(first, "used before"), (second, "session has ended"), (first, "session has ended")]:
            with pytest.raises(Unauthenticated, match=why) as caught:
                await refresh(caller, token.refresh_token, key)
            assert caught.value.reason == "REVOKED_TOKEN"


async def test_two_refreshes_at_the_same_time_with_one_key_give_one_successor(anybody: Caller, server: Server) -> None:
    first = (await sign_in(server.address, *DEMO)).tokens
    found = await asyncio.gather(*(refresh(anybody, first.refresh_token, "key-1") for _ in range(8)))
    assert len({tokens.refresh_token for tokens in found}) == 1


async def test_a_made_up_refresh_token_is_refused(anybody: Caller) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await refresh(anybody, "made-up", "key-1")
    assert caught.value.reason == "INVALID_TOKEN"


async def refused_as_revoked(caller: Caller) -> None:
    """Waits until the caller's token is refused; that is a matter of milliseconds."""

    async def refused() -> bool:
        try:
            await caller.ListAccounts(ListAccountsRequest())
        except Unauthenticated as error:
            return error.reason == "REVOKED_TOKEN"
        return False

    await eventually(refused)


async def test_after_logout_the_session_gives_no_tokens(anybody: Caller, callers: Callers, server: Server) -> None:
    tokens, other = (await sign_in(server.address, *DEMO)).tokens, (await sign_in(server.address, *DEMO)).tokens
    caller = callers.add(AuthServiceStub, server, token=tokens.access_token)
    await caller.Logout(LogoutRequest())
    await refused_as_revoked(caller)
    with pytest.raises(Unauthenticated) as caught:
        await refresh(anybody, tokens.refresh_token, "key-1")
    assert caught.value.reason == "REVOKED_TOKEN"
    assert await refresh(anybody, other.refresh_token, "key-1")


async def test_tokens_of_before_a_restart_are_still_good(installation: dict[str, Any], callers: Callers) -> None:
    async with auth_serving(installation) as server:
        tokens = (await sign_in(server.address, *DEMO)).tokens
    async with auth_serving(installation, bootstrap_demo_password="another one, too late") as server:
        caller = callers.add(AuthServiceStub, server, token=tokens.access_token)
        accounts = (await caller.ListAccounts(ListAccountsRequest())).accounts
        assert [account.account_id for account in accounts] == ["demo"]
        assert await sign_in(server.address, *DEMO)


async def test_a_call_without_a_token_or_with_a_damaged_one_is_refused(
    anybody: Caller, callers: Callers, server: Server
) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await anybody.ListAccounts(ListAccountsRequest())
    assert caught.value.reason == "UNAUTHENTICATED"
    token = (await sign_in(server.address, *DEMO)).tokens.access_token
    damaged = token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BBBBBBBB")
    with pytest.raises(Unauthenticated) as caught:
        await callers.add(AuthServiceStub, server, token=damaged).ListAccounts(ListAccountsRequest())
    assert caught.value.reason == "INVALID_TOKEN"
