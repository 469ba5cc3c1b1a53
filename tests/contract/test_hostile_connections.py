"""Connections that do what no gRPC client does: each costs little, and nobody else notices."""

import asyncio
import contextlib
import struct

import grpc
import pytest

from aac_grpc.client.errors import AacError
from aac_grpc.client.retry import is_retryable
from aac_grpc.common.server import server_options
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.servicers.gateway.settings import GatewaySettings
from tests.support.http2 import (
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAX_CONCURRENT_STREAMS,
    PING,
    RST_STREAM,
    SETTINGS,
    Frame,
    call_headers,
    connect,
)
from tests.support.mesh import eventually, ping_mesh, settings
from tests.support.ping import SERVICE, Request

UNARY = f"/{SERVICE}/Unary"
CANCEL = struct.pack(">I", 8)


async def test_a_connection_has_so_many_streams_at_a_time_and_is_told_so() -> None:
    async with ping_mesh(max_streams_per_connection=5) as mesh, connect(mesh.server.address) as connection:
        await eventually(lambda: connection.of_kind(SETTINGS))
        told = connection.of_kind(SETTINGS)[0].payload
        pairs = dict(struct.unpack(">HI", told[at : at + 6]) for at in range(0, len(told), 6))
        assert pairs[MAX_CONCURRENT_STREAMS] == 5
        await connection.send(*(call_headers(2 * number + 1, UNARY) for number in range(50)))
        await eventually(lambda: len(connection.of_kind(RST_STREAM)) == 45, 30)
        assert len(mesh.server.half_open) == 5
        assert await mesh.call("Unary"), "on another connection"


async def test_streams_that_are_begun_and_reset_at_once_do_not_pile_up() -> None:
    """CVE-2023-44487: streams that are over for HTTP/2 and not for the process count as well."""
    async with (
        ping_mesh(max_streams_per_connection=20, shedding=False) as mesh,
        connect(mesh.server.address) as connection,
    ):
        for number in range(5000):
            connection.queue(call_headers(2 * number + 1, UNARY), Frame(RST_STREAM, 0, 2 * number + 1, CANCEL))
        await connection.send()
        assert await mesh.call("Unary")
        await connection.answered()
        assert await mesh.call("Unary")
        assert len(connection.of_kind(RST_STREAM)) > 2500, "refused before the process heard of them"
        assert mesh.server.shedding.arrived < 2500


async def test_what_a_grpc_client_sends_beyond_is_held_back_or_may_be_sent_again() -> None:
    async with ping_mesh(max_streams_per_connection=5) as mesh:
        ended = await asyncio.gather(*(mesh.call("Unary", timeout=60) for _ in range(50)), return_exceptions=True)
        assert all(is_retryable(one) for one in ended if isinstance(one, AacError))
        assert sum(isinstance(one, list) for one in ended) >= 5


async def test_metadata_pass_up_to_their_limit_and_never_above() -> None:
    async with ping_mesh() as mesh:
        limit = mesh.server.settings.max_metadata_bytes
        for _ in range(10):
            await mesh.call("Unary", metadata=(*mesh.metadata, ("x-large", "x" * (limit - 2000))))
            with pytest.raises(grpc.aio.AioRpcError, match=f"vs. {limit}") as refused:
                await mesh.begin("Unary", metadata=(*mesh.metadata, ("x-large", "x" * (limit + 1))))
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_services_take_what_the_gateway_takes_and_adds() -> None:
    gateway, service = GatewaySettings(), ServiceSettings()
    assert service.max_metadata_bytes >= gateway.max_metadata_bytes + (8 << 10)
    assert service.max_streams_per_connection >= 2 * gateway.max_streams


async def test_a_connection_that_says_nothing_is_closed() -> None:
    name = "grpc.server_handshake_timeout_ms"
    options = dict(server_options(settings("trading-engine")))
    assert options[name] <= 10_000
    server = grpc.aio.server(options=[*(options | {name: 300}).items()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        while await reader.read(4096):
            pass
    writer.close()
    await server.stop(None)


async def test_who_pings_without_end_is_sent_away() -> None:
    async with ping_mesh() as mesh, connect(mesh.server.address) as connection:
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                await connection.send(*[Frame(PING, 0, 0, b"01234567")] * 10)
                await asyncio.sleep(0.01)
        await eventually(lambda: connection.of_kind(GOAWAY), 30)
        assert await mesh.call("Unary")


async def test_a_call_that_ends_without_its_message_is_none() -> None:
    async with ping_mesh() as mesh, connect(mesh.server.address) as connection:
        headers = call_headers(1, UNARY)
        await connection.send(Frame(HEADERS, headers.flags | END_STREAM, 1, headers.payload))
        await eventually(lambda: not len(mesh.server.half_open))
        assert await mesh.call("Unary", Request())


@pytest.mark.parametrize(
    "path", [b"/aac\xff.x/\xc3(", b"\xff", b"/\xf0\x28\x8c\x28/Unary", f"{UNARY}\x80".encode("latin-1")]
)
async def test_a_path_that_is_no_text_fails_its_own_call_and_ends_no_server(path: bytes) -> None:
    """With grpcio 1.84 and 1.85 it ends the loop that takes calls, and with it the server (docs/decisions/0026)."""
    async with ping_mesh() as mesh, connect(mesh.server.address) as connection:
        for number in range(20):
            await connection.send(call_headers(2 * number + 1, path))
        await eventually(lambda: {frame.stream for frame in connection.of_kind(HEADERS)} == {*range(1, 41, 2)}, 30)
        assert not connection.of_kind(GOAWAY)
        assert await mesh.call("Unary", Request())
