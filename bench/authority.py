"""Signs access tokens and publishes the key, where a bench needs callers and not auth-service's own work."""

import asyncio
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import jwt
from aac.auth.v1 import auth_pb2
from aac.auth.v1.auth_pb2_grpc import AuthServiceServicer, add_AuthServiceServicer_to_server
from aac.type.v1 import stream_pb2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aac_grpc.common.call import ALL_ACCOUNTS, Principal
from aac_grpc.common.tokens import claims_of

ISSUER = "aac"
KEY_ID = "bench"
LIFETIME_S = 3600
HEARTBEAT_S = 1.0


class Authority(AuthServiceServicer):
    """Answers what processes of the mesh ask auth-service for to start and to call; it revokes nothing.

    Attributes:
        address: host:port, once it serves.
    """

    def __init__(self) -> None:
        self.address = ""
        self._key = Ed25519PrivateKey.generate()

    def token(self, scopes: Iterable[str], *, kind: Any = "user", subject: str = "bench", plan: str = "") -> str:
        """An access token that holds for an hour."""
        now = time.time()
        principal = Principal(
            subject=subject,
            username=subject,
            kind=kind,
            accounts=frozenset({ALL_ACCOUNTS}),
            scopes=frozenset(scopes),
            plan=plan,
            token_id=subject,
            expires_at=now + LIFETIME_S,
        )
        claims = claims_of(principal, issuer=ISSUER, issued_at=now)
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": KEY_ID})

    async def GetJwks(self, request: auth_pb2.GetJwksRequest, context: Any) -> auth_pb2.GetJwksResponse:
        x = urlsafe_b64encode(self._key.public_key().public_bytes_raw()).decode().rstrip("=")
        key = auth_pb2.JsonWebKey(kid=KEY_ID, kty="OKP", crv="Ed25519", alg="EdDSA", use="sig", x=x)
        return auth_pb2.GetJwksResponse(keys=[key])

    async def IssueServiceToken(
        self, request: auth_pb2.IssueServiceTokenRequest, context: Any
    ) -> auth_pb2.IssueServiceTokenResponse:
        token = self.token(["internal"], kind="service", subject=request.service)
        response = auth_pb2.IssueServiceTokenResponse(access_token=token)
        response.expires_at.FromSeconds(int(time.time()) + LIFETIME_S)
        return response

    async def WatchRevocations(
        self, request: auth_pb2.WatchRevocationsRequest, context: Any
    ) -> AsyncIterator[auth_pb2.WatchRevocationsResponse]:
        header = stream_pb2.StreamHeader(
            epoch=1, sequence=1, topic=stream_pb2.TOPIC_REVOCATIONS, kind=stream_pb2.FRAME_KIND_SNAPSHOT
        )
        while True:
            yield auth_pb2.WatchRevocationsResponse(header=header)
            header.kind = stream_pb2.FRAME_KIND_HEARTBEAT
            await asyncio.sleep(HEARTBEAT_S)


@asynccontextmanager
async def authority() -> AsyncIterator[Authority]:
    """An authority that serves on a free port of the loopback interface."""
    served = Authority()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_AuthServiceServicer_to_server(served, server)
    served.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield served
    finally:
        await server.stop(None)
