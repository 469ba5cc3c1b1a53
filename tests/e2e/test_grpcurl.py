"""Everything that a stranger does first, through the gateway's port with grpcurl alone; and the fill on Kafka."""

import re
import secrets
from typing import Any

import pytest

from aac_grpc.common.topics import EXECUTIONS, ORDERS
from tests.support.grpcurl import CallFailed, Grpcurl, find_grpcurl
from tests.support.installation import Installation
from tests.support.kafka_reader import KafkaReader

AUTH = "aac.auth.v1.AuthService"
GATEWAY = "aac.gateway.v1.GatewayService"
MARKET = "aac.marketdata.v1.MarketDataService"
TRADING = "aac.trading.v1.TradingService"
GRPC_SERVICES = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}


@pytest.fixture(scope="module")
def grpcurl(platform: Installation) -> Grpcurl:
    return Grpcurl(find_grpcurl(), platform.gateway)


async def log_in(grpcurl: Grpcurl, username: str, password: str) -> str:
    answer = await grpcurl.call(f"{AUTH}/Login", {"username": username, "password": password})
    token: str = answer["tokens"]["accessToken"]
    return token


async def public_methods(grpcurl: Grpcurl) -> list[str]:
    answer = await grpcurl.call(f"{GATEWAY}/ListMethods", {})
    return [method["method"].strip("/") for method in answer["methods"]]


async def test_every_service_is_listed_and_described(grpcurl: Grpcurl) -> None:
    methods = await public_methods(grpcurl)
    services = {method.partition("/")[0] for method in methods}
    assert services >= {AUTH, GATEWAY, MARKET, TRADING, "aac.risk.v1.RiskService", "aac.analytics.v1.AnalyticsService"}
    assert set(await grpcurl.names()) == services | GRPC_SERVICES
    for service in services:
        described = await grpcurl.describe(service)
        listed = {method.rpartition(".")[2] for method in await grpcurl.names(service)}
        public = {method.partition("/")[2] for method in methods if method.startswith(f"{service}/")}
        assert public <= listed, service
        assert all(f"rpc {name} (" in described for name in public), service
        for message in set(re.findall(r"\( *(?:stream )?\.([\w.]+) *\)", described)):
            assert message.rpartition(".")[2] in await grpcurl.describe(message)


async def test_health_is_told_for_the_gateway_and_for_each_service_behind_it(grpcurl: Grpcurl) -> None:
    for service in ("", AUTH, GATEWAY, MARKET, TRADING):
        answer = await grpcurl.call("grpc.health.v1.Health/Check", {"service": service})
        assert answer == {"status": "SERVING"}, service


async def test_a_failed_call_tells_why_in_details_that_grpcurl_can_show(grpcurl: Grpcurl) -> None:
    with pytest.raises(CallFailed) as refused:
        await grpcurl.call(f"{TRADING}/GetAccount", {"accountId": "demo"})
    assert "UNAUTHENTICATED" in str(refused.value)
    assert '"domain": "aac"' in str(refused.value)


