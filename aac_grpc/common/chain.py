"""Which interceptors stand around methods, and in which order."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc

from aac_grpc.common.contract import policy_of
from aac_grpc.common.interceptors.access_log import AccessLog
from aac_grpc.common.interceptors.adapter import (
    INVOCATION_METADATA,
    Handler,
    MethodAdapter,
    Serving,
    adapt,
    unknown_method,
)
from aac_grpc.common.interceptors.auth import Authentication, CredentialScheme, Trust
from aac_grpc.common.interceptors.authz import Authorization
from aac_grpc.common.interceptors.breaker import RequiredDependencies
from aac_grpc.common.interceptors.deadline import Deadline
from aac_grpc.common.interceptors.half_open import HalfOpenCalls
from aac_grpc.common.interceptors.hooks import Interceptor, compose
from aac_grpc.common.interceptors.metrics import Metrics
from aac_grpc.common.interceptors.ratelimit import RateLimit
from aac_grpc.common.interceptors.shed import Gate, LoadShedding, PulseGate
from aac_grpc.common.interceptors.streams import PrincipalStreamLimit, StreamLimit
from aac_grpc.common.interceptors.validate import Validation
from aac_grpc.common.resources import Resources
from aac_grpc.common.servicer import Servicer


def outer_chain(resources: Resources) -> list[Interceptor]:
    """What stands around every method, outermost first; recovery is the adapter itself."""
    return [Metrics(), AccessLog(resources.settings), StreamLimit(resources.settings)]


def inner_chain(
    resources: Resources,
    required: Sequence[str],
    schemes: Sequence[CredentialScheme],
    shedding: LoadShedding | None = None,
) -> list[Interceptor]:
    """What stands around methods that are served here rather than forwarded.

    Load shedding stands before all of this, where gRPC asks for handlers; what is in the chain is for items of streams.
    """
    settings = resources.settings
    return [
        Deadline(settings),
        *((shedding,) if shedding is not None else ()),
        Authentication(Trust(resources.verifier, resources.revocations, resources.clock, schemes, resources.service)),
        Authorization(),
        PrincipalStreamLimit(settings),
        RateLimit(settings, resources.quotas),
        RequiredDependencies(resources.breakers, required),
        Validation(),
    ]


class HandlerCollector:
    """Stands in for a server where generated code registers handlers, and keeps them by path."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        """Nothing: the registered ones are the same."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Takes one gRPC service's handlers."""
        self.handlers.update({f"/{service}/{name}": handler for name, handler in handlers.items()})


def handlers_of(servicer: Servicer) -> dict[str, Handler]:
    """A servicer's handlers by path, of every generated class that it inherits.

    Raises:
        TypeError: It inherits none.
    """
    collector = HandlerCollector()
    for base in type(servicer).__mro__:
        if base.__name__.endswith("Servicer") and base.__module__.endswith("_pb2_grpc"):
            module = sys.modules[base.__module__]
            getattr(module, f"add_{base.__name__}_to_server")(servicer, collector)
    if not collector.handlers and not servicer.forwards():
        raise TypeError(f"{type(servicer).__name__} inherits no generated servicer class")
    return collector.handlers


class Handlers(grpc.GenericRpcHandler):
    """Every method of a process, adapted once, and who stands before it."""

    def __init__(self, shedding: LoadShedding, half_open: HalfOpenCalls) -> None:
        self._shedding = shedding
        self._half_open = half_open
        self._served: dict[str, tuple[Handler, Gate | PulseGate | None]] = {}
        self._hidden = shedding.pulse()

    def service(self, details: grpc.HandlerCallDetails) -> Handler:
        """The method's handler, or one that refuses the call; for an unknown method, one that says so."""
        INVOCATION_METADATA.set(details.invocation_metadata)
        path: str = details.method
        self._shedding.arrived += 1
        served = self._served.get(path) or self._hidden.get(path)
        if served is None:
            return unknown_method(path)
        handler, gate = served
        if gate is not None and gate.refuses():
            return gate.refusal
        if not handler.request_streaming:
            self._half_open.begin()
        return handler

    def add(self, path: str, handler: Handler) -> None:
        """Serves a method; the gate before it is that of its policy."""
        self._served[path] = (handler, self._shedding.gate(policy_of(path)))

    @property
    def services(self) -> list[str]:
        """Full names of the gRPC services that are served."""
        return sorted({path.split("/")[1] for path in self._served})


class Chain:
    """Adapts the methods of a process."""

    def __init__(
        self,
        resources: Resources,
        serving: Serving,
        shedding: LoadShedding,
        required: Sequence[str] = (),
        schemes: Sequence[CredentialScheme] = (),
    ) -> None:
        self._serving = serving
        self._outer = outer_chain(resources)
        self._whole = [*self._outer, *inner_chain(resources, required, schemes, shedding)]

    def serve(self, path: str, handler: Handler) -> Handler:
        """A method that is served here.

        Raises:
            ContractError: It has no policy.
        """
        policy = policy_of(path)
        return adapt(MethodAdapter(policy, handler, compose(self._whole, policy), self._serving), handler)

    def forward(self, path: str, handler: Handler) -> Handler:
        """A method that another service serves: bytes pass through, and that service's own chain judges them."""
        policy = policy_of(path)
        hooks = compose(self._outer, policy)
        return adapt(MethodAdapter(policy, handler, hooks, self._serving, forwards=True), handler)
