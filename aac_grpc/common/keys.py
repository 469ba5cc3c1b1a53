"""The public keys that access tokens are verified with: fetched from auth-service, the last known ones kept."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import jwt
import structlog
from aac.auth.v1.auth_pb2 import GetJwksRequest, JsonWebKey
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub

from aac_grpc.client.errors import AacError, DependencyUnavailable
from aac_grpc.common import metrics
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


class RemoteKeys:
    """Keys of auth-service. A key that is not known is looked for, but not more than once in `pause_s`."""

    def __init__(
        self, fetch: Callable[[], Awaitable[Keys]], clock: Clock, *, max_age_s: float = 60.0, pause_s: float = 1.0
    ) -> None:
        """Makes a source without keys; the first token fetches them.

        Args:
            fetch: Asks auth-service.
            clock: Monotonic time.
            max_age_s: Age of the keys at which `refresh` asks again.
            pause_s: Least time between two fetches, so that made-up key ids can't flood auth-service.
        """
        self._fetch = fetch
        self._clock = clock
        self._max_age_s = max_age_s
        self._pause_s = pause_s
        self._keys: Keys = {}
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """The key, fetched where it is not known; see `KeySource`."""
        found = self._keys.get(key_id)
        if found is None:
            await self._fetch_once(key_id)
            found = self._keys.get(key_id)
        if found is None and not self._keys:
            raise DependencyUnavailable("auth-service", retry_after=self._pause_s)
        return found

    async def keep_fresh(self) -> None:
        """Fetches the keys again and again, so that a withdrawn key is forgotten; runs until cancelled."""
        while True:
            await asyncio.sleep(self._max_age_s)
            async with self._lock:
                await self._try()

    async def _fetch_once(self, key_id: str) -> None:
        async with self._lock:
            if key_id not in self._keys and self._clock.monotonic() - self._tried_at >= self._pause_s:
                await self._try()

    async def _try(self) -> None:
        self._tried_at = self._clock.monotonic()
        try:
            self._keys = await self._fetch()
        except AacError as error:
            metrics.JWKS_FETCHES.labels("failed").inc()
            _log.warning(
                "token keys can't be fetched; the last known ones hold", known=len(self._keys), error=str(error)
            )
        else:
            metrics.JWKS_FETCHES.labels("fetched").inc()


def fetch_from(stub: AuthServiceStub) -> Callable[[], Awaitable[Keys]]:
    """Asks auth-service for its keys."""

    async def fetch() -> Keys:
        response = await stub.GetJwks(GetJwksRequest(), timeout=2.0)
        return parse_keys(list(response.keys))

    return fetch
