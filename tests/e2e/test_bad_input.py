"""Every bad input tried gets the status and the details of the design, and the services live on."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import grpc
import pytest
from aac.auth.v1 import auth_pb2
from aac.marketdata.v1 import marketdata_pb2
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceStub
from aac.trading.v1 import trading_pb2
from aac.type.v1 import stream_pb2
from google.rpc import error_details_pb2 as details_pb2
from grpc import aio

from aac_grpc.client.errors import from_status
from aac_grpc.common.contract import platform_contract
from tests.e2e.bad_input import AUTH, MARKET, TABLE, TRADING, Bad, World, place
from tests.support.forgery import new_forger
from tests.support.installation import CHECKOUT, Installation
from tests.support.markets import Trader, new_traders
from tests.support.refusals import Refusal, refusal

NEVER_SAID = ("Traceback", "psycopg", "asyncio", "<class", 'File "', "select ", "SELECT ", str(CHECKOUT), "errno")
"""What would tell how the platform is made."""


async def log_in(channel: aio.Channel, username: str, password: str) -> str:
    call = channel.unary_unary(
        AUTH + "Login", auth_pb2.LoginRequest.SerializeToString, auth_pb2.LoginResponse.FromString
    )
    response = await call(auth_pb2.LoginRequest(username=username, password=password))
    token: str = response.tokens.access_token
    return token


@pytest.fixture(scope="module")
async def gateway(platform: Installation) -> AsyncIterator[aio.Channel]:
    # Nothing is held back on the client's side.
    async with aio.insecure_channel(platform.gateway, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield channel


@pytest.fixture(scope="module")
async def world(platform: Installation, gateway: aio.Channel, venue: str, traders: list[Trader]) -> World:
    trader, other = traders
    (viewer,) = await new_traders(platform, 1, role="viewer")
    people = {"trader": trader, "other": other, "viewer": viewer}
    tokens = {name: await log_in(gateway, one.username, one.password) for name, one in people.items()}
    tokens["admin"] = await log_in(gateway, "admin", platform.passwords["admin"])
    good, forger = tokens["trader"], await new_forger(platform)
    tokens |= {
        "garbage": "garbage",
        "empty": "",
        "damaged": forger.damaged(good),
        "by_a_stranger": forger.by_a_stranger(good),
        "by_nobody": forger.by_nobody(good),
        "of_another_issuer": forger.with_claims(good, iss="somebody"),
        "expired": forger.expired(good),
    }
    async with (
        platform.client(trader.username, trader.password) as client,
        platform.client(other.username, other.password) as elsewhere,
    ):
        mine = await client.place_order("GOOG", "buy", 10, price="500", venue=venue)
        cancelled = await client.place_order("GOOG", "buy", 10, price="501", venue=venue)
        used = "used-before"
        order_id = cancelled.order.order_id
        await client.amend_order(order_id, price="502", request_id=used, venue=venue)
        await client.cancel_order(order_id, request_id=used, venue=venue)
        theirs = await elsewhere.place_order("GOOG", "buy", 10, price="500", venue=venue)
        key = await client.create_api_key("for a moment")
        await client.revoke_api_key(key.api_key.key_id)
    return World(
        venue=venue,
        account=trader.account,
        other_account=other.account,
        order_id=mine.order.order_id,
        client_order_id=mine.order.client_order_id,
        other_order_id=theirs.order.order_id,
        used_request_id=used,
        tokens=tokens,
        api_keys={"garbage": "aac_garbage", "revoked": key.secret},
    )


async def refusal_of(channel: aio.Channel, world: World, bad: Bad) -> Refusal:
    policy = platform_contract()[bad.method]
    metadata = [("authorization", f"Bearer {world.tokens[bad.caller]}")] if bad.caller else []
    if bad.api_key:
        metadata.append(("x-api-key", world.api_keys[bad.api_key]))
    streaming = policy.client_streaming, policy.server_streaming
    return await refusal(channel, bad.method, [bad.request(world)], streaming=streaming, metadata=metadata)


def check(refused: Refusal) -> None:
    """What every refusal has: who refused, the request's id, no word about how the platform is made."""
    assert refused.info.domain == "aac"
    request_info = refused.details[details_pb2.RequestInfo]
    assert request_info.request_id == refused.sent_request_id == refused.told_request_id
    assert refused.message
    assert [word for word in NEVER_SAID if word in refused.text] == []


