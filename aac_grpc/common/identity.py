"""How a process of the mesh proves who it is: a bootstrap secret, which it exchanges for short tokens."""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import structlog

from aac_grpc.client.errors import Unauthenticated
from aac_grpc.common.call import ALL_ACCOUNTS, Principal
from aac_grpc.common.clock import Clock

_log = structlog.get_logger("identity")

SERVICE_KEY = "x-aac-service"
SECRET_KEY = "x-aac-service-secret"  # noqa: S105 a name, not a secret


def derive_service_secret(mesh_secret: str, service: str) -> str:
    """A service's bootstrap secret: HMAC-SHA256 of "service:" and its name under the mesh secret, in hex."""
    return hmac.new(mesh_secret.encode(), f"service:{service}".encode(), hashlib.sha256).hexdigest()


class ServiceSecrets:
    """Takes bootstrap secrets as credentials. The registry does, so that it depends on nobody."""

    def __init__(self, mesh_secret: str, scopes: frozenset[str] = frozenset({"internal"})) -> None:
        """Makes the scheme of an installation.

        Raises:
            ValueError: There is no mesh secret: anybody could derive what an empty one gives.
        """
        if not mesh_secret:
            raise ValueError("AAC_MESH_SECRET is missing")
        self._mesh_secret = mesh_secret
        self._scopes = scopes

    async def authenticate(self, metadata: Mapping[str, Any]) -> Principal | None:
        """The service that the metadata names; None where they name none.

        Raises:
            Unauthenticated: The secret is not that service's.
        """
        service = metadata.get(SERVICE_KEY)
        if service is None:
            return None
        expected = derive_service_secret(self._mesh_secret, str(service))
        if not hmac.compare_digest(expected.encode(), str(metadata.get(SECRET_KEY, "")).encode()):
            raise Unauthenticated("the service's secret is wrong", reason="WRONG_CREDENTIALS")
        return Principal(
            subject=service, username=service, kind="service", accounts=frozenset({ALL_ACCOUNTS}), scopes=self._scopes
        )


@dataclass(frozen=True, slots=True)
class ServiceToken:
    """A token of this process; times in seconds since the Unix epoch."""

    token: str
    issued_at: float
    expires_at: float

    @property
    def half_life(self) -> float:
        """When it should be renewed."""
        return (self.issued_at + self.expires_at) / 2


class ServiceTokens:
    """This process's own token: fetched once for all who wait, renewed at half its life, used until it ends."""

    def __init__(self, issue: Callable[[], Awaitable[ServiceToken]], clock: Clock) -> None:
        """Makes a source without a token.

        Args:
            issue: Asks auth-service for a new one.
            clock: Wall time.
        """
        self._issue = issue
        self._clock = clock
        self._token: ServiceToken | None = None
        self._renewing: asyncio.Task[ServiceToken] | None = None
        self._retry_at = 0.0

    async def get(self) -> str:
        """A token that holds now.

        Raises:
            DependencyUnavailable: There is none, and auth-service is away.
            Unauthenticated: auth-service refuses this process.
        """
        now = self._clock.time()
        current = self._token
        if current is None or current.expires_at <= now:
            return (await asyncio.shield(self._renew())).token
        if now >= current.half_life and now >= self._retry_at:
            self._renew()
        return current.token

    def forget(self) -> None:
        """Drops the token, which a service did not take, as after a loss of keys; at most once in a second."""
        if self._clock.time() >= self._retry_at:
            self._token = None
            self._retry_at = self._clock.time() + 1.0

    async def close(self) -> None:
        """Ends a renewal that is under way."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)

    def _renew(self) -> "asyncio.Task[ServiceToken]":
        if self._renewing is None:
            # On the process's own account: for all who wait, not for the call that came first.
            self._renewing = asyncio.get_running_loop().create_task(
                self._fetch(), name="service-token", context=Context()
            )
            self._renewing.add_done_callback(self._renewed)
        return self._renewing

    async def _fetch(self) -> ServiceToken:
        self._token = await self._issue()
        return self._token

    def _renewed(self, task: "asyncio.Task[ServiceToken]") -> None:
        self._renewing = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._retry_at = self._clock.time() + 1.0
            _log.warning("this process's token can't be renewed", error=str(error))
