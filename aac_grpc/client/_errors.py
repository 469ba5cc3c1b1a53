"""Errors by reason. Each class stands for one reason of `aac.error.v1.ErrorReason` and its canonical status code."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import grpc

Code = grpc.StatusCode


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that breaks a rule."""

    field: str
    """Path in the request, such as "orders[3].price"."""
    description: str
    """A sentence for people."""


class AacError(Exception):
    """A call failed for a stated reason.

    Attributes:
        message: A sentence for people; never holds secrets.
        code: Canonical status code.
        reason: Name in `aac.error.v1.ErrorReason`, without its prefix.
        metadata: Facts about the reason, such as the limit and the actual value.
        violations: Every field that breaks a rule (INVALID_ARGUMENT).
        retry_after: Seconds to wait before a retry; None where the server did not say.
        final: The server said that no retry is wanted, whatever the code.
        request_id: Finds the call in the logs; empty until the call was made.
    """

    code: grpc.StatusCode = Code.UNKNOWN
    reason: str = "UNSPECIFIED"
    default_message: ClassVar[str] = "the call failed"

    def __init__(
        self,
        message: str = "",
        *,
        code: grpc.StatusCode | None = None,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[FieldViolation] = (),
        retry_after: float | None = None,
        request_id: str = "",
        final: bool = False,
    ) -> None:
        self.message = message or self.default_message
        super().__init__(self.message)
        if code is not None:
            self.code = code
        if reason is not None:
            self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.request_id = request_id
        self.final = final

    def __str__(self) -> str:
        fields = "".join(f"; {violation.field}: {violation.description}" for violation in self.violations)
        return f"{self.code.name} {self.reason}: {self.message}{fields}"


class InvalidRequest(AacError):
    """The request is at fault, whatever the state of the platform. Nothing was done."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_FIELDS"


class Malformed(InvalidRequest):
    """The bytes are not a message of the method's type."""

    reason = "MALFORMED"
    default_message = "the request is not a valid message of this method"


class MessageTooLarge(InvalidRequest):
    """The message is over the platform's size limit."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "MESSAGE_TOO_LARGE"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"the message has {size} bytes; at most {limit} are taken",
            metadata={"actual": str(size), "limit": str(limit)},
        )


class InvalidFields(InvalidRequest):
    """Fields break their rules; all of them are listed."""

    def __init__(self, violations: Iterable[FieldViolation]) -> None:
        found = tuple(violations)
        names = list(dict.fromkeys(violation.field for violation in found))
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        super().__init__(f"invalid {', '.join(names[:5])}{more}", violations=found)


class InvalidField(InvalidFields):
    """One field breaks a rule that only the service knows, such as an unknown symbol or an off-tick price."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__([FieldViolation(field, description)])


class Unauthenticated(AacError):
    """The caller did not prove who it is; `reason` says how: UNAUTHENTICATED, INVALID_TOKEN, EXPIRED_TOKEN,
    REVOKED_TOKEN, WRONG_CREDENTIALS or LOCKED_OUT.
    """

    code = Code.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"
    default_message = "this method needs a credential: send `authorization: Bearer <token>`"

    def __init__(self, message: str = "", *, reason: str = "UNAUTHENTICATED", retry_after: float | None = None) -> None:
        super().__init__(message, reason=reason, retry_after=retry_after)


class PermissionDenied(AacError):
    """The caller may not do this; `reason` is MISSING_SCOPE, FOREIGN_ACCOUNT or INTERNAL_METHOD."""

    code = Code.PERMISSION_DENIED
    reason = "MISSING_SCOPE"

    def __init__(self, message: str, *, reason: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, reason=reason, metadata=metadata)


class NotFound(AacError):
    """There is no such thing, or none that the caller may see."""

    code = Code.NOT_FOUND
    reason = "NOT_FOUND"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is no {kind} {name!r}", metadata={"kind": kind, "id": name})


class AlreadyExists(AacError):
    """There is one with this name already."""

    code = Code.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is a {kind} {name!r} already", metadata={"kind": kind, "id": name})


class KeyReused(AacError):
    """The client key holds another request; `metadata["holder"]` names what that one made."""

    code = Code.ALREADY_EXISTS
    reason = "KEY_REUSED"

    def __init__(self, key: str, holder: str) -> None:
        super().__init__(
            f"the client key {key!r} was used for another request", metadata={"key": key, "holder": holder}
        )


