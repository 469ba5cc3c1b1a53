"""The contract at run time: descriptors and policy options become frozen `MethodPolicy` records.

`python -m aac_grpc.common.contract` prints the policy manifest (gen/policy.json), which is committed and diffed,
because `buf breaking` does not see custom options.
"""

import importlib
import json
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import aac
from aac.policy.v1 import policy_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

IDEMPOTENCY_LEVELS = {0: "UNKNOWN", 1: "NO_SIDE_EFFECTS", 2: "IDEMPOTENT"}


class ContractError(Exception):
    """A method's policy is missing or contradicts itself; the server must not start."""


@dataclass(frozen=True)
class MethodPolicy:
    """What the contract says about one method. Enum fields hold the names without their prefix, such as "FAST"."""

    path: str
    """As gRPC names it: "/aac.risk.v1.RiskService/CheckOrders"."""
    service: str
    """Full name of the gRPC service."""
    name: str
    client_streaming: bool
    server_streaming: bool
    idempotency: str
    """"UNKNOWN", "NO_SIDE_EFFECTS" or "IDEMPOTENT"."""
    scope: str
    """Empty where no token is asked for."""
    account_field: str
    rate_class: str
    cost: int
    cost_field: str
    timeout_class: str
    priority: str
    audit: bool
    internal: bool
    request_type: type[Message]
    response_type: type[Message]

    @property
    def authenticated(self) -> bool:
        """A token is asked for."""
        return bool(self.scope)

    @property
    def idempotent(self) -> bool:
        """A retry is safe."""
        return self.idempotency != "UNKNOWN"

    @property
    def streaming(self) -> bool:
        """Either side streams."""
        return self.client_streaming or self.server_streaming

    @property
    def fails_closed(self) -> bool:
        """Refused while it is not known what was revoked lately; what reduces risk, such as a cancel, is not."""
        return self.audit and self.priority != "CRITICAL"

    @property
    def infrastructure(self) -> bool:
        """Not of our contract, but served by every process: health, reflection."""
        return not self.service.startswith("aac.")

    def items(self, message: Message) -> int:
        """How many items of `cost_field` the message carries; 0 without such a field."""
        return len(getattr(message, self.cost_field)) if self.cost_field else 0

    def account(self, message: Message) -> str:
        """The account that the message acts on; empty where the method has no such field or it is not filled."""
        return getattr(message, self.account_field) if self.account_field else ""

    def manifest(self) -> dict[str, Any]:
        """The record as it stands in gen/policy.json."""
        return {
            "client_streaming": self.client_streaming,
            "server_streaming": self.server_streaming,
            "idempotency": self.idempotency,
            "scope": self.scope,
            "account_field": self.account_field,
            "rate_class": self.rate_class,
            "cost": self.cost,
            "cost_field": self.cost_field,
            "timeout_class": self.timeout_class,
            "priority": self.priority,
            "audit": self.audit,
            "exposure": "INTERNAL" if self.internal else "PUBLIC",
        }


def read_policy(method: MethodDescriptor) -> MethodPolicy:
    """Reads one method's policy from its descriptor.

    Raises:
        ContractError: The policy is absent, incomplete, or names a field that the request does not have.
    """
    path = f"/{method.containing_service.full_name}/{method.name}"
    options = method.GetOptions()
    if not options.HasExtension(policy_pb2.method):
        raise ContractError(f"{path} has no (aac.policy.v1.method) option")
    policy = options.Extensions[policy_pb2.method]
    if bool(policy.scope) == policy.allow_unauthenticated:
        raise ContractError(f"{path}: exactly one of scope and allow_unauthenticated must be set")
    if policy.allow_unauthenticated and policy.rate_class == policy_pb2.RATE_CLASS_INTERNAL:
        raise ContractError(f"{path}: anybody may call it, so its rate_class must have a budget")
    _check_field(path, "account_field", method, policy.account_field, repeated=False)
    _check_field(path, "cost_field", method, policy.cost_field, repeated=True)

    def name(enum: Any, value: int, field: str) -> str:
        if value == 0:
            raise ContractError(f"{path}: {field} is not stated")
        prefix = enum.Name(0).removesuffix("UNSPECIFIED")
        return str(enum.Name(value)).removeprefix(prefix)

    return MethodPolicy(
        path=path,
        service=method.containing_service.full_name,
        name=method.name,
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        idempotency=IDEMPOTENCY_LEVELS[options.idempotency_level],
        scope=policy.scope,
        account_field=policy.account_field,
        rate_class=name(policy_pb2.RateClass, policy.rate_class, "rate_class"),
        cost=policy.cost or 1,
        cost_field=policy.cost_field,
        timeout_class=name(policy_pb2.TimeoutClass, policy.timeout_class, "timeout_class"),
        priority=name(policy_pb2.Priority, policy.priority, "priority"),
        audit=policy.audit,
        internal=name(policy_pb2.Exposure, policy.exposure, "exposure") == "INTERNAL",
        request_type=GetMessageClass(method.input_type),
        response_type=GetMessageClass(method.output_type),
    )


