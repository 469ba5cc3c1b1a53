"""Errors to gRPC status and `google.rpc` details, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2 as details_pb2
from google.rpc import status_pb2

from aac_grpc.client import _errors
from aac_grpc.client._errors import AacError, FieldViolation

DOMAIN = "aac"
DETAILS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"
PUSHBACK_KEY = "grpc-retry-pushback-ms"

MAX_MESSAGE_CHARS = 512
MAX_FACT_CHARS = 128
MAX_VIOLATIONS_BYTES = 4096

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_BY_REASON = {
    "MALFORMED": _errors.Malformed,
    "MESSAGE_TOO_LARGE": _errors.MessageTooLarge,
    "INVALID_FIELDS": _errors.InvalidFields,
    "NOT_FOUND": _errors.NotFound,
    "ALREADY_EXISTS": _errors.AlreadyExists,
    "KEY_REUSED": _errors.KeyReused,
    "VERSION_CLASH": _errors.VersionClash,
    "WRONG_STATE": _errors.WrongState,
    "RATE_LIMITED": _errors.RateLimited,
    "OVERLOADED": _errors.Overloaded,
    "TOO_MANY_STREAMS": _errors.TooManyStreams,
    "DEPENDENCY_UNAVAILABLE": _errors.DependencyUnavailable,
    "DRAINING": _errors.Draining,
    "STALE_REVOCATIONS": _errors.StaleRevocations,
    "NOT_WRITER": _errors.NotWriter,
    "UNKNOWN_OUTCOME": _errors.UnknownOutcome,
    "DEADLINE_EXCEEDED": _errors.DeadlineExceeded,
    "UNKNOWN_METHOD": _errors.UnknownMethod,
    "INTERNAL": _errors.Internal,
}
_BY_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: _errors.InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: _errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: _errors.PermissionDenied,
    grpc.StatusCode.NOT_FOUND: _errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: _errors.AlreadyExists,
    grpc.StatusCode.ABORTED: _errors.VersionClash,
    grpc.StatusCode.FAILED_PRECONDITION: _errors.WrongState,
    grpc.StatusCode.UNAVAILABLE: _errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: _errors.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: _errors.Canceled,
    grpc.StatusCode.UNIMPLEMENTED: _errors.UnknownMethod,
    grpc.StatusCode.INTERNAL: _errors.Internal,
}


def to_status_message(error: AacError, request_id: str = "") -> status_pb2.Status:
    """The error as `google.rpc.Status`, with all its details: for trailers, and for the status of an item.

    Most clients take 8 KiB of metadata in all and lose the status where there is more, so that everything here has a
    bound. Where not all violations fit, ErrorInfo says how many there are.
    """
    facts = {key: _clipped(value, MAX_FACT_CHARS) for key, value in error.metadata.items()}
    listed = _fitting(error.violations)
    if len(listed) < len(error.violations):
        facts["violations"] = str(len(error.violations))
    details: list[Message] = [
        details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=facts),
        details_pb2.RequestInfo(request_id=request_id or error.request_id),
    ]
    if error.violations:
        details.append(
            details_pb2.BadRequest(
                field_violations=[
                    details_pb2.BadRequest.FieldViolation(field=one.field, description=one.description)
                    for one in listed
                ]
            )
        )
    if error.retry_after is not None:
        details.append(details_pb2.RetryInfo(retry_delay=_duration(error.retry_after)))
    if isinstance(error, _errors.RateLimited):
        details.append(_quota_failure(facts))
    if isinstance(error, _errors.NotFound | _errors.AlreadyExists):
        details.append(details_pb2.ResourceInfo(resource_type=facts.get("kind", ""), resource_name=facts.get("id", "")))
    message = _clipped(error.message, MAX_MESSAGE_CHARS)
    return status_pb2.Status(code=error.code.value[0], message=message, details=map(_packed, details))


def to_status(error: AacError, request_id: str) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """The error as code, message and trailing metadata."""
    status = to_status_message(error, request_id)
    return error.code, status.message, ((DETAILS_KEY, status.SerializeToString()),)


def from_status(status: status_pb2.Status, request_id: str = "") -> AacError:
    """The error that a `google.rpc.Status` speaks of, such as an item's status on a stream."""
    info, request, bad_request, retry = (
        details_pb2.ErrorInfo(),
        details_pb2.RequestInfo(request_id=request_id),
        details_pb2.BadRequest(),
        details_pb2.RetryInfo(),
    )
    for detail in status.details:
        for known in (info, request, bad_request, retry):
            detail.Unpack(known)
    return _make(
        _CODES.get(status.code, grpc.StatusCode.UNKNOWN),
        status.message,
        info.reason,
        dict(info.metadata),
        [FieldViolation(one.field, one.description) for one in bad_request.field_violations],
        retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None,
        request.request_id,
    )


def from_rpc_error(error: grpc.RpcError) -> AacError:
    """The error that a failed call speaks of, with its details where the server sent some.

    Takes the errors of both kinds of channel, sync and aio. A pushback (gRFC A6) is the server's word on retries, be it
    in gRPC's own trailer.
    """
    metadata: dict[str, str | bytes] = dict(cast(Iterable[tuple[str, str | bytes]], error.trailing_metadata() or ()))
    told = _from_trailers(error.code(), error.details() or "", metadata)
    if (pushback := metadata.get(PUSHBACK_KEY)) is not None:
        milliseconds = str(pushback)
        if milliseconds.isdecimal():
            told.retry_after = int(milliseconds) / 1000
        else:  # gRPC takes what is no number for a refusal, too
            told.final = True
    return told


def _from_trailers(code: grpc.StatusCode, message: str, metadata: Mapping[str, str | bytes]) -> AacError:
    request_id = str(metadata.get(REQUEST_ID_KEY, ""))
    raw = metadata.get(DETAILS_KEY)
    if isinstance(raw, bytes):
        try:
            status = status_pb2.Status.FromString(raw)
        except DecodeError:
            status = status_pb2.Status()
        if status.code == code.value[0]:
            return from_status(status, request_id)
    return _make(code, message, "", {}, [], None, request_id)


def _make(
    code: grpc.StatusCode,
    message: str,
    reason: str,
    metadata: dict[str, str],
    violations: Iterable[FieldViolation],
    retry_after: float | None,
    request_id: str,
) -> AacError:
    kind: type[AacError] = _BY_REASON.get(reason) or _BY_CODE.get(code, AacError)
    error = kind.__new__(kind)
    # The subclasses' own constructors compose the message, which came from the server here.
    AacError.__init__(
        error,
        message,
        code=code,
        reason=reason or kind.reason,
        metadata=metadata,
        violations=violations,
        retry_after=retry_after,
        request_id=request_id,
    )
    return error


def _clipped(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _fitting(violations: Sequence[FieldViolation]) -> list[FieldViolation]:
    """The first violations, as many as there is room for."""
    room = MAX_VIOLATIONS_BYTES
    fitting: list[FieldViolation] = []
    for one in violations:
        clipped = FieldViolation(_clipped(one.field, MAX_FACT_CHARS), _clipped(one.description, MAX_MESSAGE_CHARS))
        room -= len(clipped.field.encode()) + len(clipped.description.encode()) + 10
        if room < 0:
            break
        fitting.append(clipped)
    return fitting


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _quota_failure(facts: Mapping[str, str]) -> details_pb2.QuotaFailure:
    description = f"budget {facts.get('quota', '')}: {facts.get('limit', '')}"
    violation = details_pb2.QuotaFailure.Violation(subject=facts.get("subject", ""), description=description)
    return details_pb2.QuotaFailure(violations=[violation])
