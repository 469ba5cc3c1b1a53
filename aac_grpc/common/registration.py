"""Keeps this instance known to the registry, which the process can do without."""

import asyncio
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import structlog
from aac.registry.v1.registry_pb2 import DeregisterRequest, HeartbeatRequest, Instance, RegisterRequest
from aac.registry.v1.registry_pb2_grpc import RegistryServiceStub

from aac_grpc.client.errors import AacError
from aac_grpc.common.channel import REGISTRY
from aac_grpc.common.resources import Resources

RETRY_S = 1.0
LEAVE_TIMEOUT_S = 1.0

_log = structlog.get_logger("registration")


def code_version() -> str:
    """Version of the installed package; "source" in a checkout that is not installed."""
    try:
        return version("aac-grpc")
    except PackageNotFoundError:
        return "source"


class Registration:
    """This instance's lease at the registry."""

    def __init__(self, resources: Resources, address: str, admin_address: str) -> None:
        """Makes a registration that is not sent yet.

        Args:
            resources: Channels and settings.
            address: host:port that others reach this instance at.
            admin_address: host:port of its admin HTTP server.
        """
        self._stub = resources.channels.stub(RegistryServiceStub, REGISTRY)
        self._instance = Instance(
            instance_id=resources.settings.instance_id,
            service=resources.service,
            address=address,
            admin_address=admin_address,
            version=code_version(),
        )
        self._known = False
        self._leaving = False

    async def keep(self) -> None:
        """Registers, and renews the lease at a third of it, until cancelled. A registry that is away is waited for."""
        lease_s = 0.0
        while not self._leaving:
            try:
                if not self._known:
                    response = await self._stub.Register(RegisterRequest(instance=self._instance))
                    lease_s = response.lease.ToNanoseconds() / 1e9
                    self._known = True
                else:
                    heartbeat = HeartbeatRequest(instance_id=self._instance.instance_id)
                    self._known = (await self._stub.Heartbeat(heartbeat)).known
            except AacError as error:
                _log.debug("the registry is away", error=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                await asyncio.sleep(lease_s / 3 if self._known else 0)

    async def leave(self) -> None:
        """Takes the instance out before it stops, if the registry is there to hear it."""
        self._leaving = True
        if self._known:
            with suppress(AacError):
                request = DeregisterRequest(instance_id=self._instance.instance_id)
                await self._stub.Deregister(request, timeout=LEAVE_TIMEOUT_S)