class VersionClash(AacError):
    """The thing changed since the caller read it: read again and decide again."""

    code = Code.ABORTED
    reason = "VERSION_CLASH"

    def __init__(self, kind: str, name: str, *, expected: int | str, actual: int | str) -> None:
        super().__init__(
            f"{kind} {name!r} is at version {actual}, not {expected}",
            metadata={"kind": kind, "id": name, "expected": str(expected), "actual": str(actual)},
        )


class WrongState(AacError):
    """The thing is not in a state that allows this."""

    code = Code.FAILED_PRECONDITION
    reason = "WRONG_STATE"


class RateLimited(AacError):
    """The caller's budget is spent; `retry_after` says when to come back."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "RATE_LIMITED"

    def __init__(self, retry_after: float, *, subject: str, quota: str, limit: str) -> None:
        """Refuses a call.

        Args:
            retry_after: Seconds until the budget holds the call's cost.
            subject: Whose budget, such as "user:42".
            quota: Which budget, such as "ORDER".
            limit: Its size for people, such as "50/s".
        """
        super().__init__(
            f"the {quota} budget of {limit} is spent; retry in {retry_after:.3f} s",
            metadata={"subject": subject, "quota": quota, "limit": limit},
            retry_after=retry_after,
        )


class Overloaded(AacError):
    """The service has too much to do; a retry after a while may pass."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"
    default_message = "the service has too much to do; retry later"


class TooManyStreams(AacError):
    """So many streams are open already that no further one is; end one first."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_STREAMS"

    def __init__(self, limit: int, *, owner: str, setting: str) -> None:
        """Refuses a stream.

        Args:
            limit: How many may be open.
            owner: Whose they are, such as "user:ada" or "this process".
            setting: What an operator may change.
        """
        super().__init__(
            f"{owner} has {limit} streams open, the most that may be: end one, put several subscriptions on one stream,"
            f" or have {setting} raised",
            metadata={"limit": str(limit), "owner": owner, "setting": setting},
        )


class Unavailable(AacError):
    """Nothing is wrong with the request; a retry may pass."""

    code = Code.UNAVAILABLE
    reason = "DEPENDENCY_UNAVAILABLE"


class DependencyUnavailable(Unavailable):
    """Something that the service needs is away."""

    def __init__(self, dependency: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{dependency} is away", metadata={"dependency": dependency}, retry_after=retry_after)


class Draining(Unavailable):
    """This instance is shutting down; another one will answer."""

    reason = "DRAINING"
    default_message = "this instance is shutting down; connect again"


class NotWriter(Unavailable):
    """The instance does not write the venue, and who does could not be reached in time."""

    reason = "NOT_WRITER"

    def __init__(self, venue: str, *, retry_after: float | None = None) -> None:
        super().__init__(
            f"venue {venue!r} is written by another instance; try again",
            metadata={"venue": venue},
            retry_after=retry_after,
        )


class StaleRevocations(Unavailable):
    """The service has not heard for too long what was revoked, and refuses what is audited. A retry may pass."""

    reason = "STALE_REVOCATIONS"

    def __init__(self, stale_s: float) -> None:
        """Refuses a call; `stale_s` is how old the service's knowledge is, infinite where it has none."""
        super().__init__(
            "this service does not know what was revoked lately, because auth-service is away; retry later",
            metadata={"stale_s": f"{stale_s:.1f}"},
            retry_after=1.0,
        )


class UnknownOutcome(Unavailable):
    """It is not known whether the change was made. A retry with the same client key is safe and tells."""

    reason = "UNKNOWN_OUTCOME"
    default_message = "the outcome is not known; a retry with the same client key is safe"


class DeadlineExceeded(AacError):
    """The deadline passed before the work was done."""

    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
    default_message = "the deadline passed before the work was done"


class Canceled(AacError):
    """The caller ended the call."""

    code = Code.CANCELLED
    default_message = "the call was cancelled"


class UnknownMethod(AacError):
    """There is no such method here."""

    code = Code.UNIMPLEMENTED
    reason = "UNKNOWN_METHOD"

    def __init__(self, method: str) -> None:
        super().__init__(f"there is no method {method}", metadata={"method": method})


class Internal(AacError):
    """The platform's fault; the request id finds it in the logs."""

    code = Code.INTERNAL
    reason = "INTERNAL"
    default_message = "something went wrong on our side; the request id finds it in the logs"
