"""What only the gateway can see: overviews, methods, the services of the mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from aac.gateway.v1 import gateway_pb2
from aac.policy.v1 import policy_pb2
from aac.registry.v1 import registry_pb2

from aac_grpc.client.errors import AacError, from_status
from aac_grpc.client.models._record import Record, WireEnum
from aac_grpc.client.models.accounts import AccountSummary, Exposure, Position
from aac_grpc.client.models.market import Quote
from aac_grpc.client.models.orders import Execution, Order


@dataclass(frozen=True, slots=True)
class _Gathered(Record):
    account: AccountSummary | None
    positions: tuple[Position, ...]
    open_orders: tuple[Order, ...]
    executions: tuple[Execution, ...]
    quotes: tuple[Quote, ...]
    exposure: Exposure | None


@dataclass(frozen=True, slots=True)
class Overview:
    """An account at a glance. What could not be gathered is None or empty, and named in `missing` with its error."""

    account: AccountSummary | None
    positions: tuple[Position, ...]
    open_orders: tuple[Order, ...]
    executions: tuple[Execution, ...]
    quotes: tuple[Quote, ...]
    exposure: Exposure | None
    missing: Mapping[str, AacError]

    @classmethod
    def from_wire(cls, message: gateway_pb2.GetOverviewResponse) -> Self:
        """Reads the message."""
        found = _Gathered.from_wire(message)
        return cls(
            account=found.account,
            positions=found.positions,
            open_orders=found.open_orders,
            executions=found.executions,
            quotes=found.quotes,
            exposure=found.exposure,
            missing={part.field: from_status(part.status) for part in message.missing},
        )


@dataclass(frozen=True, slots=True)
class Method(Record):
    """A public method and its policy, as the contract states it."""

    method: str
    service: str
    client_streaming: bool
    server_streaming: bool
    idempotent: bool
    policy: policy_pb2.MethodPolicy


class InstanceState(WireEnum):
    """Whether an instance takes calls, as the gateway sees it."""

    UNSPECIFIED = "unspecified"
    SERVING = "serving"
    NOT_SERVING = "not_serving"
    UNREACHABLE = "unreachable"

    @classmethod
    def wire_type(cls) -> Any:
        return gateway_pb2.InstanceState


class BreakerState(WireEnum):
    """State of a circuit breaker that is not closed."""

    UNSPECIFIED = "unspecified"
    OPEN = "open"
    HALF_OPEN = "half_open"

    @classmethod
    def wire_type(cls) -> Any:
        return registry_pb2.BreakerState


@dataclass(frozen=True, slots=True)
class Breaker(Record):
    """A circuit breaker of an instance that is not closed."""

    target: str
    """What it guards, such as "postgresql" or "risk-management/CheckOrders"."""
    state: BreakerState
    since: datetime


@dataclass(frozen=True, slots=True)
class _Registered(Record):
    instance_id: str
    service: str
    address: str
    admin_address: str
    version: str
    workers: int
    registered_at: datetime
    renewed_at: datetime
    lease_expires_at: datetime
    breakers: tuple[Breaker, ...]


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a service: a process, or several behind one address."""

    instance_id: str
    service: str
    address: str
    """host:port of its gRPC server."""
    admin_address: str
    """host:port of its admin HTTP server."""
    state: InstanceState
    version: str
    workers: int
    """How many processes serve behind its address; 0 where it did not say."""
    registered_at: datetime
    renewed_at: datetime
    """When it renewed its lease at the registry last."""
    lease_expires_at: datetime
    breakers: tuple[Breaker, ...]

    @classmethod
    def from_wire(cls, message: gateway_pb2.ServiceInstance) -> Self:
        """Reads the message."""
        known = _Registered.from_wire(message.instance)
        state = InstanceState.from_wire(message.state)
        return cls(state=state, **{name: getattr(known, name) for name in _Registered.__slots__})


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the mesh with the instances that hold a lease."""

    service: str
    instances: tuple[Instance, ...]

    @classmethod
    def from_wire(cls, message: gateway_pb2.ServiceInfo) -> Self:
        """Reads the message."""
        return cls(message.service, tuple(map(Instance.from_wire, message.instances)))
