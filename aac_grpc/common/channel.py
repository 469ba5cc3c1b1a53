"""Calls to other services of the mesh: shared channels, identity, deadlines, retries, breakers."""

import asyncio
import json
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import grpc
from aac.auth.v1.auth_pb2 import IssueServiceTokenRequest
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub

from aac_grpc.client.channel import channel_options
from aac_grpc.common.breaker import Breakers
from aac_grpc.common.clock import Clock
from aac_grpc.common.identity import SECRET_KEY, SERVICE_KEY, ServiceToken, ServiceTokens
from aac_grpc.common.outgoing import StubChannel
from aac_grpc.common.settings import ServiceSettings

S = TypeVar("S")

AUTH_SERVICE = "auth-service"
REGISTRY = "registry"
CLOSE_GRACE_S = 30.0
MAX_INSTANCES = 64
"""Single instances whose channels are kept; the least recently used goes first."""

SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}})


def target_of(addresses: Sequence[str]) -> str:
    """gRPC's name for one host:port or several.

    Raises:
        ValueError: There are several, and one is not an IPv4 address: gRPC takes lists of addresses only.
    """
    if len(addresses) == 1:
        return addresses[0]
    if any(not address.rpartition(":")[0].replace(".", "").isdigit() for address in addresses):
        raise ValueError(f"several addresses must be IPv4: {', '.join(addresses)}; or give one DNS name")
    return f"ipv4:{','.join(addresses)}"


class Target:
    """One service and the channel to its instances. New addresses replace it; running calls end on the old one.

    Attributes:
        service: Such as "risk-management".
        generation: Grows when the channel is replaced.
    """

    def __init__(self, service: str, addresses: Sequence[str], max_message_bytes: int) -> None:
        self.service = service
        self.generation = 0
        self._addresses = tuple(addresses)
        self._max_message_bytes = max_message_bytes
        self._channel: grpc.aio.Channel | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel, opened at its first use."""
        if self._channel is None:
            options = channel_options(max_message_bytes=self._max_message_bytes, service_config=SERVICE_CONFIG)
            self._channel = grpc.aio.insecure_channel(target_of(self._addresses), options=options)
        return self._channel

    def move(self, addresses: Sequence[str]) -> None:
        """Sends new calls to other addresses."""
        if tuple(addresses) == self._addresses:
            return
        self._addresses = tuple(addresses)
        self.retire()

    def retire(self) -> None:
        """Lets running calls end on the present channel; a later call opens another one."""
        self.generation += 1
        old, self._channel = self._channel, None
        if old is not None:
            task = asyncio.get_running_loop().create_task(old.close(CLOSE_GRACE_S), name=f"close {self.service}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Ends all calls."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close(None)


class Channels:
    """Stubs of other services. Calls on them carry this service's identity, the request id and the time that remains.

    A failed call raises `aac_grpc.client.errors.AacError`, never `grpc.RpcError`: what the other service said where it
    spoke, `DependencyUnavailable` where it could not be reached. Unary methods that the contract calls idempotent are
    tried again while there is time. A deadline is the least of the call's own `timeout` (else the method's timeout
    class) and what remains of the call being served.
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
        self._retired: deque[Target] = deque(maxlen=MAX_INSTANCES)
        self.tokens = ServiceTokens(self._issue, clock)

    def stub(self, stub: Callable[[Any], S], service: str) -> S:
        """A stub of another service's methods, such as `channels.stub(TradingServiceStub, "trading-engine")`."""
        return stub(StubChannel(self.target(service), self._settings, self._breakers, self))

    def target(self, service: str) -> Target:
        """The service's channel and addresses.

        Raises:
            KeyError: There is no such service.
        """
        found = self._targets.get(service)
        if found is None:
            addresses = [one.strip() for one in self._settings.address_of(service).split(",")]
            found = self._targets[service] = Target(service, addresses, self._settings.transport_limit_bytes)
        return found

    def instance(self, service: str, address: str) -> Target:
        """One instance of a service, whatever the registry says of it. Ask again for each call: few are kept.

        Args:
            service: Such as "trading-engine".
            address: Its host:port.
        """
        found = self._instances.get((service, address))
        if found is None:
            found = Target(service, [address], self._settings.transport_limit_bytes)
            self._instances[service, address] = found
            while len(self._instances) > MAX_INSTANCES:
                self._retired.append(self._instances.popitem(last=False)[1])
                self._retired[-1].retire()
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

    async def _issue(self) -> ServiceToken:
        secret = self._settings.service_secret.get_secret_value()
        request = IssueServiceTokenRequest(service=self._service, secret=secret)
        response = await self.stub(AuthServiceStub, AUTH_SERVICE).IssueServiceToken(request)
        return ServiceToken(response.access_token, self._clock.time(), response.expires_at.ToNanoseconds() / 1e9)
