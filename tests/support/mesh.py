"""Real servers on real ports around test servicers: tokens are signed, fetched and verified as in the platform."""

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import jwt
from aac.auth.v1 import auth_pb2, auth_pb2_grpc
from aac.type.v1 import stream_pb2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aac_grpc.client.errors import Unauthenticated, from_rpc_error
from aac_grpc.common.call import Principal, current_call
from aac_grpc.common.contract import policy_of
from aac_grpc.common.identity import derive_service_secret
from aac_grpc.common.keys import RemoteKeys, parse_keys
from aac_grpc.common.resources import Resources
from aac_grpc.common.server import Server, Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.common.streams import EventTopic, Snapshot, StreamSession, frame, position
from aac_grpc.common.tokens import TokenVerifier, claims_of
from tests.support.ping import ROOT, SERVICE, PingServicer, Request, Response, ping_pb2_grpc
from tests.support.revoking import revocation

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
        self.service_scopes = ("internal",)
        self.failing = False
        self.watches = 0
        self.revoked: list[auth_pb2.Revocation] = []
        self.topic = EventTopic(stream_pb2.TOPIC_REVOCATIONS, "", snapshot=self._all_revoked)

    def prepare(self, resources: Resources) -> None:
        """Has its own server know its own tokens."""

        async def keys() -> Any:
            return parse_keys([self.signer.public_key])

        resources.verifier = TokenVerifier(
            RemoteKeys(keys, resources.clock), resources.revocations, issuer="aac", clock=resources.clock
        )

    def revoke(self, **credential: Any) -> None:
        """Revokes tokens: `session_id`, `api_key_id`, or `user_id` and `generation`."""
        self.revoked.append(revocation(**credential))
        self.topic.append(len(self.revoked), _framed(self.revoked[-1]))

    def _all_revoked(self) -> Snapshot:
        return Snapshot(self.topic.sequence, [_framed(one) for one in self.revoked])

    async def WatchRevocations(self, request: Any, context: Any) -> Any:
        self.watches += 1
        session = StreamSession(heartbeat=0.05)
        current_call().on_drain(session.drain)
        session.subscribe(self.topic, position(request.resume))
        async for encoded in session.frames():
            yield encoded

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
            request.service, kind="service", scopes=self.service_scopes, accounts=("*",), lifetime_s=self.lifetime_s
        )
        response = auth_pb2.IssueServiceTokenResponse(access_token=token)
        response.expires_at.FromNanoseconds(int((time.time() + self.lifetime_s) * 1e9))
        return response


def _framed(one: auth_pb2.Revocation) -> bytes:
    return frame(auth_pb2.WatchRevocationsResponse.REVOCATIONS_FIELD_NUMBER, one.SerializeToString())


for _name in ("Login", "Refresh", "Logout", "ExchangeApiKey", "CreateApiKey", "ListApiKeys", "RevokeApiKey",
              "ListSessions", "RevokeSession", "CreateUser", "ListUsers", "UpdateUser", "DisableUser", "EnableUser",
              "CreateAccount", "ListAccounts"):  # fmt: skip
    setattr(AuthDouble, _name, getattr(auth_pb2_grpc.AuthServiceServicer, _name))
AuthDouble.__abstractmethods__ = frozenset()


def settings(name: str, **changes: Any) -> ServiceSettings:
    """A laptop's settings on free ports, without a registry."""
    fixed: dict[str, Any] = {
        "grpc_port": 0,
        "admin_port": 0,
        "registry_address": "",
        "quota_store": "local",
        "service_secret": derive_service_secret(MESH_SECRET, name),
        "drain_grace_s": 1.0,
        "shutdown_grace_s": 1.0,
    }
    return ServiceSettings(**(fixed | changes))


