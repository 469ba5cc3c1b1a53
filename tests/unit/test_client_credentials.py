"""Sessions: logged in at the first call, refreshed before they end, once for all who wait."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from aac_grpc.client.credentials import SessionCredentials
from aac_grpc.client.errors import Unauthenticated
from aac_grpc.client.models import Tokens

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Auth:
    """An auth-service that counts.

    Attributes:
        logins: How often somebody logged in.
        refreshes: Keys of refreshes, in order.
        now: Wall time.
    """

    def __init__(self) -> None:
        self.logins = 0
        self.refreshes: list[str] = []
        self.now = NOW
        self.refuses_refresh = False

    def tokens(self, name: str) -> Tokens:
        return Tokens(name, self.now + timedelta(minutes=5), f"refresh-{name}", self.now + timedelta(days=7))

    async def login(self) -> Tokens:
        await asyncio.sleep(0)
        self.logins += 1
        return self.tokens(f"login-{self.logins}")

    async def refresh(self, token: str, key: str) -> Tokens:
        await asyncio.sleep(0)
        self.refreshes.append(key)
        if self.refuses_refresh:
            raise Unauthenticated("revoked", reason="REVOKED_TOKEN")
        return self.tokens(f"refreshed-{len(self.refreshes)}")

    def session(self, *, password: bool = True, tokens: Tokens | None = None) -> SessionCredentials:
        login = self.login if password else None
        return SessionCredentials(login=login, refresh=self.refresh, tokens=tokens, clock=lambda: self.now)


async def bearer(session: SessionCredentials) -> str:
    ((key, value),) = await session.metadata()
    assert key == "authorization"
    return value.removeprefix("Bearer ")


async def test_calls_at_the_same_time_share_one_login() -> None:
    auth = Auth()
    session = auth.session()
    assert await asyncio.gather(*(bearer(session) for _ in range(5))) == ["login-1"] * 5
    assert auth.logins == 1


async def test_a_token_is_refreshed_before_its_end_once_for_all() -> None:
    auth = Auth()
    session = auth.session()
    await bearer(session)
    auth.now += timedelta(minutes=4, seconds=20)
    assert await bearer(session) == "login-1"
    auth.now += timedelta(seconds=20)
    assert await asyncio.gather(*(bearer(session) for _ in range(5))) == ["refreshed-1"] * 5
    assert (auth.logins, len(auth.refreshes)) == (1, 1)


async def test_the_same_refresh_token_is_always_sent_under_the_same_key() -> None:
    auth = Auth()
    kept = auth.tokens("kept")
    auth.now += timedelta(minutes=10)
    for _ in range(2):
        await bearer(auth.session(tokens=kept))
    assert auth.refreshes[0] == auth.refreshes[1]


async def test_a_revoked_session_begins_again_with_the_password() -> None:
    auth = Auth()
    auth.refuses_refresh = True
    session = auth.session(tokens=auth.tokens("kept"))
    auth.now += timedelta(minutes=10)
    assert await bearer(session) == "login-1"


async def test_a_revoked_session_without_a_password_says_so() -> None:
    auth = Auth()
    auth.refuses_refresh = True
    session = auth.session(password=False, tokens=auth.tokens("kept"))
    auth.now += timedelta(minutes=10)
    with pytest.raises(Unauthenticated):
        await bearer(session)


async def test_a_session_that_ended_long_ago_is_not_refreshed() -> None:
    auth = Auth()
    session = auth.session(password=False, tokens=auth.tokens("kept"))
    auth.now += timedelta(days=8)
    with pytest.raises(Unauthenticated, match="log in again"):
        await bearer(session)
    assert auth.refreshes == []


async def test_a_refused_token_is_replaced() -> None:
    auth = Auth()
    session = auth.session()
    assert await bearer(session) == "login-1"
    assert await session.renew()
    assert await bearer(session) == "refreshed-1"


def test_tokens_are_not_shown_in_tracebacks() -> None:
    assert "secret" not in repr(Auth().tokens("secret"))
