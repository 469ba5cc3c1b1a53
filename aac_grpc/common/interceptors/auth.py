"""Who calls: tokens through the cache of verified ones, and the credentials of special services."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from aac_grpc.client.errors import Unauthenticated
from aac_grpc.common.call import Call, Principal
from aac_grpc.common.clock import Clock
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.interceptors.hooks import Interceptor, Wait
from aac_grpc.common.tokens import TokenVerifier, expired

CLIENT_ADDRESS_KEY = "x-aac-client-address"
FORWARDER_KEY = "x-aac-forwarder"


class CredentialScheme(Protocol):
    """A kind of credential beside access tokens, such as the registry's bootstrap secrets."""

    async def authenticate(self, metadata: Mapping[str, Any]) -> Principal | None:
        """The caller; None where the metadata hold no credential of this kind.

        Raises:
            Unauthenticated: They do, and it is wrong.
        """


class Authentication(Interceptor):
    """Sets `call.principal`. A stream ends when its credential does.

    What another instance of the same service hands on carries the caller's own credential, and in `x-aac-forwarder` a
    token that proves whose word it is.
    """

    def __init__(
        self, verifier: TokenVerifier, clock: Clock, schemes: Sequence[CredentialScheme] = (), service: str = ""
    ) -> None:
        self._verifier = verifier
        self._clock = clock
        self._schemes = schemes
        self._service = service

    def for_method(self, policy: MethodPolicy) -> Interceptor:
        """Asks for a credential where the method does."""
        if not policy.authenticated:
            return Anonymous(self._verifier)
        return Authenticated(policy, self._verifier, self._clock, self._schemes, self._service)


class Authenticated(Interceptor):
    """Verifies the credential of one method's calls."""

    def __init__(
        self,
        policy: MethodPolicy,
        verifier: TokenVerifier,
        clock: Clock,
        schemes: Sequence[CredentialScheme],
        service: str,
    ) -> None:
        self._streams = policy.streaming
        self._verifier = verifier
        self._clock = clock
        self._schemes = schemes
        self._service = service
        self._loop_time = asyncio.get_running_loop().time

    def on_start(self, call: Call) -> Wait:
        """Knows the caller at once where its token was verified before."""
        token = call.metadata.get("authorization")
        if token is None or FORWARDER_KEY in call.metadata or (principal := self._verifier.known(token)) is None:
            return self._authenticate(call, token)
        self._admit(call, principal)
        return None

    async def _authenticate(self, call: Call, token: str | None) -> None:
        if (proof := call.metadata.get(FORWARDER_KEY)) is not None:
            forwarder = await _verified(self._verifier, f"Bearer {proof}")
            if not forwarder.is_service:
                raise Unauthenticated("only services forward calls", reason="INVALID_TOKEN")
            call.forwarded = forwarder.subject == self._service
        for scheme in self._schemes:
            if (principal := await scheme.authenticate(call.metadata)) is not None:
                return self._admit(call, principal)
        if token is None:
            raise Unauthenticated
        return self._admit(call, await _verified(self._verifier, token))

    def _admit(self, call: Call, principal: Principal) -> None:
        call.principal = principal
        if self._streams and principal.expires_at != float("inf"):
            call.end_at(self._loop_time() + principal.expires_at - self._clock.time(), expired)


class Anonymous(Interceptor):
    """Names the caller of a method that asks for no credential by its address, which its budget hangs on.

    Behind the gateway all have the gateway's address. It sends the caller's own in `x-aac-client-address`, and proves
    by a service's token in `x-aac-forwarder` that its word counts.
    """

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    def on_start(self, call: Call) -> Wait:
        """Takes the peer's address."""
        forwarder = call.metadata.get(FORWARDER_KEY)
        if forwarder is None:
            call.principal = Principal(subject=host_of(call.context.peer()))
            return None
        return self._forwarded(call, forwarder)

    async def _forwarded(self, call: Call, token: str) -> None:
        forwarder = await _verified(self._verifier, f"Bearer {token}")
        address = call.metadata.get(CLIENT_ADDRESS_KEY) if forwarder.is_service else None
        call.principal = Principal(subject=str(address or host_of(call.context.peer())))


async def _verified(verifier: TokenVerifier, credential: str) -> Principal:
    return verifier.known(credential) or await verifier.verify(credential)


def host_of(peer: str) -> str:
    """The host of a gRPC peer such as "ipv4:127.0.0.1:5000", "ipv6:%5B::1%5D:5000" or "unix:/path"."""
    kind, _, rest = peer.partition(":")
    return rest.rpartition(":")[0] if kind in {"ipv4", "ipv6"} else peer
