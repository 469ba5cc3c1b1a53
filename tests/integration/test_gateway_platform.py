"""The one public port in front of the real services: who may call, what it answers itself, what it merges."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from aac.auth.v1.auth_pb2 import LoginRequest
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub
from aac.event.v1.event_pb2 import Event
from aac.gateway.v1.gateway_pb2 import WatchEventsRequest
from aac.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from aac_grpc.client import AsyncClient, Gap
from aac_grpc.client.errors import (
    DependencyUnavailable,
    InvalidFields,
    Overloaded,
    PermissionDenied,
    RateLimited,
    TooManyStreams,
    Unauthenticated,
    UnknownMethod,
    from_rpc_error,
)
from aac_grpc.client.models import Overview
from aac_grpc.client.updates import EventsUpdate
from aac_grpc.common.contract import platform_contract
from aac_grpc.common.event_types import EventType
from aac_grpc.common.events import EventPublisher, outgoing
from aac_grpc.common.server import Server
from aac_grpc.common.topics import RISK
from aac_grpc.servicers import gateway
from tests.integration.gateway_platform import GatewayPlatform, gateway_platform
from tests.integration.services import ADMIN, DEMO, eventually, free_address, serving

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
async def platform(backends: Mapping[str, str]) -> AsyncIterator[GatewayPlatform]:
    async with gateway_platform(backends) as running:
        yield running


@pytest.fixture(scope="module")
async def demo(platform: GatewayPlatform) -> AsyncIterator[AsyncClient]:
    async with platform.client() as client:
        yield client


@pytest.fixture(scope="module")
async def admin(platform: GatewayPlatform) -> AsyncIterator[AsyncClient]:
    async with platform.client(username=ADMIN[0], password=ADMIN[1]) as client:
        yield client


@pytest.fixture(scope="module")
async def venue(platform: GatewayPlatform) -> str:
    return await platform.new_venue()


async def test_an_api_key_may_do_what_its_owner_gave_it(
    platform: GatewayPlatform, demo: AsyncClient, venue: str
) -> None:
    created = await demo.create_api_key("reader", scopes=["market:read", "overview:read"])
    async with platform.client(api_key=created.secret) as program:
        assert await program.quote("GOOG", venue=venue)
        assert isinstance(await program.overview(venue=venue), Overview)
        with pytest.raises(PermissionDenied):
            await program.place_order("GOOG", "buy", 1, price=1, venue=venue)


@pytest.mark.parametrize("own", [True, False], ids=["the gateway's own method", "a forwarded method"])
async def test_a_wrong_api_key_is_refused(platform: GatewayPlatform, venue: str, own: bool) -> None:
    async with platform.client(api_key="aac_0000000000000000_00") as stranger:
        with pytest.raises(Unauthenticated) as refused:
            await (stranger.overview(venue=venue) if own else stranger.quote("GOOG", venue=venue))
    assert refused.value.reason == "WRONG_CREDENTIALS"
    assert refused.value.request_id


async def test_a_call_without_a_credential_is_refused(platform: GatewayPlatform, venue: str) -> None:
    async with AsyncClient(platform.gateway.address) as stranger:
        for call in (stranger.overview(venue=venue), stranger.quote("GOOG", venue=venue)):
            with pytest.raises(Unauthenticated):
                await call
        assert await stranger.methods()


async def test_the_gateways_word_on_an_address_counts_and_a_callers_does_not(platform: GatewayPlatform) -> None:
    """Behind the gateway all callers have its address; the budget of sign-ins is still each caller's own."""
    rate_limits = {"standard": {"LOGIN": (0.001, 2)}}
    auth = platform.services.auth
    limited = {**platform.installation, "rate_limits": rate_limits}
    from aac_grpc.servicers import auth as auth_package

    async with (
        serving(auth_package.service, limited, bootstrap_admin_password="", bootstrap_demo_password="") as strict,
        serving(gateway.service, platform.gateway_settings(auth_address=strict.address)) as front,
        aio.insecure_channel(front.address) as channel,
    ):
        stub = AuthServiceStub(channel)
        reasons = []
        for number in range(4):
            forged = aio.Metadata(("x-aac-client-address", f"10.0.0.{number}"), ("x-aac-forwarder", "forged"))
            try:
                await stub.Login(LoginRequest(username="nobody", password="x"), metadata=forged)
            except aio.AioRpcError as error:
                reasons.append(from_rpc_error(error))
    assert isinstance(reasons[-1], RateLimited)
    assert "127.0.0.1" in reasons[-1].metadata["subject"]
    assert auth is not strict


async def test_every_public_method_is_listed_with_its_policy(demo: AsyncClient) -> None:
    listed = {method.method: method for method in await demo.methods()}
    contract = platform_contract()
    assert set(listed) == {policy.path for policy in contract if not policy.internal}
    for path, method in listed.items():
        assert (method.policy.scope, method.idempotent) == (contract[path].scope, contract[path].idempotent)
    assert listed["/aac.trading.v1.TradingService/PlaceOrder"].service == "trading-engine"


