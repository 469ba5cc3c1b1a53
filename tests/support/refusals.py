"""Calls that should fail, made in bytes so that anything can be sent, and what is said of them."""

import contextlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details_pb2
from google.rpc import status_pb2
from grpc import aio

DETAILS_KEY = "grpc-status-details-bin"
PATIENCE_S = 10.0
_DETAILS = (
    details_pb2.ErrorInfo,
    details_pb2.RequestInfo,
    details_pb2.BadRequest,
    details_pb2.RetryInfo,
    details_pb2.QuotaFailure,
    details_pb2.ResourceInfo,
)


@dataclass(frozen=True)
class Refusal:
    """How a call failed."""

    code: grpc.StatusCode
    message: str
    details: Mapping[type[Message], Message]
    """Of the status, by type; empty where gRPC itself answered."""
    sent_request_id: str
    told_request_id: str
    """From the trailers."""
    text: str
    """Everything that was said, for a look for what should not be."""

    @property
    def info(self) -> Any:
        """Reason, domain and facts."""
        return self.details[details_pb2.ErrorInfo]

    @property
    def fields(self) -> list[str]:
        """Fields at fault, in the order given."""
        found: Any = self.details.get(details_pb2.BadRequest, details_pb2.BadRequest())
        return [violation.field for violation in found.field_violations]


class NotRefused(AssertionError):
    """The call did not fail."""


async def refusal(
    channel: aio.Channel,
    method: str,
    requests: Sequence[Message | bytes],
    *,
    streaming: tuple[bool, bool] = (False, False),
    metadata: Iterable[tuple[str, str]] = (),
    timeout: float = PATIENCE_S,
) -> Refusal:
    """Makes a call and returns how it failed.

    Args:
        channel: To the gateway, or to a service.
        method: Full name, such as "/aac.trading.v1.TradingService/PlaceOrder".
        requests: Messages, or bytes to send as they are; one unless the client streams.
        streaming: Whether client and server stream.
        metadata: Beside the request id.
        timeout: Seconds.

    Raises:
        NotRefused: It succeeded.
    """
    request_id = secrets.token_hex(8)
    raw = [request if isinstance(request, bytes) else request.SerializeToString() for request in requests]
    sent = (*metadata, ("x-request-id", request_id))
    shape = "_".join("stream" if streams else "unary" for streams in streaming)
    call: Any = getattr(channel, shape)(method)
    try:
        answer = await _answer(call, raw, streaming, sent, timeout)
    except aio.AioRpcError as error:
        return _read(error, request_id)
    raise NotRefused(f"{method} answered {answer!r}")


async def _answer(call: Any, raw: list[bytes], streaming: tuple[bool, bool], metadata: Any, timeout: float) -> Any:
    client_streams, server_streams = streaming
    running = call(metadata=metadata, timeout=timeout) if client_streams else call(
        raw[0], metadata=metadata, timeout=timeout
    )  # fmt: skip
    try:
        if client_streams:
            with contextlib.suppress(aio.UsageError):  # the call may end before all is written: its status tells
                for message in raw:
                    await running.write(message)
        if not server_streams:
            return await running
        frames = []
        while (frame := await running.read()) is not aio.EOF:
            frames.append(frame)
        return frames
    finally:
        running.cancel()


def _read(error: aio.AioRpcError, request_id: str) -> Refusal:
    trailing = dict(error.trailing_metadata() or ())
    status = status_pb2.Status()
    if isinstance(raw := trailing.get(DETAILS_KEY), bytes):
        status.ParseFromString(raw)
        assert (status.code, status.message) == (error.code().value[0], error.details())
    details: dict[type[Message], Message] = {}
    for packed in status.details:
        (kind,) = (kind for kind in _DETAILS if packed.Is(kind.DESCRIPTOR))
        message = kind()
        packed.Unpack(message)
        details[kind] = message
    return Refusal(
        code=error.code(),
        message=error.details() or "",
        details=details,
        sent_request_id=request_id,
        told_request_id=str(trailing.get("x-request-id", "")),
        text=f"{error.details()} {status} {trailing}",
    )