@asynccontextmanager
async def serving(
    name: str, *servicers: Servicer, requires: Sequence[str] = (), **changes: Any
) -> AsyncIterator[Server]:
    """A server of these servicers that takes calls."""

    def build(resources: Resources) -> Sequence[Servicer]:
        for servicer in servicers:
            if isinstance(servicer, AuthDouble):
                servicer.prepare(resources)
        return servicers

    service = Service(name=name, settings=ServiceSettings, build=build, requires=tuple(requires))
    server = Server(service, settings(name, **changes))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class PingMesh:
    """auth-service's double, a ping server and a client of it.

    Attributes:
        auth: The double.
        signer: Whose tokens the server takes.
        server: The ping server.
        servicer: Its servicer.
        channel: A bare channel to it.
    """

    def __init__(self, auth: AuthDouble, server: Server, servicer: PingServicer, channel: grpc.aio.Channel) -> None:
        self.auth = auth
        self.signer = auth.signer
        self.server = server
        self.servicer = servicer
        self.channel = channel
        self.stub = ping_pb2_grpc.PingServiceStub(channel)
        self.metadata = bearer(self.signer.token())

    def method(self, name: str, *, raw: bool = False) -> Any:
        """gRPC's callable of a method; `raw` takes bytes."""
        policy = policy_of(f"/{SERVICE}/{name}")
        arity = {
            (False, False): self.channel.unary_unary,
            (False, True): self.channel.unary_stream,
            (True, False): self.channel.stream_unary,
            (True, True): self.channel.stream_stream,
        }[policy.client_streaming, policy.server_streaming]
        serializer = None if raw else Request.SerializeToString
        return arity(policy.path, request_serializer=serializer, response_deserializer=Response.FromString)

    async def call(
        self, name: str, *requests: Any, metadata: Any = None, timeout: float | None = 10, raw: bool = False
    ) -> list[Any]:
        """Makes one call of any arity and returns its responses.

        Raises:
            AacError: It failed.
        """
        call = self.begin(name, *requests, metadata=metadata, timeout=timeout, raw=raw)
        try:
            return [response async for response in call] if hasattr(call, "__aiter__") else [await call]
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    def begin(
        self, name: str, *requests: Any, metadata: Any = None, timeout: float | None = 10, raw: bool = False
    ) -> Any:
        """Starts one call of any arity."""
        given: Any = requests or (b"" if raw else Request(),)
        taken = iter(given) if policy_of(f"/{SERVICE}/{name}").client_streaming else given[0]
        metadata = self.metadata if metadata is None else metadata
        return self.method(name, raw=raw)(taken, metadata=metadata, timeout=timeout)


@asynccontextmanager
async def ping_mesh(
    servicer: PingServicer | None = None, auth: AuthDouble | None = None, **changes: Any
) -> AsyncIterator[PingMesh]:
    """A ping server that takes the tokens of a signer; `changes` are settings of the ping server."""
    auth, ping = auth or AuthDouble(Signer()), servicer or PingServicer()
    async with (
        serving("auth-service", auth) as auth_server,
        serving("trading-engine", ping, **({"auth_address": auth_server.address} | changes)) as server,
        grpc.aio.insecure_channel(
            server.address, options=[("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        ) as channel,
    ):
        yield PingMesh(auth, server, ping, channel)


@asynccontextmanager
async def ping_process(auth_address: str, *, before: str = "") -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A ping server in a process of its own, and its address; killed at the end where it still runs.

    Args:
        auth_address: Of auth-service.
        before: Lines of the program before it serves.
    """
    program = (
        "from tests.support.mesh import settings\n"
        "from tests.support.ping import PingServicer\n"
        "from aac_grpc.common.server import Server, Service\n"
        "from aac_grpc.common.settings import ServiceSettings\n"
        "service = Service('analytics', ServiceSettings, lambda resources: [PingServicer()])\n"
        f"{before}\n"
        f"Server(service, settings('analytics', auth_address={auth_address!r})).run()\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line: dict[str, Any] = {}
        while line.get("event") != "serving":
            line = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        yield process, str(line["address"])
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def eventually(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Waits until a condition holds; fails where it does not in time."""
    for _ in range(int(timeout_s / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to hold")


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Metadata that carry a token."""
    return (("authorization", f"Bearer {token}"),)
