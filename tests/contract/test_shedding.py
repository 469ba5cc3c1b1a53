"""What callers see while load is shed, and of the limits on open streams."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY

from aac_grpc.client.errors import AacError, Overloaded, TooManyStreams, from_rpc_error
from aac_grpc.client.retry import is_retryable
from tests.support.mesh import PingMesh, bearer, eventually, ping_mesh
from tests.support.ping import ARITIES, SERVICE, PingServicer, Request, WritingPingServicer

NORMAL_IS_SHED, ALL_BUT_CRITICAL_IS_SHED = 2.0, 3.0


@pytest.fixture(scope="module", params=[PingServicer, WritingPingServicer], ids=["generators", "writers"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[PingMesh]:
    async with ping_mesh(request.param()) as mesh:
        yield mesh


@contextlib.contextmanager
def shedding(mesh: PingMesh, pressure: float) -> Iterator[None]:
    """The server sheds so much, whatever it measures."""
    admission = mesh.server.shedding.admission
    admission.observe = lambda *_, **__: None  # type: ignore[method-assign]
    admission.pressure = pressure
    try:
        yield
    finally:
        admission.pressure = 0.0
        del admission.observe


async def refusal(mesh: PingMesh, name: str, **options: Any) -> AacError:
    with pytest.raises(AacError) as failed:
        await mesh.call(name, **options)
    return failed.value


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize("arity", ARITIES)
async def test_what_is_shed_is_refused_before_the_handler_with_a_time_to_come_back(mesh: PingMesh, arity: str) -> None:
    calls = mesh.servicer.calls
    with shedding(mesh, NORMAL_IS_SHED):
        error = await refusal(mesh, arity, metadata=(*mesh.metadata, ("x-request-id", "mine")))
    assert type(error) is Overloaded
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.request_id == "mine"
    assert error.metadata == {"priority": "NORMAL"}
    assert error.retry_after is not None
    assert error.retry_after > 0
    assert is_retryable(error)
    assert mesh.servicer.calls == calls


async def test_callers_that_are_shed_are_not_told_to_come_back_at_the_same_moment(mesh: PingMesh) -> None:
    with shedding(mesh, NORMAL_IS_SHED):
        times = {(await refusal(mesh, "Unary")).retry_after for _ in range(8)}
    assert len(times) == 8


async def test_what_is_critical_is_never_shed(mesh: PingMesh) -> None:
    service = bearer(mesh.signer.token("risk-management", kind="service", scopes=("internal",), accounts=("*",)))
    with shedding(mesh, ALL_BUT_CRITICAL_IS_SHED):
        assert await mesh.call("Internal", metadata=service)
        assert await mesh.call("InternalStream", metadata=service)
        health = await health_pb2_grpc.HealthStub(mesh.channel).Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING


async def test_calls_that_are_shed_are_counted_as_calls_and_by_priority(mesh: PingMesh) -> None:
    method = {"grpc_type": "unary", "grpc_service": SERVICE, "grpc_method": "Unary"}

    def all_counts() -> list[float]:
        return [
            counted("grpc_server_started_total", **method),
            counted("grpc_server_handled_total", **method, grpc_code="RESOURCE_EXHAUSTED"),
            counted("aac_shed_total", priority="NORMAL"),
        ]

    before = all_counts()
    with shedding(mesh, NORMAL_IS_SHED):
        for _ in range(3):
            await refusal(mesh, "Unary")
    assert [now - then for now, then in zip(all_counts(), before, strict=True)] == [3, 3, 3]


async def test_a_stream_that_is_open_goes_on_while_load_is_shed(mesh: PingMesh) -> None:
    stream = mesh.method("Bidi")(metadata=mesh.metadata, timeout=30)
    await stream.write(Request())
    assert (await stream.read()).count == 1
    with shedding(mesh, ALL_BUT_CRITICAL_IS_SHED):
        await stream.write(Request())
        assert (await stream.read()).count == 2
    stream.cancel()


async def test_hundreds_of_calls_at_once_are_all_served(mesh: PingMesh) -> None:
    await asyncio.gather(*(mesh.call("Unary", timeout=60) for _ in range(300)))


async def test_the_wait_of_calls_is_measured_while_calls_come_in_and_not_otherwise(mesh: PingMesh) -> None:
    sheds = mesh.server.shedding
    arrivals = []
    for _ in range(20):
        await mesh.call("Unary")
        arrivals.append(sheds.admission.delay_s)
        await asyncio.sleep(0.05)
    assert any(arrivals)
    await eventually(lambda: sheds.admission.delay_s == 0.0, timeout_s=30)


async def test_nobody_finds_the_path_by_which_the_process_calls_itself() -> None:
    async with ping_mesh() as mesh:
        (path,) = mesh.server.shedding.pulse()
        assert len(path.rpartition("/")[2]) == 32
        assert path not in str(mesh.server.resources.health.serving)


async def open_stream(mesh: PingMesh, subject: str = "user-1", **options: Any) -> Any:
    """A stream that was begun.

    Raises:
        AacError: It was refused.
    """
    metadata = options.pop("metadata", bearer(mesh.signer.token(subject)))
    stream = mesh.method("Bidi")(metadata=metadata, timeout=60)
    try:
        await stream.write(Request())
        await stream.read()
        if stream.done():
            raise from_rpc_error(grpc.aio.AioRpcError(await stream.code(), None, await stream.trailing_metadata()))
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    return stream


async def test_a_caller_has_so_many_streams_and_no_more_until_one_ends() -> None:
    async with ping_mesh(max_streams_per_principal=2) as mesh:
        first, _second = await open_stream(mesh), await open_stream(mesh)
        with pytest.raises(TooManyStreams) as refused:
            await open_stream(mesh)
        error = refused.value
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.metadata["limit"] == "2"
        assert error.metadata["owner"] == "user:user-1"
        assert "AAC_MAX_STREAMS_PER_PRINCIPAL" in error.message
        assert not is_retryable(error)
        await open_stream(mesh, "user-2")
        assert await mesh.call("Unary")
        first.cancel()
        for _ in range(100):
            with contextlib.suppress(TooManyStreams):
                await open_stream(mesh)
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("the stream that ended still counts")


async def test_services_have_no_limit_of_streams() -> None:
    async with ping_mesh(max_streams_per_principal=1) as mesh:
        scopes = ("internal", "orders:read")
        service = bearer(mesh.signer.token("risk-management", kind="service", scopes=scopes, accounts=("*",)))
        for _ in range(3):
            await open_stream(mesh, metadata=service)


async def test_who_has_not_signed_in_has_streams_by_address() -> None:
    async with ping_mesh(max_streams_per_principal=2) as mesh:
        watch = health_pb2_grpc.HealthStub(mesh.channel).Watch
        watches = [watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        for one in watches:
            await one.read()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await watch(health_pb2.HealthCheckRequest()).read()
        error = from_rpc_error(refused.value)
        assert type(error) is TooManyStreams
        assert error.metadata["owner"] == "anonymous:127.0.0.1"
        for one in watches:
            one.cancel()


async def test_a_process_has_so_many_streams_whoever_opens_them() -> None:
    async with ping_mesh(max_streams=2) as mesh:
        await open_stream(mesh, "user-1")
        await open_stream(mesh, "user-2")
        with pytest.raises(TooManyStreams) as refused:
            await open_stream(mesh, "user-3")
        assert refused.value.metadata["setting"] == "AAC_MAX_STREAMS"
