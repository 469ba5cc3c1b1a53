"""The registry: who is alive, told to those who ask and to those who watch."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from aac.registry.v1.registry_pb2 import (
    DeregisterRequest,
    HeartbeatRequest,
    Instance,
    ListInstancesRequest,
    RegisterRequest,
    WatchInstancesRequest,
)
from aac.registry.v1.registry_pb2_grpc import RegistryServiceStub
from aac.type.v1.stream_pb2 import FRAME_KIND_DRAINING, FRAME_KIND_SNAPSHOT, TOPIC_INSTANCES

from aac_grpc.client.errors import InvalidFields, PermissionDenied, Unauthenticated
from aac_grpc.common.identity import derive_service_secret
from aac_grpc.common.server import Server
from aac_grpc.registry import service as registry
from tests.integration.services import MESH_SECRET, Caller, Callers, database_away, serving

LEASE_S = 1.0


@pytest.fixture
async def server(installation: dict[str, Any]) -> AsyncIterator[Server]:
    async with serving(registry, installation, instance_lease_s=LEASE_S, registry_poll_s=0.05) as server:
        yield server
    await forget_all(installation)


async def forget_all(installation: dict[str, Any]) -> None:
    async with await psycopg.AsyncConnection.connect(installation["database_url"]) as connection:
        await connection.execute("delete from registry.instances")


def member(callers: Callers, server: Server, service: str = "market-data", secret: str = "") -> Caller:
    credential = {
        "x-aac-service": service,
        "x-aac-service-secret": secret or derive_service_secret(MESH_SECRET, service),
    }
    return callers.add(RegistryServiceStub, server, metadata=credential)


def instance(name: str, service: str = "market-data", address: str = "") -> RegisterRequest:
    return RegisterRequest(
        instance=Instance(instance_id=name, service=service, address=address or f"{name}:1", version="1")
    )


async def names(caller: Caller, service: str = "") -> list[str]:
    response = await caller.ListInstances(ListInstancesRequest(service=service))
    return [one.instance_id for one in response.instances]


async def keep_alive(caller: Caller, name: str) -> None:
    while True:
        await caller.Heartbeat(HeartbeatRequest(instance_id=name))
        await asyncio.sleep(LEASE_S / 5)


async def test_a_registered_instance_is_listed_until_it_leaves(server: Server, callers: Callers) -> None:
    caller, other = member(callers, server), member(callers, server, "analytics")
    assert (await caller.Register(instance("md-1"))).lease.ToMilliseconds() == LEASE_S * 1000
    await other.Register(instance("an-1", "analytics"))
    assert await names(caller) == ["an-1", "md-1"]
    assert await names(caller, "market-data") == ["md-1"]
    await caller.Deregister(DeregisterRequest(instance_id="md-1"))
    assert await names(caller) == ["an-1"]


async def test_an_instance_that_stops_beating_is_removed_after_its_lease(server: Server, callers: Callers) -> None:
    caller = member(callers, server)
    await asyncio.sleep(LEASE_S / 2)  # The sweep after a start spares everybody.
    await caller.Register(instance("alive"))
    await caller.Register(instance("dead"))
    beating = asyncio.create_task(keep_alive(caller, "alive"))
    begun = time.monotonic()
    while await names(caller) != ["alive"]:
        assert time.monotonic() - begun < 3 * LEASE_S
        await asyncio.sleep(0.05)
    assert time.monotonic() - begun > 0.9 * LEASE_S
    assert not (await caller.Heartbeat(HeartbeatRequest(instance_id="dead"))).known
    beating.cancel()


async def test_an_instance_that_comes_back_at_its_address_takes_its_place(server: Server, callers: Callers) -> None:
    caller = member(callers, server)
    await caller.Register(instance("first", address="host:1"))
    await caller.Register(instance("second", address="host:1"))
    assert await names(caller) == ["second"]


async def test_an_instance_that_comes_back_elsewhere_under_its_name_is_told_there(
    server: Server, callers: Callers
) -> None:
    caller = member(callers, server)
    await caller.Register(instance("md-1", address="10.0.0.1:1"))
    watch = caller.stream("WatchInstances", WatchInstancesRequest(service="market-data"))
    assert [one.address for one in (await watch.read()).instances] == ["10.0.0.1:1"]
    await caller.Register(instance("md-1", address="10.0.0.2:1"))
    assert [one.address for one in (await watch.read()).instances] == ["10.0.0.2:1"]
    watch.cancel()


async def test_who_watches_gets_a_snapshot_at_once_and_at_each_change(server: Server, callers: Callers) -> None:
    caller = member(callers, server)
    await caller.Register(instance("md-1"))
    stream = caller.stream("WatchInstances", WatchInstancesRequest(service="market-data"))
    first = await stream.read()
    assert (first.header.kind, first.header.topic) == (FRAME_KIND_SNAPSHOT, TOPIC_INSTANCES)
    assert [one.instance_id for one in first.instances] == ["md-1"]
    await member(callers, server, "analytics").Register(instance("an-1", "analytics"))
    await caller.Register(instance("md-2"))
    second = await stream.read()
    assert [one.instance_id for one in second.instances] == ["md-1", "md-2"]
    assert second.header.epoch == first.header.epoch
    assert second.header.sequence > first.header.sequence
    await caller.Deregister(DeregisterRequest(instance_id="md-1"))
    await caller.Deregister(DeregisterRequest(instance_id="md-2"))
    while (third := await stream.read()).instances:
        pass
    assert third.header.kind == FRAME_KIND_SNAPSHOT
    stream.cancel()


async def test_two_registries_tell_the_same(installation: dict[str, Any], server: Server, callers: Callers) -> None:
    async with serving(registry, installation, instance_lease_s=LEASE_S, registry_poll_s=0.05) as second:
        here, there = member(callers, server), member(callers, second)
        stream = there.stream("WatchInstances", WatchInstancesRequest())
        assert not (await stream.read()).instances
        await here.Register(instance("md-1"))
        frame = await asyncio.wait_for(stream.read(), 2)
        assert [one.instance_id for one in frame.instances] == ["md-1"]
        assert await names(there) == ["md-1"]
        stream.cancel()


async def test_after_a_restart_nobody_is_missing_for_one_lease(installation: dict[str, Any], callers: Callers) -> None:
    lease_s = 2.0
    async with serving(registry, installation, instance_lease_s=lease_s) as first:
        await member(callers, first).Register(instance("md-1"))
    await asyncio.sleep(1.2 * lease_s)
    async with serving(registry, installation, instance_lease_s=lease_s) as second:
        caller = member(callers, second)
        begun = time.monotonic()
        while time.monotonic() - begun < 0.5 * lease_s:
            assert await names(caller) == ["md-1"]
            await asyncio.sleep(0.05)
        assert (await caller.Heartbeat(HeartbeatRequest(instance_id="md-1"))).known
    await forget_all(installation)


async def test_a_registry_that_goes_says_so_to_those_who_watch(installation: dict[str, Any], callers: Callers) -> None:
    async with serving(registry, installation) as server:
        stream = member(callers, server).stream("WatchInstances", WatchInstancesRequest())
        await stream.read()
    assert (await stream.read()).header.kind == FRAME_KIND_DRAINING


async def test_a_service_speaks_for_its_own_instances_only(server: Server, callers: Callers) -> None:
    caller, intruder = member(callers, server), member(callers, server, "analytics")
    await caller.Register(instance("md-1"))
    with pytest.raises(PermissionDenied):
        await intruder.Register(instance("md-2"))
    with pytest.raises(InvalidFields) as taken:
        await intruder.Register(RegisterRequest(instance=Instance(
            instance_id="md-1", service="analytics", address="127.0.0.1:9"
        )))  # fmt: skip
    assert [violation.field for violation in taken.value.violations] == ["instance.instance_id"]
    await intruder.Deregister(DeregisterRequest(instance_id="md-1"))
    assert not (await intruder.Heartbeat(HeartbeatRequest(instance_id="md-1"))).known
    assert await names(caller) == ["md-1"]


async def test_without_a_services_secret_nobody_is_told_anything(server: Server, callers: Callers) -> None:
    stranger = callers.add(RegistryServiceStub, server)
    with pytest.raises(Unauthenticated) as caught:
        await stranger.ListInstances(ListInstancesRequest())
    assert caught.value.reason == "UNAUTHENTICATED"
    for wrong in ("x", derive_service_secret(MESH_SECRET, "analytics")):
        with pytest.raises(Unauthenticated) as caught:
            await names(member(callers, server, secret=wrong))
        assert caught.value.reason == "WRONG_CREDENTIALS"


async def test_an_instance_without_an_address_is_a_field_violation(server: Server, callers: Callers) -> None:
    with pytest.raises(InvalidFields) as caught:
        await member(callers, server).Register(RegisterRequest(instance=Instance(service="market-data")))
    assert {violation.field for violation in caught.value.violations} == {
        "instance.instance_id",
        "instance.address",
    }


async def test_the_last_known_instances_are_told_while_the_database_is_away(
    installation: dict[str, Any], callers: Callers
) -> None:
    async with serving(registry, installation, instance_lease_s=LEASE_S, registry_poll_s=0.05) as server:
        caller = member(callers, server)
        await caller.Register(instance("md-1"))
        async with database_away(installation):
            await asyncio.sleep(2 * LEASE_S)
            assert await names(caller) == ["md-1"]
        # Back again: nobody could renew meanwhile, so nobody is removed before one more lease.
        begun = time.monotonic()
        while time.monotonic() - begun < 0.5 * LEASE_S:
            assert await names(caller) == ["md-1"]
            await asyncio.sleep(0.05)
