"""What the contract says about a method, for who calls it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from aac.policy.v1 import policy_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions


@dataclass(frozen=True, slots=True)
class Terms:
    """How a method may be called."""

    repeatable: bool
    """The same request may be sent again: its `idempotency_level` says so."""
    timeout_class: str
    """Such as "FAST"."""


@cache
def terms_of(path: str) -> Terms:
    """The terms of a method, by the path that gRPC names it by, such as "/aac.risk.v1.RiskService/CheckOrders".

    Raises:
        KeyError: No contract that is loaded has it.
    """
    method = descriptor_pool.Default().FindMethodByName(path.strip("/").replace("/", "."))
    options = method.GetOptions()
    timeout_class = policy_pb2.TimeoutClass.Name(options.Extensions[policy_pb2.method].timeout_class)
    return Terms(
        repeatable=options.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN,
        timeout_class=timeout_class.removeprefix("TIMEOUT_CLASS_"),
    )
