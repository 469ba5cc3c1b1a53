"""The public keys that access tokens are verified with: fetched from auth-service, the last known ones kept."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import Protocol

import jwt
import structlog
from aac.auth.v1.auth_pb2 import GetJwksRequest, JsonWebKey
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub

from aac_grpc.client.errors import AacError, DependencyUnavailable
from aac_grpc.common import metrics
from aac_grpc.common.call import find_call
from aac_grpc.common.clock import Clock

_log = structlog.get_logger("keys")

Keys = Mapping[str, jwt.PyJWK]
"""Public keys by key id."""


class KeySource(Protocol):
    """Where public keys come from."""

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """The key, or None where the installation has none of that id.

        Raises:
            DependencyUnavailable: No keys are known, and none can be had.
        """


def parse_keys(keys: list[JsonWebKey]) -> dict[str, jwt.PyJWK]:
    """Public keys by id from what GetJwks answers; those of other kinds than Ed25519 are left out."""
    return {
        key.kid: jwt.PyJWK({"kty": key.kty, "crv": key.crv, "x": key.x, "kid": key.kid}, algorithm="EdDSA")
        for key in keys
        if key.kty == "OKP" and key.crv == "Ed25519"
    }


PATIENCE_S = 5.0
RETRY_S = 0.3
TIME_SHARE = 0.9
"""Of a call's remaining time that it waits: then there is some left to say that the keys could not be had."""


class RemoteKeys:
    """Keys of auth-service. A key that is not known is looked for, but not more than once in `pause_s`.

    All calls that look for keys wait for the same fetch, each within its own time. Where no key is known at all it
    tries again for a while: a process that has just started is too busy to be answered, or the first to have started.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Keys]],
        clock: Clock,
        *,
        max_age_s: float = 60.0,
        pause_s: float = 1.0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Makes a source without keys; `open` or the first token fetches them.

        Args:
            fetch: Asks auth-service.
            clock: Monotonic time.
            max_age_s: Age of the keys at which `keep_fresh` asks again.
            pause_s: Least time between two fetches, so that made-up key ids can't flood auth-service.
            patience_s: So long keys are asked for at a stretch, and calls wait for one, where they have that time.
        """
        self._fetch = fetch
        self._clock = clock
        self._max_age_s = max_age_s
        self._pause_s = pause_s
        self._patience_s = patience_s
        self._keys: Keys = {}
        self._tried_at = float("-inf")
        self._away = False
        self._fetching: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Asks once, so that the first calls find the keys; where nobody answers, they ask themselves."""
        await self._try()

    async def close(self) -> None:
        """Asks no more."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """The key, fetched where it is not known; see `KeySource`."""
        if key_id not in self._keys and (fetching := self._fetch_unless_just_done()) is not None:
            call = find_call()
            remaining = call.time_remaining() if call is not None else None
            patience = self._patience_s if remaining is None else min(self._patience_s, remaining * TIME_SHARE)
            await asyncio.wait({fetching}, timeout=patience)
        found = self._keys.get(key_id)
        if found is None and not self._keys:
            raise DependencyUnavailable("auth-service", retry_after=self._pause_s)
        return found

    async def keep_fresh(self) -> None:
        """Fetches the keys again and again, so that a withdrawn key is forgotten; runs until cancelled."""
        while True:
            await asyncio.sleep(self._max_age_s if self._keys else min(self._max_age_s, self._patience_s))
            await asyncio.wait({self._fetch_with_others()})

    def _fetch_unless_just_done(self) -> asyncio.Task[None] | None:
        under_way = self._fetching is not None and not self._fetching.done()
        if not under_way and self._keys and self._clock.monotonic() - self._tried_at < self._pause_s:
            return None
        return self._fetch_with_others()

    def _fetch_with_others(self) -> asyncio.Task[None]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._try_until_known(), name="token keys", context=Context())
        return self._fetching

    async def _try_until_known(self) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._patience_s
        await self._try()
        while not self._keys and loop.time() < ends:
            await asyncio.sleep(RETRY_S)
            await self._try()

    async def _try(self) -> None:
        self._tried_at = self._clock.monotonic()
        try:
            self._keys = await self._fetch()
        except AacError as error:
            metrics.JWKS_FETCHES.labels("failed").inc()
            tell = _log.debug if self._away else _log.warning
            tell("token keys can't be fetched; the last known ones hold", known=len(self._keys), error=str(error))
            self._away = True
        else:
            self._away = False
            metrics.JWKS_FETCHES.labels("fetched").inc()


def fetch_from(stub: AuthServiceStub) -> Callable[[], Awaitable[Keys]]:
    """Asks auth-service for its keys."""

    async def fetch() -> Keys:
        response = await stub.GetJwks(GetJwksRequest(), timeout=PATIENCE_S)
        return parse_keys(list(response.keys))

    return fetch
