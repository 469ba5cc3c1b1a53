"""The life of a service process: start, admin HTTP, metrics, fail-fast, shutdown."""

import asyncio
import json
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from aac_grpc.client.errors import DependencyUnavailable, Draining, from_rpc_error
from aac_grpc.common.breaker import BreakerState
from aac_grpc.common.contract import ContractError
from aac_grpc.common.server import Server, Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.common.settings import ServiceSettings
from tests.support.mesh import PingMesh, eventually, ping_mesh, ping_process, serving, settings
from tests.support.ping import SERVICE, PingServicer, Request, Response, compile_proto, ping_pb2_grpc


@pytest.fixture
async def mesh() -> AsyncIterator[PingMesh]:
    async with ping_mesh() as mesh:
        yield mesh


async def get(server: Server, path: str) -> tuple[int, str]:
    """An admin page: status and text."""

    def fetch() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{server.admin_address}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(fetch)


def value(metrics: str, name: str, **labels: str) -> float | None:
    """A sample of a metrics page."""
    for line in metrics.splitlines():
        found = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
        if found and found[1] == name and dict(re.findall(r'(\w+)="([^"]*)"', found[2])) == labels:
            return float(found[3])
    return None


async def test_health_and_readiness_are_told_over_http(mesh: PingMesh) -> None:
    assert (await get(mesh.server, "/health"))[0] == 200
    status, text = await get(mesh.server, "/ready")
    assert (status, json.loads(text)["serving"]) == (200, True)
    assert (await get(mesh.server, "/nothing"))[0] == 404
    mesh.server.resources.health.set_serving(False)
    assert (await get(mesh.server, "/ready"))[0] == 503


async def test_a_process_without_a_required_dependency_is_not_ready_and_says_which() -> None:
    up = True

    async def check() -> None:
        if not up:
            raise ConnectionError("refused")

    async with ping_mesh() as mesh:
        health = mesh.server.resources.health
        health.add_check("postgresql", check, required=True)
        health.add_check("redis", check, required=False)
        await health.check_all()
        assert (await get(mesh.server, "/ready"))[0] == 200
        up = False
        await health.check_all()
        status, text = await get(mesh.server, "/ready")
        assert status == 503
        assert json.loads(text)["dependencies"]["postgresql"] == {"up": False, "required": True, "error": "refused"}
        health.dependencies["postgresql"].required = False
        assert (await get(mesh.server, "/ready"))[0] == 200


async def test_a_process_whose_task_failed_for_good_is_not_ready(mesh: PingMesh) -> None:
    async def fail() -> None:
        raise ValueError("broken")

    mesh.server.resources.tasks.spawn(fail, name="projection", restart=False)
    await asyncio.sleep(0.05)
    status, text = await get(mesh.server, "/ready")
    assert (status, json.loads(text)["failed_tasks"]) == (503, ["projection"])


async def test_a_stuck_event_loop_is_seen_from_outside() -> None:
    from aac_grpc.common import admin

    async with ping_mesh() as mesh:
        address = mesh.server.admin_address
        program = (
            "import sys, time, urllib.request, urllib.error\n"
            "time.sleep(0.8)\n"
            f"try: urllib.request.urlopen('http://{address}/health', timeout=5)\n"
            "except urllib.error.HTTPError as error: print(error.code)\n"
        )
        limit, admin.STUCK_AFTER_S = admin.STUCK_AFTER_S, 0.5
        try:
            probe = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
            await asyncio.sleep(0.1)
            time.sleep(2)  # noqa: ASYNC251 this is what is tested
            output, _ = await probe.communicate()
        finally:
            admin.STUCK_AFTER_S = limit
        assert output.decode().strip() == "503"