async def test_an_internal_method_is_not_there(platform: GatewayPlatform, demo: AsyncClient) -> None:
    token = (("authorization", f"Bearer {await demo.access_token()}"),)
    async with aio.insecure_channel(platform.gateway.address) as channel:
        for path in (policy.path for policy in platform_contract() if policy.internal):
            with pytest.raises(aio.AioRpcError) as refused:
                await channel.unary_unary(path)(b"", metadata=token)
            assert isinstance(from_rpc_error(refused.value), UnknownMethod), path


async def test_an_overview_gathers_the_account_from_all_services(demo: AsyncClient, venue: str) -> None:
    await demo.place_order("GOOG", "sell", 10, price="101", venue=venue)
    await demo.place_order("GOOG", "buy", 4, price="101", venue=venue)
    resting = await demo.place_order("GOOG", "buy", 3, price="99", venue=venue)
    overview = await demo.overview(venue=venue)
    assert not overview.missing
    assert overview.account is not None
    assert overview.account.cash_held.amount == 297
    assert resting.order in overview.open_orders
    assert {execution.symbol for execution in overview.executions} == {"GOOG"}
    assert [quote.symbol for quote in overview.quotes] == ["GOOG"]
    assert overview.exposure is not None


async def test_what_an_overview_cant_gather_is_named(platform: GatewayPlatform, venue: str) -> None:
    away = platform.gateway_settings(risk_address=free_address())
    async with (
        serving(gateway.service, away) as front,
        AsyncClient(front.address, username=DEMO[0], password=DEMO[1]) as client,
    ):
        overview = await client.overview(venue=venue)
        assert overview.account is not None
        assert overview.exposure is None
        assert isinstance(overview.missing["exposure"], DependencyUnavailable)
        with pytest.raises(DependencyUnavailable) as refused:
            await client.exposure(venue=venue)
        assert refused.value.metadata == {"dependency": "risk-management"}


async def test_another_accounts_overview_is_refused(demo: AsyncClient, venue: str) -> None:
    with pytest.raises(PermissionDenied) as refused:
        await demo.overview("somebody-elses", venue=venue)
    assert refused.value.reason == "FOREIGN_ACCOUNT"


