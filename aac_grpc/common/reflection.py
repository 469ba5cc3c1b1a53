"""gRPC reflection, v1 and v1alpha. Method names resolve too, which the runtime's own pool does not do."""

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2

ALPHA = "grpc.reflection.v1alpha.ServerReflection"
V1 = "grpc.reflection.v1.ServerReflection"
_V1_FILE = "grpc/reflection/v1/reflection.proto"


class Pool:
    """The process's descriptors, found by the names of methods as well."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        """The file that declares a symbol such as "aac.risk.v1.RiskService.CheckOrders".

        Raises:
            KeyError: No file does.
        """
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindFileContainingSymbol(symbol.rpartition(".")[0])


def v1_file() -> FileDescriptor:
    """The descriptor of reflection v1, which equals v1alpha but for its package and comes with no Python package."""
    pool = descriptor_pool.Default()
    try:
        return pool.FindFileByName(_V1_FILE)
    except KeyError:
        alpha = FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
        renamed = text_format.MessageToString(alpha).replace("grpc.reflection.v1alpha", "grpc.reflection.v1")
        v1 = text_format.Parse(renamed, FileDescriptorProto())
        v1.name = _V1_FILE
        pool.AddSerializedFile(v1.SerializeToString())
        return pool.FindFileByName(_V1_FILE)


def reflection_handlers(services: Iterable[str]) -> dict[str, "grpc.RpcMethodHandler[Any, Any]"]:
    """Handlers by path that answer about these gRPC services and about reflection itself."""
    v1_file()
    servicer = reflection.aio.ReflectionServicer([*services, V1, ALPHA], pool=Pool())
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"/{name}/ServerReflectionInfo": handler for name in (V1, ALPHA)}
