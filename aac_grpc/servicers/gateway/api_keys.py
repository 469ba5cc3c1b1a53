"""API keys that callers send to the gateway, exchanged for short tokens at auth-service."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aac_grpc.client.errors import Unauthenticated
from aac_grpc.common.call import Principal
from aac_grpc.common.clock import Clock
from aac_grpc.common.revocations import Revocations, revoked

TOKEN_MARGIN_S = 10.0
"""A token is exchanged anew this long before its end, so that none ends on its way to a service."""


@dataclass(frozen=True, slots=True)
class ExchangedToken:
    """What a key was exchanged for; times in seconds since the Unix epoch."""

    token: str
    issued_at: float
    expires_at: float
    principal: Principal
    """Who the token speaks for, which revocations are told by."""

    def lives_on(self, now: float, longest_s: float) -> bool:
        """It is good for a call, and was got not longer ago than that."""
        return now < min(self.expires_at - TOKEN_MARGIN_S, self.issued_at + longest_s)

    def is_young(self, now: float) -> bool:
        """Half of its life or more is left: a stream that is opened with it lasts for a while."""
        return now <= (self.issued_at + self.expires_at) / 2


@dataclass(frozen=True, slots=True)
class _Refusal:
    error: Unauthenticated
    until: float


class ApiKeyExchange:
    """Exchanges API keys: once for all who wait, remembered until shortly before the token's end; refusals briefly.

    Keys are remembered by their SHA-256, never as they are.
    """

    def __init__(
        self,
        exchange: Callable[[str, str], Awaitable[tuple[str, float, Principal]]],
        revocations: Revocations,
        clock: Clock,
        *,
        size: int,
        ttl_s: float,
        refusal_ttl_s: float,
    ) -> None:
        """Begins with nothing remembered.

        Args:
            exchange: Asks auth-service: API key and caller's address to access token, its end (seconds since the Unix
                epoch), and who it speaks for.
            revocations: Which tokens hold no more: their keys are exchanged again at once.
            clock: Wall time.
            size: Most keys remembered; the one used longest ago is forgotten first.
            ttl_s: How long a token is used before its key is exchanged again.
            refusal_ttl_s: How long a refused key is refused without asking again.
        """
        self._exchange = exchange
        self._revocations = revocations
        revocations.on_news(self._forget_revoked)
        self._clock = clock
        self._size = size
        self._ttl_s = ttl_s
        self._refusal_ttl_s = refusal_ttl_s
        self._known: OrderedDict[bytes, ExchangedToken | _Refusal] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[ExchangedToken]] = {}

    async def token(self, api_key: str, address: str, *, for_stream: bool) -> str:
        """An access token for a key.

        Args:
            api_key: As the caller sent it.
            address: The caller's, whose budget of wrong keys is charged.
            for_stream: Wanted for a stream, which ends with its token: a young one is got.

        Raises:
            Unauthenticated: The key is not one of ours, has expired or was revoked.
            AacError: auth-service could not be asked.
        """
        digest = hashlib.sha256(api_key.encode()).digest()
        now = self._clock.time()
        match self._known.get(digest):
            case _Refusal(error, until) if now < until:
                raise error.with_traceback(None)  # each raise would lengthen it
            case ExchangedToken() as found if found.lives_on(now, self._ttl_s) and (
                found.is_young(now) or not for_stream
            ):
                self._known.move_to_end(digest)
                return found.token
        return (await asyncio.shield(self._exchange_once(digest, api_key, address))).token

    async def close(self) -> None:
        """Ends exchanges that are under way."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _exchange_once(self, digest: bytes, api_key: str, address: str) -> asyncio.Task[ExchangedToken]:
        task = self._running.get(digest)
        if task is None:
            # For all who will wait: not within the deadline of the first one.
            asking = self._ask(digest, api_key, address)
            task = asyncio.create_task(asking, name="api-key exchange", context=contextvars.Context())
            self._running[digest] = task
            task.add_done_callback(lambda done: self._ended(digest, done))
        return task

    async def _ask(self, digest: bytes, api_key: str, address: str) -> ExchangedToken:
        asked_at = self._clock.time()
        try:
            token, expires_at, principal = await self._exchange(api_key, address)
        except Unauthenticated as error:
            self._remember(digest, _Refusal(error, self._clock.time() + self._refusal_ttl_s))
            raise
        if self._revocations.cover(principal):  # while it was on its way
            raise revoked()
        exchanged = ExchangedToken(token, asked_at, expires_at, principal)
        self._remember(digest, exchanged)
        return exchanged

    def _forget_revoked(self) -> None:
        for digest, known in tuple(self._known.items()):
            if isinstance(known, ExchangedToken) and self._revocations.cover(known.principal):
                del self._known[digest]

    def _remember(self, digest: bytes, outcome: ExchangedToken | _Refusal) -> None:
        self._known[digest] = outcome
        self._known.move_to_end(digest)
        while len(self._known) > self._size:
            self._known.popitem(last=False)

    def _ended(self, digest: bytes, task: asyncio.Task[ExchangedToken]) -> None:
        del self._running[digest]
        if not task.cancelled():
            task.exception()  # those who wait are told; when all have left, nobody needs to be
