"""The asyncio client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import grpc

from aac_grpc.client.analysis import AnalysisCalls
from aac_grpc.client.channel import addresses_of, open_channel
from aac_grpc.client.connection import Connection
from aac_grpc.client.credentials import ApiKeyCredentials, Credentials, SessionCredentials, TokenCredentials
from aac_grpc.client.identity import IdentityCalls
from aac_grpc.client.market import MarketCalls
from aac_grpc.client.models.identity import Tokens
from aac_grpc.client.platform import PlatformCalls
from aac_grpc.client.reconnect import ReconnectPolicy
from aac_grpc.client.retry import RetryPolicy
from aac_grpc.client.trading import TradingCalls

DEFAULT_TARGET = "127.0.0.1:50050"


class AsyncClient(TradingCalls, MarketCalls, AnalysisCalls, IdentityCalls, PlatformCalls):
    """A client of the platform for asyncio. Make it where the event loop runs, and close it.

        async with AsyncClient("127.0.0.1:50050", api_key=key) as client:
            placed = await client.place_order("GOOG", "buy", 10, price="570.12")

    Prices, quantities and money are `Decimal`; give them as Decimal, int or str. Times are aware datetimes.
    Calls that failed since the service was away are repeated, with the same client key, until their timeout.
    """

    def __init__(
        self,
        target: str | Sequence[str] = DEFAULT_TARGET,
        *,
        api_key: str | None = None,
        username: str | None = None,
        password: str | None = None,
        token: str | Callable[[], str] | None = None,
        tokens: Tokens | None = None,
        on_tokens: Callable[[Tokens], None] | None = None,
        tls: bool | grpc.ChannelCredentials = False,
        timeout: float = 10.0,
        retry: RetryPolicy | None = None,
        reconnect: ReconnectPolicy | None = None,
    ) -> None:
        """Connects with the first call.

        Args:
            target: host:port of the gateway; or of several, as a list or with commas between, all IPv4: calls are
                spread among those that can be reached and serve.
            api_key: The whole secret of an API key.
            username: Of a user; logs in at the first call and keeps the session fresh.
            password: Of that user.
            token: An access token, or a function that is asked for one before each call.
            tokens: Of a session that was begun before; with `username` and `password` it begins again when it ended.
            on_tokens: Told each new pair of tokens, to keep it.
            tls: True for TLS with the machine's root certificates, or credentials of one's own.
            timeout: Seconds for a call, retries included.
            retry: When calls that the contract lets be repeated are; while most calls fail, few are.
            reconnect: How long streams are kept up.

        Raises:
            ValueError: More than one kind of credential was given, or a user name without a password, or several
                addresses of which one is no IPv4 address.
        """
        secure = grpc.ssl_channel_credentials() if tls is True else (tls or None)
        addresses = addresses_of(target)
        self._connection = Connection(
            open_channel(addresses, credentials=secure), ", ".join(addresses), timeout_s=timeout, retry=retry
        )
        self._reconnect = reconnect
        self._connection.credentials = self._credentials(api_key, username, password, token, tokens, on_tokens)

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel, for stubs of one's own."""
        return self._connection.channel

    async def access_token(self) -> str:
        """The access token of the session, fresh, for tools of other kinds; empty where the credential is no token."""
        metadata = dict(await self._connection.credentials.metadata())
        return metadata.get("authorization", "").removeprefix("Bearer ")

    async def close(self) -> None:
        """Ends running calls and streams."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _credentials(
        self,
        api_key: str | None,
        username: str | None,
        password: str | None,
        token: str | Callable[[], str] | None,
        tokens: Tokens | None,
        on_tokens: Callable[[Tokens], None] | None,
    ) -> Credentials:
        session = username is not None or tokens is not None
        if sum((api_key is not None, token is not None, session)) > 1:
            raise ValueError("give one credential: api_key, username and password, token, or tokens")
        if (username is None) != (password is None):
            raise ValueError("give username and password together")
        if api_key is not None:
            return ApiKeyCredentials(api_key)
        if token is not None:
            return TokenCredentials(token)
        if not session:
            return Credentials()

        async def log_in() -> Tokens:
            fresh, _ = await self.login(username or "", password or "")
            return fresh

        return SessionCredentials(
            login=log_in if username is not None else None, refresh=self.refresh, tokens=tokens, on_tokens=on_tokens
        )