def infrastructure_policy(method: MethodDescriptor, path: str = "") -> MethodPolicy:
    """The policy of a method that is not of our contract but served by every process: health, reflection.

    Args:
        method: Its descriptor.
        path: Where it is not that of the descriptor.
    """
    streaming = bool(method.client_streaming or method.server_streaming)
    service = path.split("/")[1] if path else method.containing_service.full_name
    return MethodPolicy(
        path=path or f"/{method.containing_service.full_name}/{method.name}",
        service=service,
        name=method.name,
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        idempotency="NO_SIDE_EFFECTS",
        scope="",
        account_field="",
        rate_class="INTERNAL",
        cost=1,
        cost_field="",
        timeout_class="STREAM" if streaming else "FAST",
        # Calls go by health; whoever looks around may wait.
        priority="CRITICAL" if service == "grpc.health.v1.Health" else "LOW",
        audit=False,
        internal=False,
        request_type=GetMessageClass(method.input_type),
        response_type=GetMessageClass(method.output_type),
    )


def policy_of(path: str) -> MethodPolicy:
    """The policy of a method whose generated code is imported, from its path "/package.Service/Method".

    Raises:
        KeyError: There is no such method.
        ContractError: It is one of ours and its policy is missing or wrong.
    """
    method = descriptor_pool.Default().FindMethodByName(path.strip("/").replace("/", "."))
    ours = method.containing_service.full_name.startswith("aac.")
    return read_policy(method) if ours else infrastructure_policy(method)


def _check_field(path: str, option: str, method: MethodDescriptor, field: str, *, repeated: bool) -> None:
    if not field:
        return
    found: FieldDescriptor | None = method.input_type.fields_by_name.get(field)
    if found is None or found.is_repeated != repeated:
        kind = "repeated" if repeated else "singular"
        raise ContractError(f"{path}: {option} names {field!r}, which is not a {kind} field of the request")


class Contract:
    """All methods of a set of gRPC services, by path."""

    def __init__(self, files: Iterable[FileDescriptor]) -> None:
        """Reads every method of the files' services.

        Raises:
            ContractError: A method's policy is missing or wrong.
        """
        self.methods: dict[str, MethodPolicy] = {
            policy.path: policy
            for file in files
            for service in file.services_by_name.values()
            for policy in map(read_policy, service.methods)
        }

    def __getitem__(self, path: str) -> MethodPolicy:
        return self.methods[path]

    def get(self, path: str) -> MethodPolicy | None:
        """The method's policy, or None for a path that is not of the contract."""
        return self.methods.get(path)

    def __iter__(self) -> Iterator[MethodPolicy]:
        return iter(self.methods.values())

    @cached_property
    def services(self) -> tuple[str, ...]:
        """Full names of the gRPC services, sorted."""
        return tuple(sorted({policy.service for policy in self}))

    def manifest(self) -> dict[str, Any]:
        """What gen/policy.json holds: each method's policy by path, sorted."""
        return {path: self.methods[path].manifest() for path in sorted(self.methods)}


def platform_files() -> list[FileDescriptor]:
    """The file descriptors of every package under `aac`, found by walking the generated code."""
    modules = sorted(info.name for info in pkgutil.walk_packages(aac.__path__, "aac.") if info.name.endswith("_pb2"))
    return [importlib.import_module(name).DESCRIPTOR for name in modules]


def platform_contract() -> Contract:
    """The contract of the whole platform."""
    return Contract(platform_files())


if __name__ == "__main__":
    json.dump(platform_contract().manifest(), sys.stdout, indent=2)
    sys.stdout.write("\n")
