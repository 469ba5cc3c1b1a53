"""Calls to other services of the mesh: shared channels, identity, deadlines, retries, breakers."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakSet

from aac.auth.v1.auth_pb2 import IssueServiceTokenRequest
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub
from aac.registry.v1.registry_pb2_grpc import RegistryServiceStub

from aac_grpc.client.channel import SINGLE_SERVICE_CONFIG
from aac_grpc.common.breaker import Breakers
from aac_grpc.common.clock import Clock
from aac_grpc.common.endpoints import Endpoints
from aac_grpc.common.identity import SECRET_KEY, SERVICE_KEY, ServiceToken, ServiceTokens
from aac_grpc.common.outgoing import StubChannel
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.common.target import Target

S = TypeVar("S")

AUTH_SERVICE = "auth-service"
REGISTRY = "registry"
MAX_INSTANCES = 64
"""Single instances whose channels are kept; the least recently used goes first."""


class Channels:
    """Stubs of other services. Calls on them carry this service's identity, the request id and the time that remains.

    A failed call raises `aac_grpc.client.errors.AacError`, never `grpc.RpcError`: what the other service said where it
    spoke, `DependencyUnavailable` where it could not be reached. A deadline is the least of the call's own `timeout`
    (else the method's timeout class) and what remains of the call being served. Unary methods that the contract calls
    idempotent are tried again while there is time, where this process calls on its own account. While it serves a
    call, a failure goes up at once: the caller nearest the user tries again.

    Attributes:
        endpoints: Where instances are; `follow` keeps them current.
        tokens: What proves this process's identity.
    """

    def __init__(self, service: str, settings: ServiceSettings, clock: Clock, breakers: Breakers) -> None:
        """Makes channels that open with their first call.

        Args:
            service: Who calls, such as "trading-engine".
            settings: Addresses, secret and timeouts.
            clock: Wall time.
            breakers: One for each method that is called.
        """
        self._service = service
        self._settings = settings
        self._clock = clock
        self._breakers = breakers
        self._targets: dict[str, Target] = {}
        self._instances: OrderedDict[tuple[str, str], Target] = OrderedDict()
        self._retired: WeakSet[Target] = WeakSet()
        file = settings.endpoints_file if settings.registry_address else None
        self.endpoints = Endpoints(file, self._move, settings.endpoints_hold_s)
        self.tokens = ServiceTokens(self._issue, clock)

    def stub(self, stub: Callable[[Any], S], service: str, *, own_account: bool = False) -> S:
        """A stub of another service's methods, such as `channels.stub(TradingServiceStub, "trading-engine")`.

        Args:
            stub: Generated class.
            service: Who answers.
            own_account: Calls are tried again also while a call is served, since its caller does not learn of failures.
        """
        return stub(StubChannel(self.target(service), self._settings, self._breakers, self, own_account))

    def target(self, service: str) -> Target:
        """The service's channel and addresses: those that the registry names, else the settings'.

        Raises:
            KeyError: There is no such service.
        """
        found = self._targets.get(service)
        if found is None:
            addresses = [one.strip() for one in self._settings.address_of(service).split(",")]
            if service != REGISTRY:
                addresses = list(self.endpoints.known.get(service, addresses))
            found = self._targets[service] = Target(service, addresses, self._settings.transport_limit_bytes)
        return found

    async def follow(self) -> None:
        """Follows the registry, so that calls go to the instances that it names; runs until it is cancelled."""
        if self._settings.registry_address:
            await self.endpoints.follow(self.stub(RegistryServiceStub, REGISTRY))

    def instance(self, service: str, address: str) -> Target:
        """One instance of a service, whatever the registry or its health says. Ask again for each call: few are kept.

        Args:
            service: Such as "trading-engine".
            address: Its host:port.
        """
        found = self._instances.get((service, address))
        if found is None:
            found = Target(service, [address], self._settings.transport_limit_bytes, SINGLE_SERVICE_CONFIG)
            self._instances[service, address] = found
            while len(self._instances) > MAX_INSTANCES:
                _, retired = self._instances.popitem(last=False)
                retired.retire()
                self._retired.add(retired)
        self._instances.move_to_end((service, address))
        return found

    async def close(self) -> None:
        """Ends all calls and closes all channels."""
        await self.tokens.close()
        for target in (*self._targets.values(), *self._instances.values(), *self._retired):
            await target.close()

    async def metadata(self, service: str) -> tuple[tuple[str, str], ...]:
        """What proves this process's identity to a service."""
        if service == REGISTRY:
            secret = self._settings.service_secret.get_secret_value()
            return ((SERVICE_KEY, self._service), (SECRET_KEY, secret))
        return (("authorization", f"Bearer {await self.tokens.get()}"),)

    def refused(self) -> None:
        """A service did not take this process's token: the next call gets a new one."""
        self.tokens.forget()

    def _move(self, service: str, addresses: tuple[str, ...]) -> None:
        if service in self._targets and service != REGISTRY:
            self._targets[service].move(addresses)

    async def _issue(self) -> ServiceToken:
        secret = self._settings.service_secret.get_secret_value()
        request = IssueServiceTokenRequest(service=self._service, secret=secret)
        response = await self.stub(AuthServiceStub, AUTH_SERVICE).IssueServiceToken(request)
        return ServiceToken(response.access_token, self._clock.time(), response.expires_at.ToNanoseconds() / 1e9)
