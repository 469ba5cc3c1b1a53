"""What calls of one method have in common, whatever its arity: identity, time, breaker, and what failures mean."""

from collections.abc import Sequence
from typing import Any, Protocol

import grpc
import structlog

from aac_grpc.client.errors import AacError, DependencyUnavailable, UnknownOutcome, from_rpc_error
from aac_grpc.common import metrics
from aac_grpc.common.breaker import Breaker
from aac_grpc.common.call import find_call
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.interceptors.metrics import grpc_type
from aac_grpc.common.target import Target, was_sent

Metadata = tuple[tuple[str, str], ...]


class Identity(Protocol):
    """Proves who this process is."""

    async def metadata(self, service: str) -> Metadata:
        """What a service takes for proof."""

    def refused(self) -> None:
        """A service did not take it."""


_log = structlog.get_logger("outgoing")
_Code = grpc.StatusCode

FAILURES = frozenset({_Code.UNAVAILABLE, _Code.DEADLINE_EXCEEDED, _Code.INTERNAL, _Code.UNKNOWN, _Code.DATA_LOSS})
"""What counts against a target: it could not do its part. Anything else is an answer."""
NOT_THE_CALLERS = frozenset({_Code.UNAUTHENTICATED, _Code.UNIMPLEMENTED, _Code.UNKNOWN, _Code.CANCELLED})
"""What a target says about this process, not about what its own caller asked for."""
DOWNSTREAM_MARGIN = 0.05
"""Share of the remaining time that a call downstream must leave for the answer."""


class Method:
    """What calls of one method have in common, whatever its arity.

    Attributes:
        policy: What the contract says.
        breaker: Of the target and method.
        retries: The target's tokens.
        callable: gRPC's own, on the target's present channel.
    """

    def __init__(
        self,
        policy: MethodPolicy,
        arity: str,
        target: Target,
        serializer: Any,
        deserializer: Any,
        breaker: Breaker,
        timeout: float | None,
        identity: Identity,
    ) -> None:
        self.policy = policy
        self.breaker = breaker
        self.retries = target.budget
        self.callable = target.callable(arity, policy.path, serializer, deserializer)
        self._target = target
        self._timeout = timeout
        self._identity = identity
        self._labels = (grpc_type(policy), policy.service, policy.name)

    def budget(self, timeout: float | None) -> float | None:
        """Seconds that the call may take in all; None without a limit."""
        own = timeout if timeout is not None else self._timeout
        call = find_call()
        remaining = call.time_remaining() if call is not None else None
        if remaining is None:
            return own
        remaining *= 1 - DOWNSTREAM_MARGIN
        return remaining if own is None else min(own, remaining)

    async def metadata(self, given: Sequence[tuple[str, str]] | None) -> Metadata:
        """Identity and request id, beside what the caller gives."""
        call = find_call()
        identity = await self._identity.metadata(self._target.service) if self.policy.authenticated else ()
        traced = (("x-request-id", call.request_id),) if call is not None else ()
        return (*identity, *traced, *(given or ()))

    def answered(self) -> None:
        """The target did its part."""
        self.breaker.succeeded()
        metrics.CLIENT_HANDLED.labels(*self._labels, "OK").inc()

    def failure(self, raised: grpc.RpcError, allowed_s: float | None = None) -> AacError:
        """Counts a failed call and says what it means to this service.

        Args:
            raised: gRPC's error.
            allowed_s: What the attempt was given; a deadline that was hopelessly short says nothing about the target.
        """
        error = from_rpc_error(raised)
        self._target.failed(error.code, tuple(raised.trailing_metadata() or ()))
        metrics.CLIENT_HANDLED.labels(*self._labels, error.code.name).inc()
        if error.code is _Code.DEADLINE_EXCEEDED and allowed_s is not None and allowed_s < 0.1:
            self.breaker.abandoned()
        elif error.code is _Code.UNAVAILABLE and not was_sent(raised.details() or ""):
            self.breaker.absent()
        elif error.code in FAILURES:
            self.breaker.failed()
        else:
            self.breaker.succeeded()
        if error.code is _Code.UNAUTHENTICATED:
            self._identity.refused()
        return error

    def abandoned(self) -> None:
        """The call was given up before it was answered."""
        self.breaker.abandoned()
        self._target.unanswered()

    def translate(self, error: AacError) -> AacError:
        """The error that the calling code gets: faults between the two services are not the fault of its caller."""
        if isinstance(error, UnknownOutcome):
            return error
        if error.code is _Code.UNAUTHENTICATED and not self.policy.authenticated:
            return error  # about a credential in the request itself
        if error.code is _Code.UNAVAILABLE or error.code in NOT_THE_CALLERS:
            _log.warning("call to another service failed", target=self.policy.path, error=str(error))
            return DependencyUnavailable(self._target.service, retry_after=error.retry_after)
        return error