async def test_reflection_describes_every_public_service_with_the_backends_away(platform: GatewayPlatform) -> None:
    import grpc

    public = {policy.service for policy in platform_contract() if not policy.internal}
    address = platform.gateway.address

    def describe() -> set[str]:
        with grpc.insecure_channel(address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            names = set(database.get_services())
            for name in public:
                assert database.FindFileContainingSymbol(name)
            assert database.FindFileContainingSymbol("aac.trading.v1.TradingService.PlaceOrder")
            return names

    assert await asyncio.to_thread(describe) >= public


async def test_health_follows_each_service_behind_the_gateway(platform: GatewayPlatform) -> None:
    async def status(name: str, address: str) -> int:
        async with aio.insecure_channel(address) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
            return int(answer.status)

    serving_now, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    trading, risk = "aac.trading.v1.TradingService", "aac.risk.v1.RiskService"
    away = platform.gateway_settings(risk_address=free_address())
    async with serving(gateway.service, away) as front:

        async def told() -> bool:
            states = [await status(name, front.address) for name in ("", trading, risk)]
            return states == [serving_now, serving_now, not_serving]

        await eventually(told)


def event(number: int, type_: str = "aac.limits.set", venue: str = "") -> Event:
    return Event(event_id=f"gateway-test-{number}", type=type_, source="test", key=f"k{number % 3}", venue=venue)


async def next_events(watching: AsyncIterator[EventsUpdate | Gap], count: int) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(40):
        while len(found) < count:
            update = await anext(watching)
            assert isinstance(update, EventsUpdate)
            found += [one.event_id for one in update.events if one.source == "test"]
    return found


@pytest.fixture(scope="module")
async def publisher(backends: Mapping[str, str]) -> AsyncIterator[EventPublisher]:
    publisher = EventPublisher(backends["KAFKA_BOOTSTRAP_SERVERS"])
    await publisher.start()
    yield publisher
    await publisher.stop()


async def publish(publisher: EventPublisher, *events: Event) -> None:
    await publisher.publish_all([outgoing(one, RISK) for one in events])


async def test_an_operator_sees_the_events_that_are_kept_then_each_new_one(
    admin: AsyncClient, publisher: EventPublisher
) -> None:
    await publish(publisher, *(event(number) for number in range(5)))
    watching = admin.watch_events(from_beginning=True)
    assert set(await next_events(watching, 5)) == {f"gateway-test-{number}" for number in range(5)}
    await publish(publisher, event(5))
    assert await next_events(watching, 1) == ["gateway-test-5"]
    await watching.aclose()


async def test_events_are_chosen_by_type_and_venue(admin: AsyncClient, publisher: EventPublisher) -> None:
    watching = admin.watch_events(types=[EventType.LIMITS_SET], venue="here", from_beginning=True)
    reading = asyncio.create_task(next_events(watching, 1))
    await publish(publisher, event(10, EventType.LIMITS_SET, "there"), event(11, EventType.USER_CREATED, "here"))
    await publish(publisher, event(12, EventType.LIMITS_SET, "here"))
    assert await reading == ["gateway-test-12"]
    await watching.aclose()


async def test_a_type_that_no_service_produces_is_refused_at_once(admin: AsyncClient) -> None:
    with pytest.raises(InvalidFields) as refused:
        await anext(admin.watch_events(types=["aac.order.filled", "aac.order.filed", "nope"]))
    near, far = refused.value.violations
    assert (near.field, far.field) == ("types[1]", "types[2]")
    assert near.description == "'aac.order.filed' is no event type; is aac.order.filled meant?"
    assert far.description.startswith("'nope' is no event type; there are aac.order.accepted|rejected|")
    assert far.description.endswith("|refresh_token_reused"), "all types are told, and the message is not cut"


async def test_a_trader_does_not_see_the_platforms_events(demo: AsyncClient) -> None:
    with pytest.raises(PermissionDenied):
        await anext(demo.watch_events())


async def test_events_go_on_where_they_stopped_after_the_gateway_went_away(
    platform: GatewayPlatform, publisher: EventPublisher
) -> None:
    address, settings = free_address(), platform.gateway_settings()
    port = int(address.rpartition(":")[2])
    disconnects: list[object] = []
    async with AsyncClient(address, username=ADMIN[0], password=ADMIN[1]) as client:
        watching = client.watch_events(
            types=[EventType.ORDER_AMENDED], from_beginning=True, on_disconnect=disconnects.append
        )
        async with serving(gateway.service, settings, grpc_port=port):
            await publish(publisher, *(event(number, EventType.ORDER_AMENDED) for number in range(20, 23)))
            assert sorted(await next_events(watching, 3)) == [f"gateway-test-{number}" for number in range(20, 23)]
        await publish(publisher, *(event(number, EventType.ORDER_AMENDED) for number in range(23, 26)))
        async with serving(gateway.service, settings, grpc_port=port):
            assert sorted(await next_events(watching, 3)) == [f"gateway-test-{number}" for number in range(23, 26)]
            await watching.aclose()
    assert disconnects


async def test_a_watcher_of_events_goes_from_one_gateway_to_the_other_and_back(
    platform: GatewayPlatform, publisher: EventPublisher
) -> None:
    """Two gateways know nothing of each other: whichever of them goes, the other carries on from the watcher's word."""
    first, second = free_address(), free_address()
    settings = platform.gateway_settings()
    disconnects: list[object] = []

    def one(address: str) -> AbstractAsyncContextManager[Server]:
        return serving(gateway.service, settings, grpc_port=int(address.rpartition(":")[2]))

    async def moved_on(start: int) -> None:
        await publish(publisher, *(event(number, EventType.ORDER_CANCELED) for number in range(start, start + 3)))
        assert sorted(await next_events(watching, 3)) == [
            f"gateway-test-{number}" for number in range(start, start + 3)
        ]

    async with AsyncClient(f"{first},{second}", username=ADMIN[0], password=ADMIN[1]) as client:
        watching = client.watch_events(
            types=[EventType.ORDER_CANCELED], from_beginning=True, on_disconnect=disconnects.append
        )
        async with one(second):
            async with one(first):
                await moved_on(30)
            await moved_on(33)
        async with one(first):
            await moved_on(36)
            await watching.aclose()
    assert disconnects


async def test_no_operator_takes_all_places_of_watchers(platform: GatewayPlatform, admin: AsyncClient) -> None:
    password = "operator's own password"
    await admin.create_user("second-operator", password, "operator")
    settings = platform.gateway_settings(event_watchers_per_user=2, event_watchers=3)
    async with (
        serving(gateway.service, settings) as server,
        AsyncClient(server.address, username=ADMIN[0], password=ADMIN[1]) as greedy,
        AsyncClient(server.address, username="second-operator", password=password) as other,
    ):
        watch = GatewayServiceStub(aio.insecure_channel(server.address)).WatchEvents
        taken = [await watching(watch, greedy) for _ in range(2)]
        with pytest.raises(TooManyStreams) as refused:
            await watching(watch, greedy)
        assert refused.value.metadata["setting"] == "AAC_EVENT_WATCHERS_PER_USER"
        taken.append(await watching(watch, other))
        with pytest.raises(Overloaded):
            await watching(watch, other)
        taken.pop(0).cancel()
        async with asyncio.timeout(10):
            while len(taken) < 3:
                with contextlib.suppress(Overloaded):
                    taken.append(await watching(watch, other))


async def watching(watch: Any, client: AsyncClient) -> Any:
    """A stream of events that has begun."""
    stream = watch(WatchEventsRequest(), metadata=(("authorization", f"Bearer {await client.access_token()}"),))
    try:
        await stream.read()
    except aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    return stream
