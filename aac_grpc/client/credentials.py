"""What a caller proves itself with: an API key, a token, or a session that logs in and refreshes by itself."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from aac_grpc.client.errors import Unauthenticated
from aac_grpc.client.models.identity import Tokens

Metadata = tuple[tuple[str, str], ...]

_REFRESH_BEFORE = timedelta(seconds=30)
"""A token is replaced this long before its end, so that none ends on its way; a short one in its last quarter."""


class Credentials:
    """Anonymous; subclasses prove something."""

    async def metadata(self) -> Metadata:
        """What to send with a call."""
        return ()

    async def renew(self) -> bool:
        """Called once after a call was refused as unauthenticated: whether it may pass when it is made again."""
        return False


class ApiKeyCredentials(Credentials):
    """Sends an API key, which the gateway exchanges for a short token."""

    def __init__(self, api_key: str) -> None:
        self._metadata = (("x-api-key", api_key),)

    async def metadata(self) -> Metadata:
        return self._metadata

    async def renew(self) -> bool:
        """The gateway exchanges the key again: a stream outlives the token that it was opened with."""
        return True


class TokenCredentials(Credentials):
    """Sends an access token that somebody else keeps fresh."""

    def __init__(self, token: str | Callable[[], str]) -> None:
        """Keeps a token, or a function that is asked for it before each call."""
        self._token = token

    async def metadata(self) -> Metadata:
        token = self._token if isinstance(self._token, str) else self._token()
        return (("authorization", f"Bearer {token}"),)

    async def renew(self) -> bool:
        return not isinstance(self._token, str)


class SessionCredentials(Credentials):
    """A user's session: logs in at the first call, refreshes the access token before it ends.

    Concurrent calls share one login or refresh.
    """

    def __init__(
        self,
        *,
        login: Callable[[], Awaitable[Tokens]] | None = None,
        refresh: Callable[[str, str], Awaitable[Tokens]],
        tokens: Tokens | None = None,
        on_tokens: Callable[[Tokens], None] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepares a session.

        Args:
            login: Signs in; None where only `tokens` are known.
            refresh: Exchanges a refresh token, under a client key, for its successor.
            tokens: Of a session that was begun before.
            on_tokens: Told each new pair, to keep it.
            clock: Wall time.
        """
        self.tokens = tokens
        self._login = login
        self._refresh = refresh
        self._on_tokens = on_tokens
        self._clock = clock
        self._lock = asyncio.Lock()
        self._margin = _REFRESH_BEFORE

    async def metadata(self) -> Metadata:
        """The access token, after a login or refresh where one is due.

        Raises:
            Unauthenticated: The session has ended and there is no password to begin another.
        """
        tokens = self.tokens
        if tokens is None or self._is_ending(tokens):
            tokens = await self._replace(tokens)
        return (("authorization", f"Bearer {tokens.access_token}"),)

    async def renew(self) -> bool:
        """Replaces the access token that was refused."""
        await self._replace(self.tokens)
        return True

    def _is_ending(self, tokens: Tokens) -> bool:
        return self._clock() >= tokens.access_expires_at - self._margin

    async def _replace(self, old: Tokens | None) -> Tokens:
        async with self._lock:
            if self.tokens is not None and self.tokens is not old:
                return self.tokens
            asked_at = self._clock()
            self.tokens = await self._successor(old)
            self._margin = min(_REFRESH_BEFORE, (self.tokens.access_expires_at - asked_at) / 4)
            if self._on_tokens is not None:
                self._on_tokens(self.tokens)
            return self.tokens

    async def _successor(self, old: Tokens | None) -> Tokens:
        if old is not None and self._clock() < old.refresh_expires_at:
            try:
                return await self._refresh(old.refresh_token, refresh_key(old.refresh_token))
            except Unauthenticated:
                if self._login is None:
                    raise
        if self._login is None:
            raise Unauthenticated("the session has ended; log in again", reason="EXPIRED_TOKEN")
        return await self._login()


def refresh_key(refresh_token: str) -> str:
    """The client key of a refresh: made from the token, so that processes that share it get the same successor."""
    return hashlib.sha256(refresh_token.encode()).hexdigest()[:32]