async def test_an_order_fills_and_is_seen_in_streams_overview_and_on_kafka(
    grpcurl: Grpcurl, platform: Installation, venue: str
) -> None:
    """One sitting of a stranger: two users, a stream open on the market, a trade, and what everybody sees of it."""
    buyer, seller = await new_user(grpcurl, platform, venue), await new_user(grpcurl, platform, venue)

    async with grpcurl.stream(f"{MARKET}/Stream", buyer.token) as stream:
        topics = {"trades": "TOPIC_TRADES", "depth": "TOPIC_DEPTH", "quotes": "TOPIC_QUOTES"}
        await stream.send(
            {
                "subscribe": [
                    *({"id": name, "venue": venue, "symbol": "GOOG", "topic": topic} for name, topic in topics.items()),
                    {"id": "bad", "venue": venue, "symbol": "NOPE", "topic": "TOPIC_TRADES"},
                ]
            }
        )
        statuses = [(await stream.until("ITEM_STATUS"))["header"] for _ in range(4)]
        codes = {status["itemId"]: status["status"].get("code", 0) for status in statuses}
        assert codes == {"trades": 0, "depth": 0, "quotes": 0, "bad": 5}

        resting = await grpcurl.call(f"{TRADING}/PlaceOrder", order(venue, "SIDE_SELL", "10", "570.12"), seller.token)
        assert resting["order"]["state"] == "ORDER_STATE_OPEN"
        deeper = await stream.until("UPDATE", "DEPTH")
        assert deeper["levels"] == [
            {"side": "SIDE_SELL", "price": "570.12", "quantity": "10", "orders": 1, "sequence": "1"}
        ]

        filled = await grpcurl.call(f"{TRADING}/PlaceOrder", order(venue, "SIDE_BUY", "4", "570.12"), buyer.token)
        assert filled["order"]["state"] == "ORDER_STATE_FILLED"
        (execution,) = filled["executions"]
        (trade,) = (await stream.until("UPDATE", "TRADES"))["trades"]
        assert (trade["tradeId"], trade["price"], trade["quantity"]) == (execution["tradeId"], "570.12", "4")

        await stream.send({"unsubscribe": ["trades"]})
        assert (await stream.until("ITEM_STATUS"))["header"]["itemId"] == "trades"

    overview = await grpcurl.call(f"{GATEWAY}/GetOverview", {"venue": venue, "accountId": buyer.account}, buyer.token)
    assert overview["missing"] == []
    assert overview["account"]["cash"] == {"currency": "USD", "amount": "7719.52"}
    assert [(held["symbol"], held["quantity"]) for held in overview["positions"]] == [("GOOG", "4")]
    assert [one["executionId"] for one in overview["executions"]] == [execution["executionId"]]
    assert overview["quotes"][0]["lastPrice"] == "570.12"
    resting_now = await grpcurl.call(f"{GATEWAY}/GetOverview", {"venue": venue}, seller.token)
    assert [(one["orderId"], one["openQuantity"]) for one in resting_now["openOrders"]] == [
        (resting["order"]["orderId"], "6")
    ]

    await kafka_has_the_fill(platform, venue, filled["order"], {execution["tradeId"]: {buyer.account, seller.account}})


async def kafka_has_the_fill(
    platform: Installation, venue: str, filled: dict[str, Any], trades: dict[str, set[str]]
) -> None:
    reader = KafkaReader(platform.address("kafka"), (ORDERS, EXECUTIONS), venue=venue)
    try:

        def found() -> dict[str, set[str]]:
            sides: dict[str, set[str]] = {}
            for event in reader.events.values():
                if event.HasField("execution"):
                    execution = event.execution.execution
                    sides.setdefault(execution.trade_id, set()).add(execution.account_id)
            return sides

        assert await reader.read_until(lambda: found() == trades), found()
        (event,) = (event for event in reader.events.values() if event.order.order.order_id == filled["orderId"]
                    and event.type == "aac.order.filled")  # fmt: skip
        assert event.order.order.filled_quantity == "4"
        assert event.order.order.client_order_id == filled["clientOrderId"]
        assert event.key == f"{venue}/{filled['accountId']}"
    finally:
        reader.close()


class User:
    def __init__(self, account: str, token: str) -> None:
        self.account = account
        self.token = token


async def new_user(grpcurl: Grpcurl, platform: Installation, venue: str) -> User:
    name, password = f"g{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    admin = await log_in(grpcurl, "admin", platform.passwords["admin"])
    await grpcurl.call(f"{AUTH}/CreateAccount", {"accountId": name, "name": "by grpcurl"}, admin)
    user = {"requestId": name, "username": name, "password": password, "role": "ROLE_TRADER", "accountIds": [name]}
    await grpcurl.call(f"{AUTH}/CreateUser", user, admin)
    # A token names the accounts that there were when it was issued.
    admin = await log_in(grpcurl, "admin", platform.passwords["admin"])
    cash = {"currency": "USD", "amount": "10000"}
    opening = {"venue": venue, "accountId": name, "cash": cash, "allowShort": True}
    await grpcurl.call(f"{TRADING}/OpenAccount", opening, admin)
    return User(name, await log_in(grpcurl, name, password))


def order(venue: str, side: str, quantity: str, price: str) -> dict[str, Any]:
    return {
        "venue": venue,
        "clientOrderId": f"g-{secrets.token_hex(6)}",
        "symbol": "GOOG",
        "side": side,
        "type": "ORDER_TYPE_LIMIT",
        "quantity": quantity,
        "price": price,
    }
