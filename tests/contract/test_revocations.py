"""A token that is revoked stops working everywhere: calls of all arities, open streams, and messages on them."""

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest

from aac_grpc.client.errors import AacError, StaleRevocations, Unauthenticated, from_rpc_error
from aac_grpc.common import revocations
from tests.support.mesh import AuthDouble, PingMesh, Signer, bearer, eventually, ping_mesh, serving
from tests.support.ping import ARITIES, PingServicer, Request, Response, WritingPingServicer, ping_pb2_grpc

STREAMS = ("ServerStream", "ClientStream", "Bidi")
STALE_S = 1.0


@pytest.fixture(params=[PingServicer, WritingPingServicer], ids=["generators", "writers"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[PingMesh]:
    async with ping_mesh(request.param()) as mesh:
        yield mesh


async def refusal(mesh: PingMesh, name: str, token: str) -> AacError:
    with pytest.raises(AacError) as refused:
        await mesh.call(name, metadata=bearer(token))
    return refused.value


async def until_known(mesh: PingMesh) -> None:
    """Waits until the server knows all that was revoked."""
    known = mesh.server.resources.revocations
    await eventually(lambda: known.fresh and len(known) == len(mesh.auth.revoked))


@pytest.mark.parametrize("name", ARITIES)
async def test_a_revoked_token_is_refused_whether_it_was_known_before_or_not(mesh: PingMesh, name: str) -> None:
    known = mesh.signer.token(jti="session-1.1")
    assert await mesh.call(name, metadata=bearer(known))
    mesh.auth.revoke(session_id="session-1")
    await until_known(mesh)
    for token in (known, mesh.signer.token(jti="session-1.2")):
        error = await refusal(mesh, name, token)
        assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "REVOKED_TOKEN")
    assert await mesh.call(name, metadata=bearer(mesh.signer.token(jti="session-2.1")))


@pytest.mark.parametrize("name", STREAMS)
async def test_an_open_stream_ends_when_its_token_is_revoked(
    mesh: PingMesh, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """While it is silent, in the middle of a handler's work."""
    call = mesh.begin(name, Request(act="sleep"), metadata=bearer(mesh.signer.token(jti="session-1.1")), timeout=60)
    other = mesh.begin(name, Request(act="sleep"), metadata=bearer(mesh.signer.token(jti="session-2.1")), timeout=60)
    await eventually(lambda: mesh.servicer.calls == 2)
    began = time.monotonic()
    mesh.auth.revoke(session_id="session-1")
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await (call.read() if name != "ClientStream" else call)
    with capsys.disabled():
        print(f"\n{name} ended {(time.monotonic() - began) * 1000:.1f} ms after the revocation")
    assert from_rpc_error(ended.value).reason == "REVOKED_TOKEN"
    await eventually(lambda: mesh.servicer.canceled == 1)
    assert not other.done()
    other.cancel()


async def test_all_tokens_of_a_user_before_a_change_are_refused_and_those_after_it_are_not(mesh: PingMesh) -> None:
    mesh.auth.revoke(user_id="ada", generation=3)
    await until_known(mesh)
    assert (await refusal(mesh, "Unary", mesh.signer.token("ada", gen=2))).reason == "REVOKED_TOKEN"
    assert (await refusal(mesh, "Unary", mesh.signer.token("ada", gen=None))).reason == "REVOKED_TOKEN"
    assert await mesh.call("Unary", metadata=bearer(mesh.signer.token("ada", gen=3)))


@pytest.mark.parametrize("end", ["revoked", "expired"])
async def test_no_message_is_taken_after_the_end_though_the_caller_reads_nothing(end: str) -> None:
    """The handler's write waits for the caller and can't be interrupted; its other task would go on reading."""

    class Deaf(PingServicer):
        taken = 0

        async def Bidi(self, requests, context):  # type: ignore[no-untyped-def]
            async def take() -> None:
                async for _ in requests:
                    self.taken += 1

            reading = asyncio.create_task(take())
            try:
                while True:
                    yield Response(text="x" * 65_536)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    deaf = Deaf()
    async with ping_mesh(deaf, rate_limits={}) as mesh:
        lifetime_s = 300 if end == "revoked" else 2
        token = mesh.signer.token(jti="session-1.1", lifetime_s=lifetime_s)
        stub = ping_pb2_grpc.PingServiceStub(mesh.channel)
        call = stub.Bidi(metadata=bearer(token), timeout=60)
        await call.write(Request())
        await eventually(lambda: deaf.taken == 1)
        await asyncio.sleep(0.2)  # until flow control has stopped the writer
        if end == "revoked":
            mesh.auth.revoke(session_id="session-1")
            await until_known(mesh)
        else:
            await asyncio.sleep(2)
        await asyncio.sleep(0.1)
        before = deaf.taken
        for _ in range(3):
            await call.write(Request())
        await asyncio.sleep(0.3)
        assert deaf.taken == before
        call.cancel()


async def test_audited_calls_are_refused_while_nobody_says_what_was_revoked_and_others_go_on() -> None:
    auth = AuthDouble(Signer())
    async with serving("auth-service", auth) as first:
        port = int(first.address.rpartition(":")[2])
        async with serving(
            "trading-engine", PingServicer(), auth_address=first.address, revocation_stale_s=STALE_S
        ) as server, grpc.aio.insecure_channel(server.address) as channel:  # fmt: skip
            mesh = PingMesh(auth, server, server.servicers[0], channel)  # type: ignore[arg-type]
            assert await mesh.call("Batch")
            stream = mesh.stub.AuditedBidi(metadata=mesh.metadata, timeout=60)
            await stream.write(Request())
            assert await stream.read()
            await first.stop()
            await eventually(lambda: not server.resources.revocations.fresh, 20)
            error = await refusal(mesh, "Batch", mesh.signer.token())
            assert isinstance(error, StaleRevocations)
            assert error.code is grpc.StatusCode.UNAVAILABLE
            assert error.retry_after == 1.0
            for name in ARITIES:
                assert await mesh.call(name)
            await stream.write(Request())
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                while True:
                    await stream.read()
            assert from_rpc_error(ended.value).reason == "STALE_REVOCATIONS"
            auth.revoke(session_id="session-1")
            async with serving("auth-service", auth, grpc_port=port):
                await eventually(lambda: server.resources.revocations.fresh, 20)
                assert await mesh.call("Batch")
                assert (await refusal(mesh, "Unary", mesh.signer.token(jti="session-1.1"))).reason == "REVOKED_TOKEN"


async def test_a_service_that_starts_while_auth_service_tells_nothing_serves_all_but_what_is_audited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(revocations, "FIRST_SNAPSHOT_S", 0.5)
    auth = AuthDouble(Signer())
    auth.failing = True
    async with serving("auth-service", auth) as auth_server, \
            serving("trading-engine", PingServicer(), auth_address=auth_server.address) as server, \
            grpc.aio.insecure_channel(server.address) as channel:  # fmt: skip
        mesh = PingMesh(auth, server, server.servicers[0], channel)  # type: ignore[arg-type]
        assert await mesh.call("Anonymous", metadata=())
        assert await mesh.call("Unary")
        assert isinstance(await refusal(mesh, "Batch", mesh.signer.token()), StaleRevocations)
        auth.failing = False
        await eventually(lambda: server.resources.revocations.fresh, 20)
        assert await mesh.call("Batch")


async def test_a_service_starts_while_auth_service_is_away() -> None:
    async with serving("trading-engine", PingServicer(), auth_address="127.0.0.1:1") as server, \
            grpc.aio.insecure_channel(server.address) as channel:  # fmt: skip
        mesh = PingMesh(AuthDouble(Signer()), server, server.servicers[0], channel)  # type: ignore[arg-type]
        assert await mesh.call("Anonymous", metadata=())


async def test_without_the_watch_nothing_is_refused() -> None:
    async with ping_mesh(revocation_watch=False) as mesh:
        assert await mesh.call("Batch")
        assert mesh.auth.watches == 0


async def test_a_bootstrap_secret_and_an_anonymous_caller_need_no_word_on_revocations() -> None:
    async with ping_mesh(revocation_stale_s=0.000001) as mesh:
        assert await mesh.call("Anonymous", metadata=())
        assert await mesh.call("Unary")
        with pytest.raises(StaleRevocations):
            await mesh.call("Batch")


async def test_a_refusal_for_revocation_says_that_the_caller_must_sign_in_again(mesh: PingMesh) -> None:
    mesh.auth.revoke(api_key_id="key-1")
    await until_known(mesh)
    error = await refusal(mesh, "Unary", mesh.signer.token(jti="key-1.7"))
    assert isinstance(error, Unauthenticated)
    assert "revoked" in error.message