@pytest.mark.parametrize("bad", TABLE, ids=str)
async def test_bad_input_gets_its_status_with_details(gateway: aio.Channel, world: World, bad: Bad) -> None:
    refused = await refusal_of(gateway, world, bad)
    assert f"{refused.code.name} {refused.info.reason}" == bad.expected, refused.text
    check(refused)
    assert sorted(refused.fields) == sorted(bad.fields), refused.text
    told = dict(refused.info.metadata)
    assert {key: told.get(key) for key in bad.metadata} == dict(bad.metadata)


@pytest.mark.parametrize("method", ["/aac.trading.v1.VenueService/CreateVenue", "/aac.risk.v1.RiskService/CheckOrders"])
async def test_an_internal_method_is_not_there_for_the_gateway_and_forbidden_at_the_service(
    platform: Installation, gateway: aio.Channel, world: World, method: str
) -> None:
    metadata = [("authorization", f"Bearer {world.tokens['admin']}")]
    refused = await refusal(gateway, method, [b""], metadata=metadata)
    assert (refused.code, refused.info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD")
    check(refused)
    service = "trading-engine" if "trading" in method else "risk-management"
    async with aio.insecure_channel(platform.address(service)) as channel:
        refused = await refusal(channel, method, [b""], metadata=metadata)
    assert (refused.code, refused.info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "INTERNAL_METHOD")
    check(refused)


@pytest.mark.parametrize(
    "method", ["/aac.trading.v1.TradingService/Nope", "/aac.nope.v1.NopeService/Nope", "/nonsense", "/a/b/c"]
)
async def test_a_method_that_is_not_there_is_refused_with_details(gateway: aio.Channel, method: str) -> None:
    refused = await refusal(gateway, method, [b"anything"])
    assert (refused.code, refused.info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD")
    check(refused)


@pytest.mark.parametrize(
    ("service", "method"),
    [
        ("trading-engine", "/aac.trading.v1.TradingService/PlaceOrder"),
        ("trading-engine", "/aac.trading.v1.TradingService/WatchOrders"),
        ("market-data", "/aac.marketdata.v1.MarketDataService/Stream"),
        ("risk-management", "/aac.risk.v1.RiskService/GetLimits"),
        ("analytics", "/aac.analytics.v1.AnalyticsService/GetPerformance"),
        ("auth-service", "/aac.auth.v1.AuthService/ListApiKeys"),
    ],
)
@pytest.mark.parametrize("raw", [b"\xff\xff garbage", bytes(2 << 20)], ids=["garbage", "large"])
async def test_each_service_refuses_bad_bytes_itself(
    platform: Installation, world: World, service: str, method: str, raw: bytes
) -> None:
    """With no gateway before it: any proxy, or none, may stand there."""
    policy = platform_contract()[method]
    async with aio.insecure_channel(platform.address(service)) as channel:
        refused = await refusal(
            channel,
            method,
            [raw],
            streaming=(policy.client_streaming, policy.server_streaming),
            metadata=[("authorization", f"Bearer {world.tokens['trader']}")],
        )
    assert refused.info.reason == ("MALFORMED" if raw.startswith(b"\xff") else "MESSAGE_TOO_LARGE")
    check(refused)


@pytest.mark.parametrize("method", ["FollowMarket", "Feed"])
async def test_garbage_from_a_service_is_refused_on_the_mesh_s_own_streams(
    platform: Installation, world: World, method: str
) -> None:
    path = f"/aac.trading.v1.VenueService/{method}"
    policy = platform_contract()[path]
    async with aio.insecure_channel(platform.address("trading-engine")) as channel:
        refused = await refusal(
            channel,
            path,
            [b"\xff\xff garbage"],
            streaming=(policy.client_streaming, policy.server_streaming),
            metadata=[("authorization", f"Bearer {await platform.service_token('feed')}")],
        )
    assert (refused.code, refused.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED")
    check(refused)


async def test_garbage_in_the_middle_of_a_stream_ends_it_with_details(gateway: aio.Channel, world: World) -> None:
    heartbeat = marketdata_pb2.StreamRequest(unsubscribe=["nothing"])
    refused = await refusal(
        gateway,
        MARKET + "Stream",
        [heartbeat, heartbeat, b"\xff\xff garbage"],
        streaming=(True, True),
        metadata=[("authorization", f"Bearer {world.tokens['trader']}")],
    )
    assert (refused.code, refused.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED")
    check(refused)


@pytest.mark.parametrize("method", [TRADING + "PlaceOrder", TRADING + "WatchOrders", MARKET + "Stream"])
async def test_a_message_above_the_transport_s_limit_is_refused_by_grpc_itself(
    gateway: aio.Channel, world: World, method: str
) -> None:
    policy = platform_contract()[method]
    refused = await refusal(
        gateway,
        method,
        [bytes(5 << 20)],
        streaming=(policy.client_streaming, policy.server_streaming),
        metadata=[("authorization", f"Bearer {world.tokens['trader']}")],
    )
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [word for word in NEVER_SAID if word in refused.text] == []


async def test_a_deadline_that_passes_at_the_service_is_told_with_details(gateway: aio.Channel, world: World) -> None:
    """A book as of an event that never comes."""
    request = marketdata_pb2.GetBookRequest(venue=world.venue, symbol="GOOG", min_sequence=10**12)
    metadata = [("authorization", f"Bearer {world.tokens['trader']}")]
    for _ in range(10):
        refused = await refusal(gateway, MARKET + "GetBook", [request], metadata=metadata, timeout=0.7)
        assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
        if refused.details:  # else the answer came after the caller's own deadline, as it may on a busy machine
            break
    assert refused.info.reason == "DEADLINE_EXCEEDED"
    check(refused)


async def test_a_deadline_that_has_passed_already_places_no_order(gateway: aio.Channel, world: World) -> None:
    metadata = [("authorization", f"Bearer {world.tokens['trader']}")]
    key = f"late-{secrets.token_hex(4)}"
    refused = await refusal(
        gateway, TRADING + "PlaceOrder", [place(world, client_order_id=key)], metadata=metadata, timeout=0.0
    )
    assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.sleep(0.2)
    request = trading_pb2.GetOrderRequest(venue=world.venue, client_order_id=key)
    unknown = await refusal(gateway, TRADING + "GetOrder", [request], metadata=metadata)
    assert unknown.code is grpc.StatusCode.NOT_FOUND


async def test_nobody_outside_is_a_service_by_saying_so(platform: Installation, gateway: aio.Channel) -> None:
    """Identity headers from outside are dropped at the gateway, and count for nothing at a service."""
    claims = [("x-aac-service", "trading-engine"), ("x-aac-service-secret", "guess"), ("x-aac-forwarder", "guess"),
              ("x-aac-client-address", "10.0.0.1"), ("x-aac-principal", "admin")]  # fmt: skip
    async with aio.insecure_channel(platform.address("trading-engine")) as channel:
        for to, reason in ((gateway, "UNAUTHENTICATED"), (channel, "INVALID_TOKEN")):
            refused = await refusal(to, TRADING + "GetAccount", [b""], metadata=claims)
            assert (refused.code, refused.info.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
            check(refused)


async def test_faulty_items_get_a_status_each_and_the_stream_lives_on(gateway: aio.Channel, world: World) -> None:
    item = marketdata_pb2.Subscription
    good = item(id="good", venue=world.venue, symbol="GOOG", topic=stream_pb2.TOPIC_TRADES)
    bad = {
        "no-symbol": item(id="no-symbol", venue=world.venue, topic=stream_pb2.TOPIC_TRADES),
        "unknown-symbol": item(id="unknown-symbol", venue=world.venue, symbol="NOPE", topic=stream_pb2.TOPIC_TRADES),
        "unknown-venue": item(id="unknown-venue", venue="nowhere", symbol="GOOG", topic=stream_pb2.TOPIC_TRADES),
        "wrong-topic": item(id="wrong-topic", venue=world.venue, symbol="GOOG", topic=stream_pb2.TOPIC_ORDERS),
        "good": good,
    }
    metadata = [("authorization", f"Bearer {world.tokens['trader']}"), ("x-request-id", "one-stream")]
    call = MarketDataServiceStub(gateway).Stream(metadata=metadata)
    await call.write(marketdata_pb2.StreamRequest(subscribe=[good]))
    assert (await next_status(call)).status.code == 0
    await call.write(marketdata_pb2.StreamRequest(subscribe=bad.values(), unsubscribe=["never-was"]))
    statuses = [await next_status(call) for _ in range(len(bad) + 1)]
    errors = {header.item_id: from_status(header.status) for header in statuses}
    assert {error.request_id for error in errors.values()} == {"one-stream"}
    assert {item_id: error.reason for item_id, error in errors.items()} == {
        "never-was": "NOT_FOUND",
        "no-symbol": "INVALID_FIELDS",
        "unknown-symbol": "NOT_FOUND",
        "unknown-venue": "NOT_FOUND",
        "wrong-topic": "INVALID_FIELDS",
        "good": "ALREADY_EXISTS",
    }
    await call.write(marketdata_pb2.StreamRequest(unsubscribe=["good"]))
    assert (await next_status(call)).status.code == 0
    call.cancel()


async def next_status(call: aio.StreamStreamCall) -> stream_pb2.StreamHeader:
    async with asyncio.timeout(10):
        while True:
            header = (await call.read()).header
            if header.kind == stream_pb2.FRAME_KIND_ITEM_STATUS:
                return header


async def test_wrong_passwords_lock_a_user_out_with_a_time_to_come_back(
    platform: Installation, gateway: aio.Channel
) -> None:
    (victim,) = await new_traders(platform, 1)
    request = auth_pb2.LoginRequest(username=victim.username, password="guess")
    reasons = []
    for _ in range(6):
        refused = await refusal(gateway, AUTH + "Login", [request])
        check(refused)
        reasons.append(refused.info.reason)
    assert reasons == [*["WRONG_CREDENTIALS"] * 5, "LOCKED_OUT"]
    assert refused.details[details_pb2.RetryInfo].retry_delay.seconds > 0
    right = auth_pb2.LoginRequest(username=victim.username, password=victim.password)
    assert (await refusal(gateway, AUTH + "Login", [right])).info.reason == "LOCKED_OUT"


async def test_a_spent_budget_is_told_with_quota_and_a_time_to_come_back(
    platform: Installation, gateway: aio.Channel
) -> None:
    (user,) = await new_traders(platform, 1)
    token = await log_in(gateway, user.username, user.password)
    metadata = [("authorization", f"Bearer {token}")]
    call = gateway.unary_unary(AUTH + "ListAccounts")
    await asyncio.gather(*(call(b"", metadata=metadata) for _ in range(20)))
    # ADMIN: 20 a second, 40 at once.
    answers = await asyncio.gather(
        *(refusal(gateway, AUTH + "CreateApiKey", [b""], metadata=metadata) for _ in range(80))
    )
    by_code = {refused.code: refused for refused in answers}
    assert by_code.keys() == {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
    refused = by_code[grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert refused.info.reason == "RATE_LIMITED"
    check(refused)
    assert refused.info.metadata["quota"] == "ADMIN"
    assert details_pb2.QuotaFailure in refused.details
    assert refused.details[details_pb2.RetryInfo].HasField("retry_delay")


async def test_after_all_of_it_every_service_lives_and_trades(
    platform: Installation, world: World, traders: list[Trader], gateway: aio.Channel
) -> None:
    """The last test of the module: no process has ended, nothing failed inside, and an order fills."""
    # Once more, all at the same time; but for logins, whose budget is small.
    await asyncio.gather(*(refusal_of(gateway, world, bad) for bad in TABLE if "Login" not in bad.method))
    status = (await platform.status())["status"]
    assert {one["name"]: (one["state"], one["restarts"]) for one in status["processes"]} == {
        one["name"]: ("ready", 0) for one in status["processes"]
    }
    for service in ("api-gateway", "auth-service", "market-data", "trading-engine", "risk-management", "analytics"):
        log = platform.log(service)
        assert "unexpected exception" not in log
        assert "internal error" not in log
        for secret in (world.tokens["trader"], traders[0].password, platform.passwords["admin"]):
            assert secret not in log, f"{service} logs a secret"
    buyer, seller = traders
    async with (
        platform.client(buyer.username, buyer.password) as buys,
        platform.client(seller.username, seller.password) as sells,
    ):
        await sells.place_order("GOOG", "sell", 5, price="570.12", venue=world.venue)
        placed = await buys.place_order("GOOG", "buy", 5, price="570.12", venue=world.venue)
    assert placed.order.state == "filled"
