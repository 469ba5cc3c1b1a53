"""Revocation within a second, everywhere: revoked at one auth-service, refused by services that follow another one."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import jwt
import pytest
from aac.auth.v1 import auth_pb2
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub
from aac.trading.v1.trading_pb2 import GetAccountRequest, WatchOrdersRequest
from aac.trading.v1.trading_pb2_grpc import TradingServiceStub
from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import ResumePoint
from grpc import aio

from aac_grpc.client.errors import AacError, InvalidField, NotFound, PermissionDenied, Unauthenticated, from_rpc_error
from aac_grpc.common.server import Server
from tests.integration.gateway_platform import GatewayPlatform, gateway_platform
from tests.integration.services import ADMIN, DEMO, Caller, Callers, auth_serving, free_address, service_token, sign_in

pytestmark = pytest.mark.timeout(180)

A_SECOND = 10.0
"""What tests give the platform for what it does in a second, for they may run on a machine that has no time."""
PASSWORD = "a password for tests"


@pytest.fixture(scope="module")
async def platform(backends: Mapping[str, str]) -> AsyncIterator[GatewayPlatform]:
    async with gateway_platform(backends) as running:
        yield running


@pytest.fixture(scope="module")
async def other(platform: GatewayPlatform) -> AsyncIterator[Server]:
    """Another instance of auth-service, which no service of the platform knows of."""
    async with auth_serving(platform.installation) as server:
        yield server


@pytest.fixture(scope="module")
async def venue(platform: GatewayPlatform) -> str:
    return await platform.new_venue()


@pytest.fixture
async def admin(other: Server, callers: Callers) -> Caller:
    tokens = (await sign_in(other.address, *ADMIN)).tokens
    return callers.add(AuthServiceStub, other, token=tokens.access_token)


class Use:
    """A credential in use: a unary call again and again, and an open stream.

    Attributes:
        reason: Why the stream ended.
    """

    def __init__(self, address: str, venue: str, metadata: Any) -> None:
        self._channel = aio.insecure_channel(address)
        self._stub = TradingServiceStub(self._channel)
        self._venue = venue
        self._metadata = metadata
        self._stream = self._stub.WatchOrders(WatchOrdersRequest(venue=venue), metadata=metadata, timeout=60)

    async def begin(self) -> None:
        """Both work."""
        assert await self.call() is None
        await self._stream.read()

    async def call(self) -> AacError | None:
        """The error of a unary call; None where it passes."""
        try:
            await self._stub.GetAccount(GetAccountRequest(venue=self._venue), metadata=self._metadata, timeout=10)
        except aio.AioRpcError as error:
            return from_rpc_error(error)
        return None

    async def refused(self) -> float:
        """When a unary call was refused as revoked."""
        async with asyncio.timeout(A_SECOND):
            while (error := await self.call()) is None:  # noqa: ASYNC110 what is waited for happens elsewhere
                await asyncio.sleep(0.005)
        assert (type(error), error.reason) == (Unauthenticated, "REVOKED_TOKEN")
        return time.monotonic()

    async def ended(self) -> float:
        """When the stream ended as revoked."""
        with pytest.raises(aio.AioRpcError) as failure:
            async with asyncio.timeout(A_SECOND):
                while await self._stream.read() is not aio.EOF:
                    pass
        assert from_rpc_error(failure.value).reason == "REVOKED_TOKEN"
        return time.monotonic()

    async def close(self) -> None:
        await self._channel.close()


@pytest.fixture
async def use(platform: GatewayPlatform, venue: str) -> AsyncIterator[Callable[..., Awaitable[Use]]]:
    """Begins to use credentials at the engine, or through the gateway."""
    opened: list[Use] = []

    async def begin(*metadata: tuple[str, str], server: Server | None = None) -> Use:
        opened.append(Use((server or platform.gateway).address, venue, metadata))
        await opened[-1].begin()
        return opened[-1]

    yield begin
    for one in opened:
        await one.close()


async def measure(what: str, revoke: Awaitable[Any], *uses: Use) -> str:
    """Revokes; waits until all uses are refused and ended, and says in words how long that took."""
    ended = asyncio.gather(*(one.ended() for one in uses))
    began = time.monotonic()
    await revoke
    told = time.monotonic()
    refused, ends = await asyncio.gather(*(one.refused() for one in uses)), await ended
    unary, streams = ((max(times) - began) * 1000 for times in (refused, ends))
    return (
        f"{what}: revoked in {(told - began) * 1000:.0f} ms; from its beginning on, calls were refused after "
        f"{unary:.0f} ms and streams ended after {streams:.0f} ms"
    )


async def new_user(admin: Caller, role: int = auth_pb2.ROLE_TRADER) -> auth_pb2.User:
    name = f"u-{secrets.token_hex(4)}"
    person: Any = {"username": name, "password": PASSWORD, "role": role, "account_ids": ["demo"]}
    user: auth_pb2.User = (await admin.CreateUser(auth_pb2.CreateUserRequest(request_id=name, **person))).user
    return user


def bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


async def test_a_logout_at_one_instance_ends_calls_and_streams_at_services_that_follow_another(
    platform: GatewayPlatform, other: Server, callers: Callers, use: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, kept = [(await sign_in(other.address, *DEMO)).tokens.access_token for _ in range(2)]
    uses = [await use(bearer(mine)), await use(bearer(mine), server=platform.services.engine)]
    unharmed = await use(bearer(kept))
    logout = callers.add(AuthServiceStub, other, token=mine).Logout(auth_pb2.LogoutRequest())
    told = await measure("a session, by its token", logout, *uses)
    with capsys.disabled():
        print(f"\n{told}")
    assert await unharmed.call() is None


async def test_a_revoked_api_key_stops_working_through_the_gateway(
    other: Server, callers: Callers, use: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = callers.add(AuthServiceStub, other, token=(await sign_in(other.address, *DEMO)).tokens.access_token)
    keys = [
        (await owner.CreateApiKey(auth_pb2.CreateApiKeyRequest(request_id=name, name=name, scopes=["accounts:read",
         "orders:read"]))).secret for name in ("revoked", "kept")
    ]  # fmt: skip
    revoked, kept = [await use(("x-api-key", key)) for key in keys]
    request = auth_pb2.RevokeApiKeyRequest(key_id=keys[0].split("_")[1])
    told = await measure("an API key, through the gateway", owner.RevokeApiKey(request), revoked)
    with capsys.disabled():
        print(f"\n{told}")
    assert await kept.call() is None


async def test_a_disabled_user_is_shut_out_with_all_keys_and_sessions_until_enabled_again(
    other: Server, admin: Caller, callers: Callers, use: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    user = await new_user(admin)
    tokens = (await sign_in(other.address, user.username, PASSWORD)).tokens
    owner = callers.add(AuthServiceStub, other, token=tokens.access_token)
    key = (await owner.CreateApiKey(auth_pb2.CreateApiKeyRequest(request_id="k", name="k"))).secret
    uses = [await use(bearer(tokens.access_token)), await use(("x-api-key", key))]
    disable = admin.DisableUser(auth_pb2.DisableUserRequest(username=user.username))
    told = await measure("a user", disable, *uses)
    with capsys.disabled():
        print(f"\n{told}")
    with pytest.raises(Unauthenticated):
        await sign_in(other.address, user.username, PASSWORD)
    enabled = (await admin.EnableUser(auth_pb2.EnableUserRequest(username=user.username))).user
    assert not enabled.disabled
    assert list(enabled.account_ids) == ["demo"]
    refresh = auth_pb2.RefreshRequest(refresh_token=tokens.refresh_token, request_id="again")
    with pytest.raises(Unauthenticated) as ended:
        await owner.Refresh(refresh)
    assert ended.value.reason == "REVOKED_TOKEN"
    again = (await sign_in(other.address, user.username, PASSWORD)).tokens.access_token
    await use(bearer(again))


async def test_a_changed_user_refreshes_and_goes_on_with_the_new_rights(
    other: Server, admin: Caller, callers: Callers, use: Any
) -> None:
    user = await new_user(admin)
    tokens = (await sign_in(other.address, user.username, PASSWORD)).tokens
    before = await use(bearer(tokens.access_token))
    change = auth_pb2.UpdateUserRequest(username=user.username, role=auth_pb2.ROLE_VIEWER, account_ids=["demo"])
    assert (await admin.UpdateUser(change)).user.role == auth_pb2.ROLE_VIEWER
    await asyncio.gather(before.refused(), before.ended())
    anybody = callers.add(AuthServiceStub, other)
    refresh = auth_pb2.RefreshRequest(refresh_token=tokens.refresh_token, request_id="after")
    access = (await anybody.Refresh(refresh)).tokens.access_token
    await use(bearer(access))
    viewer = callers.add(AuthServiceStub, other, token=access)
    with pytest.raises(PermissionDenied):
        await viewer.CreateApiKey(auth_pb2.CreateApiKeyRequest(request_id="k", name="k"))
    # The same again is no change, and revokes nothing.
    await admin.UpdateUser(change)
    assert await viewer.ListSessions(auth_pb2.ListSessionsRequest())


async def test_sessions_are_listed_and_revoked_by_their_owner_or_an_administrator(
    other: Server, admin: Caller, callers: Callers, use: Any
) -> None:
    user, stranger = await new_user(admin), await new_user(admin)
    first, second = [(await sign_in(other.address, user.username, PASSWORD)).tokens for _ in range(2)]
    mine = callers.add(AuthServiceStub, other, token=second.access_token)
    listed = (await mine.ListSessions(auth_pb2.ListSessionsRequest())).sessions
    assert [session.current for session in listed] == [True, False]
    phone = await use(bearer(first.access_token))
    theirs = (await sign_in(other.address, stranger.username, PASSWORD)).tokens.access_token
    request = auth_pb2.RevokeSessionRequest(session_id=listed[1].session_id)
    with pytest.raises(NotFound):
        await callers.add(AuthServiceStub, other, token=theirs).RevokeSession(request)
    revoked = (await mine.RevokeSession(request)).session
    assert revoked.HasField("revoked_at")
    assert (await mine.RevokeSession(request)).session == revoked
    await asyncio.gather(phone.refused(), phone.ended())
    own = await use(bearer(second.access_token))
    await admin.RevokeSession(auth_pb2.RevokeSessionRequest(session_id=listed[0].session_id))
    await asyncio.gather(own.refused(), own.ended())


async def test_an_administrator_can_neither_disable_nor_change_the_own_user_nor_that_of_another_firm(
    admin: Caller,
) -> None:
    for request in (
        admin.DisableUser(auth_pb2.DisableUserRequest(username=ADMIN[0])),
        admin.UpdateUser(auth_pb2.UpdateUserRequest(username=ADMIN[0], role=auth_pb2.ROLE_VIEWER)),
    ):
        with pytest.raises(AacError) as refused:
            await request
        assert [one.field for one in refused.value.violations] == ["username"]
    with pytest.raises(NotFound):
        await admin.DisableUser(auth_pb2.DisableUserRequest(username="nobody"))
    with pytest.raises(AacError) as refused:
        await admin.UpdateUser(
            auth_pb2.UpdateUserRequest(username=DEMO[0], role=auth_pb2.ROLE_TRADER, account_ids=["nobodys"])
        )
    assert InvalidField("account_ids[0]", "").reason == refused.value.reason


async def test_a_session_whose_refresh_token_was_stolen_ends_with_its_access_tokens(
    other: Server, callers: Callers, use: Any
) -> None:
    anybody = callers.add(AuthServiceStub, other)
    tokens = (await sign_in(other.address, *DEMO)).tokens
    using = await use(bearer(tokens.access_token))
    stolen = {"refresh_token": tokens.refresh_token}
    await anybody.Refresh(auth_pb2.RefreshRequest(request_id="mine", **stolen))
    with pytest.raises(Unauthenticated):
        await anybody.Refresh(auth_pb2.RefreshRequest(request_id="thief", **stolen))
    await asyncio.gather(using.refused(), using.ended())


async def test_a_program_goes_on_by_itself_where_its_users_rights_were_changed(
    platform: GatewayPlatform, venue: str
) -> None:
    """The SDK refreshes its token, and its streams are resumed."""
    name = f"u-{secrets.token_hex(4)}"
    async with platform.client(username=ADMIN[0], password=ADMIN[1]) as admin:
        await admin.create_user(name, PASSWORD, "trader", accounts=["demo"])
        async with platform.client(username=name, password=PASSWORD) as program:
            await program.place_order("GOOG", "buy", 1, price="1", account="demo", venue=venue)
            before = await program.access_token()
            updates = program.watch_orders("demo", venue=venue)
            await anext(updates)
            await admin.update_user(name, "trader", accounts=["demo", "demo"])
            assert await program.access_token() == before  # the same rights: nothing was revoked
            await admin.update_user(name, "admin", accounts=["demo"])
            waiting = asyncio.ensure_future(anext(updates))
            async with asyncio.timeout(A_SECOND):
                while await program.access_token() == before:  # noqa: ASYNC110 the stream's own task renews it
                    await asyncio.sleep(0.02)
            await program.place_order("GOOG", "buy", 1, price="1", account="demo", venue=venue)
            assert await asyncio.wait_for(waiting, A_SECOND)


async def test_an_administrator_may_act_on_a_new_account_at_once(platform: GatewayPlatform, venue: str) -> None:
    account = f"acc-{secrets.token_hex(4)}"
    async with platform.client(username=ADMIN[0], password=ADMIN[1]) as admin:
        await admin.create_account(account)
        assert (await admin.open_account(account, 1000, "USD", venue=venue)).account_id == account


async def test_whoever_logs_out_twice_is_out(platform: GatewayPlatform, venue: str) -> None:
    """The first answer may have been lost."""
    async with platform.client() as first:
        token = await first.access_token()
        await first.logout()
    async with platform.client(token=token) as second:
        async with asyncio.timeout(A_SECOND):
            with pytest.raises(Unauthenticated):
                while await second.account("demo", venue=venue):
                    await second.logout()
        await second.logout()


# What the stream of revocations itself promises.


class Watch:
    """A stream of revocations as a service reads it.

    Attributes:
        frames: All that came.
    """

    def __init__(self, address: str, token: str, resume: ResumePoint | None = None) -> None:
        self._channel = aio.insecure_channel(address)
        request = auth_pb2.WatchRevocationsRequest(resume=resume)
        self._call = AuthServiceStub(self._channel).WatchRevocations(request, metadata=(bearer(token),), timeout=60)
        self.frames: list[auth_pb2.WatchRevocationsResponse] = []

    async def read(self) -> auth_pb2.WatchRevocationsResponse:
        async with asyncio.timeout(A_SECOND):
            self.frames.append(await self._call.read())
        return self.frames[-1]

    async def until(self, sessions: set[str]) -> list[str]:
        """Reads until these sessions have come; gives them in the order of their revocation."""
        while not sessions <= {one.session_id for frame in self.frames for one in frame.revocations}:
            await self.read()
        all_of_them = (one.session_id for frame in self.frames for one in frame.revocations)
        return [session for session in all_of_them if session in sessions]

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()


def kinds(watch: Watch) -> list[str]:
    names = [stream_pb2.FrameKind.Name(frame.header.kind).removeprefix("FRAME_KIND_") for frame in watch.frames]
    return [name for name in names if name != "HEARTBEAT"]


def point(watch: Watch) -> ResumePoint:
    header = watch.frames[-1].header
    return ResumePoint(topic=stream_pb2.TOPIC_REVOCATIONS, epoch=header.epoch, sequence=header.sequence)


async def log_out(*servers: Server) -> set[str]:
    """Ends a session at each server, all at the same time; gives their ids."""
    callers, sessions = [], set()
    for server in servers:  # one after the other, because tries at the same time count as guesses
        tokens = (await sign_in(server.address, *DEMO)).tokens
        callers.append(Caller(AuthServiceStub, server.address, token=tokens.access_token))
        claims = jwt.decode(tokens.access_token, options={"verify_signature": False})
        sessions.add(claims["jti"].partition(".")[0])
    await asyncio.gather(*(caller.Logout(auth_pb2.LogoutRequest()) for caller in callers))
    await asyncio.gather(*(caller.channel.close() for caller in callers))
    return sessions


async def test_a_watch_begins_with_all_that_matters_and_goes_on_without_a_hole_whoever_revokes(
    platform: GatewayPlatform, other: Server
) -> None:
    token = await service_token(other, "risk-management")
    before = await log_out(other)
    async with Watch(platform.services.auth.address, token) as watch, Watch(other.address, token) as second:
        for one in (watch, second):
            await one.until(before)
            assert kinds(one)[0] == "SNAPSHOT"
        sessions = await log_out(*([other, platform.services.auth] * 6))
        order = await watch.until(sessions)
        assert len(order) == 12
        assert await second.until(sessions) == order
        for one in (watch, second):
            begun, *covered = [(frame.header.first_sequence, frame.header.sequence) for frame in one.frames
                               if frame.header.kind != stream_pb2.FRAME_KIND_HEARTBEAT]  # fmt: skip
            assert [first - 1 for first, _ in covered] == [begun[1], *(last for _, last in covered[:-1])]
            while one.frames[-1].header.kind != stream_pb2.FRAME_KIND_HEARTBEAT:
                await one.read()
            assert one.frames[-1].header.sequence == covered[-1][1]


async def test_a_watch_that_resumes_after_a_restart_misses_nothing(platform: GatewayPlatform, other: Server) -> None:
    """What was revoked at another instance meanwhile comes as updates: neither a gap nor a snapshot."""
    token = await service_token(other, "risk-management")
    port = int(free_address().rpartition(":")[2])
    async with auth_serving(platform.installation, grpc_port=port) as server, Watch(server.address, token) as watch:
        await watch.read()
        here = point(watch)
    sessions = await log_out(other, other, other)
    async with auth_serving(platform.installation, grpc_port=port) as restarted, \
            Watch(restarted.address, token, here) as watch:  # fmt: skip
        assert len(await watch.until(sessions)) == 3
        assert set(kinds(watch)) == {"UPDATE"}
    before_all = ResumePoint(topic=stream_pb2.TOPIC_REVOCATIONS, epoch=here.epoch - 1, sequence=1)
    async with Watch(other.address, token, before_all) as watch:
        while (await watch.read()).header.kind != stream_pb2.FRAME_KIND_SNAPSHOT:
            assert kinds(watch) == ["GAP"]
        assert await watch.until(sessions)
