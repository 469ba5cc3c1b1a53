"""What each service of the mesh may do in others: no more than the calls that it makes."""

import hmac
import secrets
from datetime import datetime

from aac_grpc.client.errors import Unauthenticated
from aac_grpc.common.call import Principal
from aac_grpc.common.identity import derive_service_secret
from aac_grpc.domain.permissions import ALL_ACCOUNTS, INTERNAL
from aac_grpc.servicers.auth.tokens import AccessToken, AccessTokens, Credential

SERVICE_SCOPES = {
    "api-gateway": {INTERNAL, "market:read", "orders:read", "accounts:read", "risk:read"},
    "auth-service": {INTERNAL},
    "market-data": {INTERNAL},
    "trading-engine": {INTERNAL},
    "risk-management": {INTERNAL, "market:read", "orders:read", "accounts:read"},
    "analytics": {INTERNAL, "market:read"},
    "registry": {INTERNAL},
    "feed": {INTERNAL, "market:read"},
    "supervisor": {INTERNAL, "accounts:admin", "accounts:read"},
}
"""Scopes by service; "feed" and "supervisor" are programs that run beside the services."""

_ACT_ON_ACCOUNTS = {"api-gateway", "risk-management", "supervisor"}
"""Services that read or open any account; the others act on none."""


class ServiceIdentities:
    """Exchanges bootstrap secrets for access tokens."""

    def __init__(self, tokens: AccessTokens, mesh_secret: str) -> None:
        self._tokens = tokens
        self._mesh_secret = mesh_secret

    def issue(self, service: str, secret: str, now: datetime) -> AccessToken:
        """Returns a token of a service.

        Raises:
            Unauthenticated: There is no such service, or the secret is not its own.
        """
        expected = derive_service_secret(self._mesh_secret, service)
        if not hmac.compare_digest(expected.encode(), secret.encode()) or service not in SERVICE_SCOPES:
            raise Unauthenticated("service and secret do not match", reason="WRONG_CREDENTIALS")
        accounts = {ALL_ACCOUNTS} if service in _ACT_ON_ACCOUNTS else set()
        caller = Principal(
            subject=service,
            username=service,
            kind="service",
            scopes=frozenset(SERVICE_SCOPES[service]),
            accounts=frozenset(accounts),
        )
        return self._tokens.mint(caller, Credential(service, secrets.token_hex(8)), now)
