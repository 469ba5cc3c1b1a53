"""Reflection, v1 and v1alpha, as grpcurl and its like use it."""

from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from aac_grpc.client.errors import UnknownMethod, from_rpc_error
from tests.support.mesh import PingMesh, ping_mesh
from tests.support.ping import SERVICE

V1, ALPHA = "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"
Ask, Answer = reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse


@pytest.fixture(scope="module")
async def mesh() -> AsyncIterator[PingMesh]:
    async with ping_mesh() as mesh:
        yield mesh


async def ask(mesh: PingMesh, version: str, request: Ask) -> Answer:
    method = mesh.channel.stream_stream(
        f"/{version}/ServerReflectionInfo",
        request_serializer=Ask.SerializeToString,
        response_deserializer=Answer.FromString,
    )
    answers = [answer async for answer in method(iter([request]), timeout=5)]
    assert len(answers) == 1
    return answers[0]


def files(answer: Answer) -> dict[str, FileDescriptorProto]:
    parsed = map(FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto)
    return {file.name: file for file in parsed}


@pytest.mark.parametrize("version", [V1, ALPHA])
async def test_every_service_is_listed(mesh: PingMesh, version: str) -> None:
    answer = await ask(mesh, version, Ask(list_services=""))
    listed = {service.name for service in answer.list_services_response.service}
    assert listed == {SERVICE, "grpc.health.v1.Health", V1, ALPHA}


@pytest.mark.parametrize("version", [V1, ALPHA])
@pytest.mark.parametrize("symbol", [SERVICE, f"{SERVICE}.Unary", "aac.testing.v1.PingRequest", V1, f"{ALPHA}"])
async def test_services_methods_and_messages_are_described(mesh: PingMesh, version: str, symbol: str) -> None:
    described = files(await ask(mesh, version, Ask(file_containing_symbol=symbol)))
    package = symbol.partition(".ServerReflection")[0].partition(".Ping")[0]
    assert any(file.package == package for file in described.values())


async def test_what_a_file_imports_comes_with_it(mesh: PingMesh) -> None:
    described = files(await ask(mesh, V1, Ask(file_containing_symbol=SERVICE)))
    for file in described.values():
        assert set(file.dependency) <= set(described)


async def test_an_unknown_symbol_is_answered_not_refused(mesh: PingMesh) -> None:
    answer = await ask(mesh, V1, Ask(file_containing_symbol="no.such.Thing"))
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_where_it_is_off_it_is_not_there() -> None:
    async with ping_mesh(reflection=False) as mesh:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await ask(mesh, V1, Ask(list_services=""))
        assert type(from_rpc_error(failed.value)) is UnknownMethod
