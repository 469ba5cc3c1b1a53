"""What only the gateway can see: overviews and methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from aac.gateway.v1 import gateway_pb2
from aac.policy.v1 import policy_pb2

from aac_grpc.client.errors import AacError, from_status
from aac_grpc.client.models._record import Record
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
