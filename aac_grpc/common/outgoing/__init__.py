"""Callables that generated stubs get instead of a bare channel's: all four arities, one way of failing."""

from typing import Any

from aac_grpc.common.breaker import OF_TARGETS, Breakers
from aac_grpc.common.contract import policy_of
from aac_grpc.common.outgoing.method import Identity, Method
from aac_grpc.common.outgoing.stream import OutgoingStream, StreamMethod
from aac_grpc.common.outgoing.unary import UnaryMethod
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.common.target import Target

__all__ = ["Identity", "OutgoingStream", "StubChannel"]


class StubChannel:
    """What a generated stub takes for a channel."""

    def __init__(
        self,
        target: Target,
        settings: ServiceSettings,
        breakers: Breakers,
        identity: Identity,
        own_account: bool = False,
    ) -> None:
        self._target = target
        self._settings = settings
        self._breakers = breakers
        self._identity = identity
        self._own_account = own_account

    def unary_unary(self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> UnaryMethod:
        """A method that takes and gives one message."""
        return UnaryMethod(
            self._method("unary_unary", path, request_serializer, response_deserializer), self._own_account
        )

    def stream_unary(self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> UnaryMethod:
        """A method that takes a stream and gives one message."""
        return UnaryMethod(
            self._method("stream_unary", path, request_serializer, response_deserializer), self._own_account
        )

    def unary_stream(self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> StreamMethod:
        """A method that takes one message and gives a stream."""
        return StreamMethod(self._method("unary_stream", path, request_serializer, response_deserializer))

    def stream_stream(self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> StreamMethod:
        """A method that takes and gives a stream."""
        return StreamMethod(self._method("stream_stream", path, request_serializer, response_deserializer))

    def _method(self, arity: str, path: str, serializer: Any, deserializer: Any) -> Method:
        policy = policy_of(path)
        breaker = self._breakers.get(f"{self._target.service}/{policy.name}", OF_TARGETS)
        timeout = self._settings.timeout(policy.timeout_class)
        return Method(policy, arity, self._target, serializer, deserializer, breaker, timeout, self._identity)
