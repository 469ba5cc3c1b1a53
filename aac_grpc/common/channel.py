"""Calls to other services of the mesh: shared channels, identity, deadlines, retries, breakers."""

from collections.abc import Callable
from typing import Any, TypeVar

S = TypeVar("S")


class Channels:
    """Stubs of other services. Calls on them carry this service's identity, the request id and the time that remains.

    A failed call raises `aac_grpc.client.errors.AacError`, never `grpc.RpcError`: what the other service said where it
    spoke, `DependencyUnavailable` where it could not be reached. Unary methods that the contract calls idempotent are
    tried again while there is time.
    """

    def stub(self, stub: Callable[[Any], S], service: str) -> S:
        """A stub of another service's methods, such as `channels.stub(TradingServiceStub, "trading-engine")`."""
        raise NotImplementedError
