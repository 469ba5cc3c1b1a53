"""Which methods the gateway serves, and which service of the mesh answers each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aac.gateway.v1 import gateway_pb2
from aac.policy.v1 import policy_pb2
from aac.type.v1.stream_pb2 import StreamHeader

from aac_grpc.common.contract import Contract, MethodPolicy
from aac_grpc.common.streams.frames import HEADER_FIELD

GATEWAY = "api-gateway"

_SERVICES = {
    "aac.auth.v1": "auth-service",
    "aac.gateway.v1": GATEWAY,
    "aac.marketdata.v1": "market-data",
    "aac.analytics.v1": "analytics",
    "aac.risk.v1": "risk-management",
    "aac.trading.v1": "trading-engine",
}


@dataclass(frozen=True, slots=True)
class Route:
    """A public method and where it is answered."""

    policy: MethodPolicy
    service: str
    """Such as "trading-engine"."""
    drainable: bool
    """Field 1 of its streamed response is `StreamHeader`, so that a draining frame may be put in."""


class Routes:
    """The public methods of the contract."""

    def __init__(self, contract: Contract) -> None:
        """Reads the contract.

        Raises:
            KeyError: A public method is of a package that no service of the mesh answers.
        """
        public = sorted((policy for policy in contract if not policy.internal), key=lambda policy: policy.path)
        self._routes = [Route(policy, _service_of(policy), _has_header(policy)) for policy in public]

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    @property
    def forwarded(self) -> list[Route]:
        """What other services answer."""
        return [route for route in self._routes if route.service != GATEWAY]

    @property
    def grpc_services(self) -> dict[str, str]:
        """Service of the mesh by full name of the gRPC service, of those with a public method."""
        return {route.policy.service: route.service for route in self._routes}

    def methods(self) -> gateway_pb2.ListMethodsResponse:
        """The public methods as the contract states them."""
        return gateway_pb2.ListMethodsResponse(methods=map(_method_info, self._routes))


def _service_of(policy: MethodPolicy) -> str:
    return _SERVICES[policy.service.rpartition(".")[0]]


def _has_header(policy: MethodPolicy) -> bool:
    field = policy.response_type.DESCRIPTOR.fields_by_number.get(HEADER_FIELD)
    header = field is not None and field.message_type is StreamHeader.DESCRIPTOR
    return policy.server_streaming and header


def _method_info(route: Route) -> gateway_pb2.MethodInfo:
    policy = route.policy
    service = policy.request_type.DESCRIPTOR.file.pool.FindServiceByName(policy.service)
    return gateway_pb2.MethodInfo(
        method=policy.path,
        client_streaming=policy.client_streaming,
        server_streaming=policy.server_streaming,
        idempotent=policy.idempotent,
        policy=service.methods_by_name[policy.name].GetOptions().Extensions[policy_pb2.method],
        service=route.service,
    )
