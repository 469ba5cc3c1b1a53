"""Errors on the wire and back."""

from typing import Any

import grpc
import pytest
from aac.error.v1 import error_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from aac_grpc.client import errors
from aac_grpc.client.errors import (
    AacError,
    DependencyUnavailable,
    Draining,
    FieldViolation,
    InvalidField,
    InvalidFields,
    KeyReused,
    NotFound,
    PermissionDenied,
    RateLimited,
    Unauthenticated,
    VersionClash,
    from_rpc_error,
    from_status,
    to_status,
    to_status_message,
)

EXAMPLES: list[AacError] = [
    InvalidField("price", "must be a multiple of 0.01"),
    InvalidFields([FieldViolation("a", "b"), FieldViolation("c[1].d", "e")]),
    errors.Malformed(),
    errors.MessageTooLarge(2, 1),
    Unauthenticated(),
    Unauthenticated("expired", reason="EXPIRED_TOKEN"),
    Unauthenticated("wait", reason="LOCKED_OUT", retry_after=30),
    PermissionDenied("no", reason="MISSING_SCOPE", metadata={"scope": "orders:write"}),
    NotFound("order", "o-1"),
    errors.AlreadyExists("user", "ada"),
    KeyReused("key", "o-1"),
    VersionClash("limits", "acc-1", expected=3, actual=4),
    errors.WrongState("the order is filled", metadata={"state": "FILLED"}),
    RateLimited(0.25, subject="user:ada", quota="ORDER", limit="50/s"),
    errors.Overloaded(),
    errors.TooManyStreams(200, owner="user:ada", setting="AAC_MAX_STREAMS_PER_PRINCIPAL"),
    DependencyUnavailable("postgresql", retry_after=1.5),
    Draining(),
    errors.NotWriter("main", retry_after=0.5),
    errors.StaleRevocations(7.5),
    errors.UnknownOutcome(),
    errors.DeadlineExceeded(),
    errors.UnknownMethod("/x/Y"),
    errors.Internal(),
]


class Failed(grpc.RpcError):
    """What gRPC raises, as far as it matters."""

    def __init__(self, code: grpc.StatusCode, message: str, trailers: Any) -> None:
        self._parts = (code, message, trailers)

    def code(self) -> grpc.StatusCode:
        return self._parts[0]

    def details(self) -> str:
        return self._parts[1]

    def trailing_metadata(self) -> Any:
        return self._parts[2]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_the_wire(error: AacError) -> None:
    got = from_rpc_error(Failed(*to_status(error, "request-1")))
    assert type(got) is (InvalidFields if isinstance(error, InvalidField) else type(error))
    for name in ("message", "code", "reason", "metadata", "violations", "retry_after"):
        assert getattr(got, name) == getattr(error, name), name
    assert got.request_id == "request-1"


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_says_why_by_a_reason_of_the_contract_and_names_its_request(error: AacError) -> None:
    assert f"ERROR_REASON_{error.reason}" in error_pb2.ErrorReason.keys()  # noqa: SIM118 not a dict
    first, second = to_status_message(error, "request-1").details[:2]
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.RequestInfo()
    assert first.Unpack(info)
    assert second.Unpack(request)
    assert (info.domain, info.reason, request.request_id) == ("aac", error.reason, "request-1")


def test_every_reason_of_the_contract_but_none_is_an_error_that_can_be_raised() -> None:
    raised = {error.reason for error in EXAMPLES} | {
        # One class each for several reasons: who raises them says which.
        "INVALID_TOKEN", "REVOKED_TOKEN", "WRONG_CREDENTIALS", "FOREIGN_ACCOUNT", "INTERNAL_METHOD",
    }  # fmt: skip
    assert {f"ERROR_REASON_{reason}" for reason in raised} == set(error_pb2.ErrorReason.keys()) - {
        "ERROR_REASON_UNSPECIFIED"
    }


def test_a_spent_budget_says_when_to_come_back_and_whose_it_was() -> None:
    status = to_status_message(RateLimited(0.25, subject="user:ada", quota="ORDER", limit="50/s"), "r")
    retry, quota = error_details_pb2.RetryInfo(), error_details_pb2.QuotaFailure()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert any(detail.Unpack(quota) for detail in status.details)
    assert retry.retry_delay.ToTimedelta().total_seconds() == 0.25
    assert quota.violations[0].subject == "user:ada"


def test_an_error_of_another_server_is_known_by_its_code() -> None:
    got = from_rpc_error(Failed(grpc.StatusCode.UNAVAILABLE, "connection refused", None))
    assert (type(got), got.message) == (errors.Unavailable, "connection refused")
    assert type(from_rpc_error(Failed(grpc.StatusCode.DATA_LOSS, "", ()))) is AacError


@given(st.binary(max_size=200))
def test_damaged_details_do_not_hide_the_status(raw: bytes) -> None:
    got = from_rpc_error(Failed(grpc.StatusCode.NOT_FOUND, "gone", (("grpc-status-details-bin", raw),)))
    assert got.code is grpc.StatusCode.NOT_FOUND


def test_details_that_contradict_the_status_are_not_believed() -> None:
    raw = status_pb2.Status(code=5, message="other").SerializeToString()
    got = from_rpc_error(Failed(grpc.StatusCode.UNAVAILABLE, "away", (("grpc-status-details-bin", raw),)))
    assert (got.code, got.message) == (grpc.StatusCode.UNAVAILABLE, "away")


def test_an_error_fits_the_metadata_that_clients_take_however_much_is_wrong() -> None:
    violations = [
        FieldViolation(f"orders[{number}].price", "must be a decimal above zero" * 3) for number in range(4096)
    ]
    huge = [
        InvalidFields(violations),
        InvalidFields([FieldViolation("x" * 5000, "y" * 100_000)]),
        NotFound("order", "x" * 100_000),
        errors.UnknownMethod("/" + "x" * 8000),
        PermissionDenied("\u00e9" * 10_000, reason="FOREIGN_ACCOUNT", metadata={"account": "\u00e9" * 10_000}),
    ]
    for error in huge:
        _, message, trailers = to_status(error, "request-1")
        assert len(message.encode()) + sum(len(value) for _, value in trailers) < 7000
    got = from_status(to_status_message(huge[0]))
    assert got.violations == tuple(violations[: len(got.violations)])
    assert len(got.violations) > 20
    assert got.metadata["violations"] == "4096"
    assert got.message == "invalid " + ", ".join(f"orders[{n}].price" for n in range(5)) + " and 4091 more"


def test_an_items_status_on_a_stream_is_the_same_error() -> None:
    error = from_status(to_status_message(NotFound("instrument", "XYZ")))
    assert (type(error), error.metadata) == (NotFound, {"kind": "instrument", "id": "XYZ"})
