"""Limits and verdicts: set by people, in force at once, judged from memory."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aac.risk.v1 import risk_pb2
from aac.risk.v1.risk_pb2 import (
    RULE_BUYING_POWER,
    RULE_ORDER_SIZE,
    AccountState,
    CheckOrdersRequest,
    GetLimitsRequest,
    Limits,
    OrderCheck,
    ReferencePrice,
    SetLimitsRequest,
)
from aac.risk.v1.risk_pb2_grpc import RiskServiceStub
from aac.type.v1.market_pb2 import SIDE_BUY
from aac.type.v1.money_pb2 import Money

from aac_grpc.client.errors import InvalidFields, KeyReused, PermissionDenied, Unavailable, VersionClash
from aac_grpc.common.server import Server
from aac_grpc.common.topics import RISK
from aac_grpc.servicers import risk
from tests.integration.services import (
    ADMIN,
    DEMO,
    Caller,
    Callers,
    auth_serving,
    database_away,
    eventually,
    service_token,
    serving,
    sign_in,
    told,
)

V1, V2, V3, V4, V5, V6, V7 = (f"v{number}-{secrets.token_hex(3)}" for number in range(1, 8))
"""Venues of this run; Redis may remember those of others."""

DEFAULTS = {"default_max_order_quantity": "1000", "default_price_band": "0.1", "default_max_open_orders": 50}


@pytest.fixture(scope="module")
async def auth(installation: dict[str, Any]) -> AsyncIterator[Server]:
    async with auth_serving(installation) as server:
        yield server


@pytest.fixture(scope="module")
async def server(installation: dict[str, Any], auth: Server) -> AsyncIterator[Server]:
    async with serving(risk.service, installation, auth_address=auth.address, **DEFAULTS) as server:
        yield server


async def person(callers: Callers, auth: Server, server: Server, name: str, password: str) -> Caller:
    response = await sign_in(auth.address, name, password)
    return callers.add(RiskServiceStub, server, token=response.tokens.access_token)


@pytest.fixture
async def admin(callers: Callers, auth: Server, server: Server) -> Caller:
    return await person(callers, auth, server, *ADMIN)


@pytest.fixture
async def demo(callers: Callers, auth: Server, server: Server) -> Caller:
    return await person(callers, auth, server, *DEMO)


@pytest.fixture
async def engine(callers: Callers, auth: Server, server: Server) -> Caller:
    """The trading engine, which asks for verdicts."""
    return callers.add(RiskServiceStub, server, token=await service_token(auth, "trading-engine"))


def check(quantity: str, price: str = "10", venue: str = "main", account: str = "demo") -> CheckOrdersRequest:
    return CheckOrdersRequest(
        venue=venue,
        orders=[
            OrderCheck(
                command_id="c-1", account_id=account, symbol="GOOG", side=SIDE_BUY, quantity=quantity, price=price
            )
        ],
        accounts=[AccountState(account_id=account, cash=Money(currency="USD", amount="100000"))],
        reference_prices=[ReferencePrice(symbol="GOOG", price="10")],
    )


async def broken(engine: Caller, request: CheckOrdersRequest) -> list[int]:
    (verdict,) = (await engine.CheckOrders(request)).verdicts
    assert verdict.command_id == "c-1"
    assert verdict.accepted == all(finding.passed for finding in verdict.findings)
    return [finding.rule for finding in verdict.findings if not finding.passed]


async def test_an_account_without_limits_has_the_platforms_defaults(demo: Caller, engine: Caller) -> None:
    response = await demo.GetLimits(GetLimitsRequest())
    assert (response.account_id, response.version, response.own) == ("demo", 0, Limits())
    assert response.effective.max_order_quantity == "1000"
    assert response.effective.price_band == "0.1"
    assert await broken(engine, check("1000")) == []
    assert await broken(engine, check("1001")) == [RULE_ORDER_SIZE]
    assert await broken(engine, check("1", price="11.01")) == [risk_pb2.RULE_PRICE_BAND]


async def test_limits_that_are_set_hold_for_the_next_order(admin: Caller, engine: Caller) -> None:
    assert await broken(engine, check("50", venue=V1)) == []
    own = Limits(max_order_quantity="20")
    response = await admin.SetLimits(SetLimitsRequest(venue=V1, account_id="demo", limits=own, request_id="r-1"))
    assert response.version == 1
    assert (response.effective.max_order_quantity, response.effective.price_band) == ("20", "0.1")
    assert await broken(engine, check("50", venue=V1)) == [RULE_ORDER_SIZE]
    assert await broken(engine, check("50", venue=V2)) == []


async def test_limits_set_at_one_instance_hold_at_another(
    installation: dict[str, Any], auth: Server, server: Server, callers: Callers, admin: Caller
) -> None:
    async with serving(risk.service, installation, auth_address=auth.address, **DEFAULTS) as second:
        token = await service_token(auth, "trading-engine")
        engine = callers.add(RiskServiceStub, second, token=token)
        assert await broken(engine, check("50", venue=V3)) == []
        own = Limits(max_order_quantity="20")
        await admin.SetLimits(SetLimitsRequest(venue=V3, account_id="demo", limits=own, request_id="r-3"))

        async def holds() -> bool:
            return await broken(engine, check("50", venue=V3)) == [RULE_ORDER_SIZE]

        await eventually(holds, seconds=2)


async def test_limits_are_replaced_whole(admin: Caller) -> None:
    first = SetLimitsRequest(venue=V4, account_id="demo", limits=Limits(max_position="7"), request_id="v4-1")
    await admin.SetLimits(first)
    second = SetLimitsRequest(venue=V4, account_id="demo", limits=Limits(max_open_orders=3), request_id="v4-2")
    await admin.SetLimits(second)
    response = await admin.GetLimits(GetLimitsRequest(venue=V4, account_id="demo"))
    assert (response.version, response.own) == (2, Limits(max_open_orders=3))
    assert response.effective.max_open_orders == 3


async def test_who_read_an_older_version_must_read_again(admin: Caller) -> None:
    def request(version: int, key: str) -> SetLimitsRequest:
        own = Limits(max_position=str(version + 1))
        return SetLimitsRequest(
            venue=V5, account_id="demo", limits=own, expected_version=version, request_id=f"v5-{key}"
        )

    await admin.SetLimits(request(0, "a"))
    await admin.SetLimits(request(1, "b"))
    with pytest.raises(VersionClash) as caught:
        await admin.SetLimits(request(1, "c"))
    assert (caught.value.metadata["expected"], caught.value.metadata["actual"]) == ("1", "2")
    found = await asyncio.gather(*(admin.SetLimits(request(2, f"d{n}")) for n in range(5)), return_exceptions=True)
    assert sum(isinstance(one, VersionClash) for one in found) == 4


async def test_a_repeated_call_changes_nothing_more(admin: Caller) -> None:
    request = SetLimitsRequest(venue=V6, account_id="demo", limits=Limits(max_position="7"), request_id="v6")
    first = await admin.SetLimits(request)
    assert await admin.SetLimits(request) == first
    assert (await admin.GetLimits(GetLimitsRequest(venue=V6, account_id="demo"))).version == 1
    with pytest.raises(KeyReused):
        request.limits.max_position = "8"
        await admin.SetLimits(request)


async def test_a_change_of_limits_is_told_on_kafka(admin: Caller, installation: dict[str, Any]) -> None:
    async with told(installation, RISK) as next_of:
        request = SetLimitsRequest(venue=V7, account_id="demo", limits=Limits(max_position="7"), request_id="v7")
        await admin.SetLimits(request)
        event = await next_of(f"{V7}/demo")
    assert (event.type, event.source, event.sequence) == ("aac.risk.limits_set", "risk-management", 1)
    assert (event.venue, event.limits.account_id, event.limits.version) == (V7, "demo", 1)


async def test_who_may_not_is_told_so(demo: Caller, admin: Caller) -> None:
    with pytest.raises(PermissionDenied) as caught:
        await demo.SetLimits(SetLimitsRequest(account_id="demo", limits=Limits(), request_id="x"))
    assert caught.value.reason == "MISSING_SCOPE"
    with pytest.raises(PermissionDenied) as caught:
        await demo.GetLimits(GetLimitsRequest(account_id="another"))
    assert caught.value.reason == "FOREIGN_ACCOUNT"
    with pytest.raises(PermissionDenied) as caught:
        await admin.CheckOrders(check("1"))
    assert caught.value.reason == "INTERNAL_METHOD"


async def test_numbers_that_are_no_limits_are_field_violations(admin: Caller, engine: Caller) -> None:
    limits = Limits(max_order_quantity="-1", price_band="1e3", max_open_orders=100_001)
    with pytest.raises(InvalidFields) as caught:
        await admin.SetLimits(SetLimitsRequest(account_id="demo", limits=limits, request_id="x"))
    assert {violation.field for violation in caught.value.violations} == {
        "limits.max_order_quantity",
        "limits.price_band",
        "limits.max_open_orders",
    }
    request = check("1")
    del request.accounts[:]
    with pytest.raises(InvalidFields) as caught:
        await engine.CheckOrders(request)
    assert [violation.field for violation in caught.value.violations] == ["orders[0].account_id"]


async def test_orders_are_judged_without_the_database_once_limits_are_known(
    installation: dict[str, Any], engine: Caller
) -> None:
    assert await broken(engine, check("20000")) == [RULE_ORDER_SIZE, RULE_BUYING_POWER]
    async with database_away(installation):
        assert await broken(engine, check("20000")) == [RULE_ORDER_SIZE, RULE_BUYING_POWER]
        with pytest.raises(Unavailable):
            await engine.CheckOrders(check("1", venue=f"never-seen-{secrets.token_hex(3)}"))