async def test_callers_of_the_admin_pages_that_fall_silent_are_cut_off(
    mesh: PingMesh, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from aac_grpc.common import admin

    monkeypatch.setattr(admin._Quiet, "timeout", 0.2)
    silent = [await asyncio.open_connection(*mesh.server.admin_address.split(":")) for _ in range(20)]
    for _, writer in silent:
        writer.write(b"GET /hea")
    assert (await get(mesh.server, "/health"))[0] == 200
    async with asyncio.timeout(5):
        assert {await reader.read() for reader, _ in silent} == {b""}
    assert "Traceback" not in capfd.readouterr().err


async def test_every_method_has_its_metrics_at_zero_before_its_first_call(mesh: PingMesh) -> None:
    _, text = await get(mesh.server, "/metrics")
    labels = {"grpc_type": "bidi_stream", "grpc_service": "grpc.reflection.v1.ServerReflection"}
    labels["grpc_method"] = "ServerReflectionInfo"
    for name in ("started", "msg_received", "msg_sent"):
        assert value(text, f"grpc_server_{name}_total", **labels) is not None
    assert value(text, "grpc_server_handled_total", **labels, grpc_code="DATA_LOSS") == 0
    assert value(text, "grpc_server_handling_seconds_count", **labels) is not None
    assert value(text, "grpc_server_handling_seconds_bucket", **labels, le="+Inf") is not None


async def test_calls_and_messages_are_counted_for_all_arities(mesh: PingMesh) -> None:
    async def counts(kind: str, method: str) -> dict[str, float]:
        _, text = await get(mesh.server, "/metrics")
        labels = {"grpc_type": kind, "grpc_service": SERVICE, "grpc_method": method}
        found = {n: value(text, f"grpc_server_{n}_total", **labels) for n in ("started", "msg_received", "msg_sent")}
        found["items"] = value(text, "aac_server_items_sent_total", **labels)
        for code in ("OK", "NOT_FOUND"):
            found[code] = value(text, "grpc_server_handled_total", **labels, grpc_code=code)
        found["timed"] = value(text, "grpc_server_handling_seconds_count", **labels)
        return {name: number or 0 for name, number in found.items()}

    cases = {
        ("unary", "Unary"): ([Request()], (1, 1, 1, 0)),
        ("server_stream", "ServerStream"): ([Request(act="encoded", count=3)], (1, 1, 3, 300)),
        ("client_stream", "ClientStream"): ([Request()] * 4, (1, 4, 1, 1)),
        ("bidi_stream", "Bidi"): ([Request()] * 5, (1, 5, 5, 5)),
    }
    for (kind, method), (requests, expected) in cases.items():
        before = await counts(kind, method)
        await mesh.call(method, *requests)
        with pytest.raises(Exception, match="there is no thing"):
            await mesh.call(method, Request(act="missing"))
        after = await counts(kind, method)
        moved = {name: after[name] - before[name] for name in after}
        assert (moved["OK"], moved["NOT_FOUND"], moved["timed"], moved["started"]) == (1, 1, 2, 2)
        assert (moved["msg_received"], moved["msg_sent"], moved["items"]) == (expected[1] + 1, expected[2], expected[3])


async def test_calls_fail_at_once_while_a_required_dependency_is_down() -> None:
    servicer = PingServicer()
    async with (
        ping_mesh() as other,
        serving(
            "risk-management", servicer, requires=["postgresql"], auth_address=other.server.settings.auth_address
        ) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        mesh = PingMesh(other.auth, server, servicer, channel)
        breaker = server.resources.breakers.get("postgresql")
        for _ in range(5):
            breaker.check()
            breaker.failed()
        for name in ("Unary", "ServerStream", "ClientStream", "Bidi"):
            with pytest.raises(DependencyUnavailable) as refusal:
                await mesh.call(name)
            assert refusal.value.metadata == {"dependency": "postgresql"}
            assert refusal.value.retry_after is not None
        assert servicer.calls == 0
        await eventually(lambda: breaker.state is BreakerState.HALF_OPEN)
        assert await mesh.call("Unary"), "a half-open breaker lets calls through to probe it"
        _, text = await get(server, "/metrics")
        assert value(text, "aac_breaker_state", dependency="postgresql") == 2


async def test_a_method_without_a_policy_stops_the_server_from_starting() -> None:
    _, bare = compile_proto("bare")

    class BareServicer(Servicer, bare.BareServiceServicer):
        async def Get(self, request: Any, context: Any) -> Any:
            return request

    with pytest.raises(ContractError, match=r"aac.testing.bare.v1.BareService/Get has no"):
        async with serving("analytics", BareServicer()):
            pass


async def test_a_servicer_of_no_service_stops_the_server_from_starting() -> None:
    with pytest.raises(TypeError, match="inherits no generated servicer"):
        async with serving("analytics", Servicer()):
            pass


async def test_servicers_start_before_the_first_call_and_stop_after_the_last() -> None:
    story: list[str] = []

    class Telling(PingServicer):
        async def start(self) -> None:
            story.append("start")

        async def Unary(self, request: Any, context: Any) -> Any:
            story.append("call begins")
            await asyncio.sleep(0.3)
            story.append("call ends")
            return Response()

        async def drain(self) -> None:
            story.append("drain")

        async def stop(self) -> None:
            story.append("stop")

    async with ping_mesh(Telling()) as mesh:
        calling = asyncio.ensure_future(mesh.call("Unary"))
        await eventually(lambda: "call begins" in story)
        await mesh.server.stop()
        assert await calling, "a running call ends within the grace"
    assert story == ["start", "call begins", "drain", "call ends", "stop"]


async def test_a_start_that_fails_leaves_nothing_behind() -> None:
    class Failing(PingServicer):
        async def start(self) -> None:
            raise RuntimeError("no")

    service = Service(name="analytics", settings=ServiceSettings, build=lambda resources: [PingServicer(), Failing()])
    server = Server(service, settings("analytics"))
    with pytest.raises(RuntimeError, match="no"):
        await server.start()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*server.admin_address.split(":"))


async def test_build_may_be_async() -> None:
    async def build(resources: Any) -> list[Servicer]:
        await asyncio.sleep(0)
        return [PingServicer()]

    server = Server(Service(name="analytics", settings=ServiceSettings, build=build), settings("analytics"))
    await server.start()
    await server.stop()


async def test_sigterm_drains_streams_and_ends_the_process_well(mesh: PingMesh) -> None:
    async with ping_process(mesh.server.settings.auth_address) as (process, address):
        async with grpc.aio.insecure_channel(address) as channel:
            stub = ping_pb2_grpc.PingServiceStub(channel)
            await stub.Unary(Request(), metadata=mesh.metadata)
            stream = stub.Bidi(metadata=mesh.metadata)
            await stream.write(Request())
            await stream.read()
            process.send_signal(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await stream.read()
        assert process.stdout is not None
        rest = (await asyncio.wait_for(process.stdout.read(), 10)).decode()
        assert type(from_rpc_error(ended.value)) is Draining, rest
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert json.loads(rest.splitlines()[-1])["event"] == "stopped"


DEAF = """
import asyncio
from aac_grpc.common import pulse


async def never(request, context):
    await asyncio.Event().wait()


# gRPC's own loop can't be ended here without a crash; to the process it is the same.
pulse._answer = never
pulse.LISTEN_EVERY_S = pulse.TIMEOUT_S = 0.5
"""


async def test_a_process_whose_server_takes_no_calls_any_more_ends_so_that_another_one_starts(mesh: PingMesh) -> None:
    async with ping_process(mesh.server.settings.auth_address, before=DEAF) as (process, _):
        assert process.stdout is not None
        said = await asyncio.wait_for(process.stdout.read(), 60)
        assert await process.wait() == 1
        assert b"takes no calls" in said
