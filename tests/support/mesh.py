"""Real servers on real ports around test servicers: tokens are signed, fetched and verified as in the platform."""

import base64
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import jwt
from aac.auth.v1 import auth_pb2, auth_pb2_grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aac_grpc.client.errors import Unauthenticated
from aac_grpc.common.call import Principal
from aac_grpc.common.identity import derive_service_secret
from aac_grpc.common.server import Server, Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.common.tokens import claims_of

MESH_SECRET = "a mesh secret for tests, long enough"


class Signer:
    """Signs access tokens, as auth-service does."""

    def __init__(self, key_id: str = "test-key") -> None:
        self.key_id = key_id
        self.private_key = Ed25519PrivateKey.generate()

    @property
    def public_key(self) -> auth_pb2.JsonWebKey:
        raw = self.private_key.public_key().public_bytes_raw()
        x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        return auth_pb2.JsonWebKey(kid=self.key_id, kty="OKP", crv="Ed25519", alg="EdDSA", use="sig", x=x)

    def sign(self, claims: dict[str, Any], **headers: Any) -> str:
        return jwt.encode(claims, self.private_key, algorithm="EdDSA", headers={"kid": self.key_id, **headers})

    def token(
        self,
        subject: str = "user-1",
        *,
        kind: str = "user",
        scopes: Sequence[str] = ("orders:read",),
        accounts: Sequence[str] = ("acc-1",),
        plan: str = "",
        lifetime_s: float = 300,
        **changes: Any,
    ) -> str:
        """A token; `changes` overwrite or (with None) remove claims."""
        now = time.time()
        principal = Principal(
            subject=subject,
            username=subject,
            kind=kind,  # type: ignore[arg-type]
            firm_id="firm-1",
            accounts=frozenset(accounts),
            scopes=frozenset(scopes),
            plan=plan,
            token_id=f"session.{now}",
            expires_at=now + lifetime_s,
        )
        claims = claims_of(principal, issuer="aac", issued_at=now) | {"exp": now + lifetime_s} | changes
        return self.sign({name: value for name, value in claims.items() if value is not None})


class AuthDouble(Servicer, auth_pb2_grpc.AuthServiceServicer):
    """Stands in for auth-service: hands out keys and services' tokens."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer
        self.key_requests = 0
        self.token_requests = 0
        self.lifetime_s = 300.0
        self.failing = False

    async def GetJwks(self, request: Any, context: Any) -> Any:
        self.key_requests += 1
        return auth_pb2.GetJwksResponse(keys=[self.signer.public_key])

    async def IssueServiceToken(self, request: Any, context: Any) -> Any:
        self.token_requests += 1
        if self.failing:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        if request.secret != derive_service_secret(MESH_SECRET, request.service):
            raise Unauthenticated("the secret is wrong", reason="WRONG_CREDENTIALS")
        token = self.signer.token(
            request.service, kind="service", scopes=("internal",), accounts=("*",), lifetime_s=self.lifetime_s
        )
        response = auth_pb2.IssueServiceTokenResponse(access_token=token)
        response.expires_at.FromNanoseconds(int((time.time() + self.lifetime_s) * 1e9))
        return response


for _name in ("Login", "Refresh", "Logout", "ExchangeApiKey", "CreateApiKey", "ListApiKeys", "RevokeApiKey",
              "CreateUser", "ListUsers", "CreateAccount", "ListAccounts"):  # fmt: skip
    setattr(AuthDouble, _name, getattr(auth_pb2_grpc.AuthServiceServicer, _name))
AuthDouble.__abstractmethods__ = frozenset()


def settings(name: str, **changes: Any) -> ServiceSettings:
    """A laptop's settings on free ports, without a registry."""
    fixed: dict[str, Any] = {
        "grpc_port": 0,
        "admin_port": 0,
        "registry_address": "",
        "service_secret": derive_service_secret(MESH_SECRET, name),
        "drain_grace_s": 1.0,
        "shutdown_grace_s": 1.0,
    }
    return ServiceSettings(**(fixed | changes))


@asynccontextmanager
async def serving(name: str, *servicers: Servicer, requires: Sequence[str] = (), **changes: Any) -> AsyncIterator[Server]:
    """A server of these servicers that takes calls."""
    service = Service(
        name=name, settings=ServiceSettings, build=lambda resources: servicers, requires=tuple(requires)
    )
    server = Server(service, settings(name, **changes))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Metadata that carry a token."""
    return (("authorization", f"Bearer {token}"),)
