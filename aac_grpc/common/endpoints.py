"""Where the instances of services are: what the registry last said, kept for when it is away.

Losing the registry loses nothing: what is known stays, and a process that starts meanwhile reads it from a file. A
registry that returns may know less than its clients, until everybody has registered again. So after each new
connection what was known is held for a while beside what the registry names. An instance that is named and can't be
reached does no harm: gRPC does not pick it. One whose host name nobody knows is looked up again and again.
"""

import asyncio
import ipaddress
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

import structlog
from aac.registry.v1.registry_pb2 import Instance, WatchInstancesRequest, WatchInstancesResponse
from aac.registry.v1.registry_pb2_grpc import RegistryServiceStub
from aac.type.v1.stream_pb2 import TOPIC_INSTANCES

from aac_grpc.client.reconnect import Call, ReconnectingStream, ReconnectPolicy
from aac_grpc.client.resume import Position
from aac_grpc.client.retry import RetryPolicy

Known = dict[str, tuple[str, ...]]
"""Addresses by service, sorted."""

RESOLVE_AGAIN_S = 5.0
_POLICY = ReconnectPolicy(endless=True, silence_s=30.0, backoff=RetryPolicy(first_backoff_s=0.2, longest_backoff_s=2.0))

_log = structlog.get_logger("endpoints")


class Endpoints:
    """The addresses of services' instances.

    Attributes:
        known: By service, sorted; a service that is not in it was never heard of.
    """

    def __init__(self, path: Path | None, on_change: Callable[[str, tuple[str, ...]], None], hold_s: float) -> None:
        """Begins with what a file holds.

        Args:
            path: Where what is known is kept; None keeps nothing.
            on_change: Told the addresses of each service whose addresses change.
            hold_s: Seconds that a registry is given, after each new connection to it, to hear of everybody again.
        """
        self._path = path
        self._on_change = on_change
        self._hold_s = hold_s
        self._kept: str | None = None
        self.known: Known = {} if path is None else read(path)
        self._named: dict[str, set[str]] = {}
        self._held: set[tuple[str, str]] = set()
        self._release: asyncio.TimerHandle | None = None
        self._first = True
        self._resolving: asyncio.Task[None] | None = None

    async def follow(self, stub: RegistryServiceStub) -> None:
        """Follows the registry's watch; runs until it is cancelled."""
        try:
            async for named in self._snapshots(stub):
                self._take(named)
                await self._keep()
        finally:
            if self._release is not None:
                self._release.cancel()
            self._resolve_later([])

    def _take(self, named: dict[str, set[str]]) -> None:
        loop = asyncio.get_running_loop()
        if self._first:
            self._first = False
            self._held = {(service, address) for service, addresses in self.known.items() for address in addresses}
            if self._release is not None:
                self._release.cancel()
            self._release = loop.call_later(self._hold_s, self._let_go)
        # Once it has named an instance it knows what becomes of it.
        self._held -= {(service, address) for service, addresses in named.items() for address in addresses}
        self._named = named
        self._tell()

    def _let_go(self) -> None:
        self._held.clear()
        self._tell()

    def _tell(self) -> None:
        for service in {*self.known, *self._named}:
            held = {address for of, address in self._held if of == service}
            # Of a service without an instance the last ones are as good as none.
            addresses = tuple(sorted(held | self._named.get(service, set()))) or self.known[service]
            if addresses != self.known.get(service):
                self.known[service] = addresses
                self._on_change(service, addresses)

    async def _keep(self) -> None:
        text = json.dumps({"services": self.known}, indent=1, sort_keys=True)
        if self._path is None or text == self._kept:
            return
        try:
            await asyncio.to_thread(_replace, self._path, text)
            self._kept = text
        except OSError as error:
            _log.warning("endpoints can't be written", path=str(self._path), error=str(error))

    async def _snapshots(self, stub: RegistryServiceStub) -> AsyncIterator[dict[str, set[str]]]:
        position: Position[Instance]

        async def open_call() -> Call[WatchInstancesResponse]:
            nonlocal position
            position = Position(TOPIC_INSTANCES)
            call: Call[WatchInstancesResponse] = stub.WatchInstances(WatchInstancesRequest())
            return call

        stream = ReconnectingStream(open_call, policy=_POLICY, on_disconnect=lambda error: self._away())
        async for frame in stream.frames():
            step = position.advance(frame.header, frame.instances)
            if step.snapshot:
                named: dict[str, set[str]] = {}
                unknown = await _resolve(step.fresh, named)
                for instance in unknown:
                    _log.warning("an instance's host is not known", address=instance.address)
                self._resolve_later(unknown)
                yield named

    def _resolve_later(self, unknown: Sequence[Instance]) -> None:
        if self._resolving is not None:
            self._resolving.cancel()
            self._resolving = None
        if unknown:
            self._resolving = asyncio.create_task(self._keep_resolving(unknown), name="hosts of instances")

    async def _keep_resolving(self, unknown: Sequence[Instance]) -> None:
        while unknown:
            await asyncio.sleep(RESOLVE_AGAIN_S)
            unknown = await _resolve(unknown, self._named)
            self._tell()
            await self._keep()

    def _away(self) -> None:
        self._first = True
        if self._release is not None:
            # It did not have the time that it is given to hear of everybody.
            self._release.cancel()
        _log.info("the registry is away; what it last said stands", services=len(self.known))


def read(path: Path) -> Known:
    """Reads endpoints that a process wrote; nothing where there is no file, or none that makes sense."""
    try:
        services = json.loads(path.read_text())["services"]
        return {str(service): _checked(addresses) for service, addresses in services.items() if addresses}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        _log.warning("endpoints can't be read", path=str(path), error=str(error))
        return {}


def _checked(addresses: Iterable[str]) -> tuple[str, ...]:
    for address in addresses:
        if not address.rpartition(":")[2].isdecimal():
            raise ValueError(f"no address: {address!r}")
    return tuple(sorted(addresses))


def _replace(path: Path, text: str) -> None:
    """Writes a file whole or not at all; nobody but the owner may read it, or say where calls go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # of mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


async def _resolve(instances: Sequence[Instance], named: dict[str, set[str]]) -> list[Instance]:
    """Adds the addresses of instances by service; gives those whose host nobody knows."""
    unknown = []
    for instance in instances:
        if address := await _numeric(instance.address):
            named.setdefault(instance.service, set()).add(address)
        else:
            unknown.append(instance)
    return unknown


async def _numeric(address: str) -> str | None:
    """The address with its host as a number, since gRPC takes lists of numbers alone; None where nobody knows it."""
    host, _, port = address.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        pass
    else:
        return address
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port)
    except OSError:
        return None
    hosts = [str(info[4][0]) for info in found]
    ipv4 = next((one for one in hosts if ":" not in one), None)
    return f"{ipv4}:{port}" if ipv4 else f"[{hosts[0]}]:{port}"
