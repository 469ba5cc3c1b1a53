"""What callers prove themselves with, and what goes on to the services: nothing but access tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aac_grpc.common.call import Call, Principal, current_call
from aac_grpc.common.interceptors.auth import CLIENT_ADDRESS_KEY, FORWARDER_KEY, host_of
from aac_grpc.common.tokens import TokenVerifier
from aac_grpc.servicers.gateway.api_keys import ApiKeyExchange
from aac_grpc.servicers.gateway.forwarding import API_KEY, Metadata
from aac_grpc.servicers.gateway.routes import Route


class Callers:
    """Proofs for the services in place of what callers sent."""

    def __init__(self, exchange: ApiKeyExchange, own_token: Callable[[], Awaitable[str]]) -> None:
        """Prepares.

        Args:
            exchange: API keys to access tokens.
            own_token: An access token of the gateway itself.
        """
        self._exchange = exchange
        self._own_token = own_token

    def proof(self, call: Call, route: Route) -> Metadata | Awaitable[Metadata]:
        """A caller's own token goes on as it is; an API key becomes a token, which has to be waited for.

        A method that asks for none gets the caller's address, which the caller's budget hangs on there.

        Raises:
            AacError: When awaited: the API key was refused, or can't be exchanged now.
        """
        if not route.policy.authenticated:
            return on_behalf_of(host_of(call.context.peer()), self._own_token)
        api_key = call.metadata.get(API_KEY)
        if "authorization" in call.metadata or not isinstance(api_key, str):
            return ()
        # The address at once: gRPC frees a call whose caller goes.
        return self._of_key(api_key, host_of(call.context.peer()), for_stream=route.policy.streaming)

    async def _of_key(self, api_key: str, address: str, *, for_stream: bool) -> Metadata:
        return (("authorization", f"Bearer {await self._exchange.token(api_key, address, for_stream=for_stream)}"),)


async def on_behalf_of(address: str, own_token: Callable[[], Awaitable[str]]) -> tuple[tuple[str, str], ...]:
    """Says whose address a call without credential comes from, and proves that the gateway says so."""
    return ((FORWARDER_KEY, await own_token()), (CLIENT_ADDRESS_KEY, address))


class ApiKeyScheme:
    """API keys as a credential of the gateway's own methods."""

    def __init__(self, exchange: ApiKeyExchange, verifier: TokenVerifier) -> None:
        self._exchange = exchange
        self._verifier = verifier

    async def authenticate(self, metadata: Mapping[str, Any]) -> Principal | None:
        """The owner of the key; None where no key was sent, or a token as well."""
        api_key = metadata.get(API_KEY)
        if "authorization" in metadata or not isinstance(api_key, str):
            return None
        address = host_of(current_call().context.peer())
        token = await self._exchange.token(api_key, address, for_stream=True)
        return await self._verifier.verify(f"Bearer {token}")
