"""Who calls: tokens through the cache of verified ones, and the credentials of special services."""

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote

from aac_grpc.client.errors import StaleRevocations, Unauthenticated
from aac_grpc.common import metrics
from aac_grpc.common.call import Call, Principal
from aac_grpc.common.clock import Clock
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.interceptors.hooks import Interceptor, Wait
from aac_grpc.common.revocations import Revocations, revoked
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


@dataclass(frozen=True, slots=True)
class Trust:
    """What credentials are judged by."""

    verifier: TokenVerifier
    revocations: Revocations
    clock: Clock
    schemes: Sequence[CredentialScheme] = ()
    service: str = ""
    """The service that is called: its own instances may hand calls on."""


class Authentication(Interceptor):
    """Sets `call.principal`. A stream ends when its credential does, or is revoked.

    What another instance of the same service hands on carries the caller's own credential, and in `x-aac-forwarder` a
    token that proves whose word it is.
    """

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._streams: set[Call] = set()
        trust.revocations.on_news(self._end_revoked)

    def for_method(self, policy: MethodPolicy) -> Interceptor:
        """Asks for a credential where the method does."""
        if not policy.authenticated:
            return Anonymous(self._trust.verifier)
        if not policy.streaming:
            return Authenticated(policy, self._trust)
        watched = AuthenticatedRequests if policy.client_streaming else AuthenticatedStream
        return watched(policy, self._trust, self._streams)

    def _end_revoked(self) -> None:
        for call in tuple(self._streams):
            if self._trust.revocations.cover(call.principal):
                metrics.TOKENS_REVOKED.labels("ended").inc()
                call.terminate(revoked())


class Authenticated(Interceptor):
    """Verifies the credential of one method's calls. What is audited is refused while nobody knows what was revoked."""

    def __init__(self, policy: MethodPolicy, trust: Trust) -> None:
        self._fails_closed = policy.fails_closed
        self._trust = trust
        self._known = trust.verifier.known
        self._revocations = trust.revocations

    def on_start(self, call: Call) -> Wait:
        """Knows the caller at once where its token was verified before."""
        token = call.metadata.get("authorization")
        if token is None or FORWARDER_KEY in call.metadata or (principal := self._known(token)) is None:
            return self._authenticate(call, token)
        if self._fails_closed and not self._revocations.fresh:
            return self._admit_when_fresh(call, principal)
        self._admit(call, principal)
        return None

    async def _authenticate(self, call: Call, token: str | None) -> None:
        trust = self._trust
        if (proof := call.metadata.get(FORWARDER_KEY)) is not None:
            forwarder = await _verified(trust.verifier, f"Bearer {proof}")
            if not forwarder.is_service:
                raise Unauthenticated("only services forward calls", reason="INVALID_TOKEN")
            call.forwarded = forwarder.subject == trust.service
        for scheme in trust.schemes:
            if (principal := await scheme.authenticate(call.metadata)) is not None:
                return await self._admit_when_fresh(call, principal)
        if token is None:
            raise Unauthenticated
        return await self._admit_when_fresh(call, await _verified(trust.verifier, token))

    async def _admit_when_fresh(self, call: Call, principal: Principal) -> None:
        # Bootstrap secrets have no token that could be revoked.
        if self._fails_closed and principal.token_id and not self._revocations.fresh:
            await self._revocations.require()
            if self._revocations.cover(principal):
                raise revoked()
        self._admit(call, principal)

    def _admit(self, call: Call, principal: Principal) -> None:
        call.principal = principal


class AuthenticatedStream(Authenticated):
    """Ends a stream with its credential."""

    def __init__(self, policy: MethodPolicy, trust: Trust, streams: set[Call]) -> None:
        super().__init__(policy, trust)
        self._streams = streams
        self._loop_time = asyncio.get_running_loop().time

    def _admit(self, call: Call, principal: Principal) -> None:
        super()._admit(call, principal)
        self._streams.add(call)
        if principal.expires_at != float("inf"):
            call.end_at(self._loop_time() + principal.expires_at - self._trust.clock.time(), expired)

    def on_end(self, call: Call) -> None:
        """There is nothing to end any more."""
        self._streams.discard(call)


class AuthenticatedRequests(AuthenticatedStream):
    """Takes no message of the caller's after the credential has ended, though an answer is still being written."""

    def on_request(self, call: Call, message: Any) -> None:
        """Checks that the right still stands."""
        call.check()
        if self._fails_closed and call.principal.token_id and not self._revocations.fresh:
            raise StaleRevocations(self._revocations.staleness_s)


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
    """Whose peer it is: of "ipv4:127.0.0.1:5000" the address; of "ipv6:%5B2001:db8::1%5D:5000" the network
    "2001:db8::/64", since who has one address of it has them all; any other, such as "unix:/path", as it is.
    """
    kind, _, rest = peer.partition(":")
    host = rest.rpartition(":")[0]
    match kind:
        case "ipv4":
            return host
        case "ipv6":
            address = ipaddress.IPv6Address(unquote(host).strip("[]").partition("%")[0])
            return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))
        case _:
            return peer
