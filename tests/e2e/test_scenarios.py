"""The matching scenarios by public calls: each on its own venue, each step's result checked.

`docs/scenarios.md` says what a scenario's words mean in calls.
"""

import itertools
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aac.trading.v1 import order_pb2, trading_pb2, venue_pb2
from aac.trading.v1.trading_pb2_grpc import TradingServiceStub
from aac.trading.v1.venue_pb2_grpc import VenueServiceStub
from aac.type.v1 import market_pb2

from aac_grpc.client.errors import AlreadyExists, InvalidRequest, KeyReused, NotFound
from tests.integration.services import Caller, new_installation
from tests.integration.trading import Stack, account, instrument, stack

FILES = ("price_time", "market", "time_in_force", "cancel_replace", "validation")

SIDES = {"buy": market_pb2.SIDE_BUY, "sell": market_pb2.SIDE_SELL}
TYPES = {"limit": order_pb2.ORDER_TYPE_LIMIT, "market": order_pb2.ORDER_TYPE_MARKET}
TIMES = {
    None: order_pb2.TIME_IN_FORCE_UNSPECIFIED,
    "GTC": order_pb2.TIME_IN_FORCE_GTC,
    "IOC": order_pb2.TIME_IN_FORCE_IOC,
    "FOK": order_pb2.TIME_IN_FORCE_FOK,
}
STATES = {
    order_pb2.ORDER_STATE_OPEN: "open",
    order_pb2.ORDER_STATE_FILLED: "filled",
    order_pb2.ORDER_STATE_CANCELED: "canceled",
    order_pb2.ORDER_STATE_REJECTED: "rejected",
}
OPERATIONS = {"new", "cancel", "replace", "check_book", "check_status"}


@pytest.fixture(scope="module")
async def engine(backends: dict[str, str]) -> AsyncIterator[Stack]:
    async with new_installation(backends) as installation, stack(installation) as running:
        yield running


class Scenario:
    """One scenario on a venue of its own."""

    def __init__(self, scenario: dict[str, Any], orders: Caller, venues: Caller) -> None:
        self._steps = scenario["steps"]
        self._orders = orders
        self._venues = venues
        self._venue = f"s-{scenario['id']}-{secrets.token_hex(3)}"
        self._ids: dict[str, str] = {}
        """Scenario's id of each order by the venue's."""
        self._accounts: dict[str, str] = {}
        self._keys = itertools.count(1)

    async def run(self) -> None:
        """Plays the scenario.

        Raises:
            AssertionError: A step had another result than it should.
        """
        names = {step.get("account") or step["id"] for step in self._steps if step["op"] == "new"}
        await self._venues.CreateVenue(
            venue_pb2.CreateVenueRequest(
                venue=self._venue,
                instruments=[instrument("X", tick="1")],
                accounts=[account(name, "1000000000", short=True) for name in sorted(names)],
            )
        )
        try:
            for number, step in enumerate(self._steps):
                found = await getattr(self, f"_{step['op']}")(step)
                wanted = self._wanted(step)
                assert found == wanted, f"step {number}, {step}: got {found}"
        finally:
            await self._venues.DeleteVenue(venue_pb2.DeleteVenueRequest(venue=self._venue))

    def _wanted(self, step: dict[str, Any]) -> dict[str, Any]:
        if step["op"] == "check_book":
            return {side: [tuple(level) for level in step[side]] for side in ("bids", "asks")}
        if step["op"] == "check_status":
            return dict(step["orders"])
        wanted = dict(step["expect"])
        wanted["trades"] = merged([(t["taker"], t["maker"], t["price"], t["qty"]) for t in wanted["trades"]])
        return wanted

    async def _new(self, step: dict[str, Any]) -> dict[str, Any]:
        name = step["id"]
        owner = self._accounts.setdefault(name, step.get("account") or name)
        request = trading_pb2.PlaceOrderRequest(
            venue=self._venue,
            account_id=owner,
            client_order_id=name,
            symbol="X",
            side=SIDES[step["side"]],
            type=TYPES[step["type"]],
            time_in_force=TIMES[step.get("tif")],
            quantity=str(step["qty"]),
            price=str(step["price"]) if "price" in step else "",
        )
        try:
            placed = await self._orders.PlaceOrder(request)
        except (InvalidRequest, KeyReused, AlreadyExists):
            return {"status": "rejected", "trades": []}
        self._ids[placed.order.order_id] = name
        return {"status": STATES[placed.order.state], "trades": await self._trades(name, placed.executions)}

    async def _replace(self, step: dict[str, Any]) -> dict[str, Any]:
        name = step["id"]
        request = trading_pb2.AmendOrderRequest(
            venue=self._venue,
            account_id=self._accounts.get(name, name),
            client_order_id=name,
            price=str(step["price"]) if "price" in step else "",
            open_quantity=str(step["qty"]) if "qty" in step else "",
            request_id=f"r{next(self._keys)}",
        )
        try:
            amended = await self._orders.AmendOrder(request)
        except (InvalidRequest, NotFound):
            return {"status": "rejected", "trades": []}
        status = STATES[amended.order.state] if amended.accepted else "rejected"
        return {"status": status, "trades": await self._trades(name, amended.executions)}

    async def _cancel(self, step: dict[str, Any]) -> dict[str, Any]:
        name = step["id"]
        request = trading_pb2.CancelOrderRequest(
            venue=self._venue,
            account_id=self._accounts.get(name, name),
            client_order_id=name,
            request_id=f"c{next(self._keys)}",
        )
        try:
            ok = (await self._orders.CancelOrder(request)).canceled
        except NotFound:
            ok = False
        return {"ok": ok, "trades": []}

    async def _check_book(self, step: dict[str, Any]) -> dict[str, Any]:
        request = venue_pb2.GetMarketSnapshotRequest(venue=self._venue)
        (market,) = (await self._venues.GetMarketSnapshot(request)).instruments
        sides = {"bids": market.bids, "asks": market.asks}
        return {side: [(int(level.price), int(level.quantity)) for level in levels] for side, levels in sides.items()}

    async def _check_status(self, step: dict[str, Any]) -> dict[str, Any]:
        found = {}
        for name in step["orders"]:
            request = trading_pb2.GetOrderRequest(
                venue=self._venue, account_id=self._accounts[name], client_order_id=name
            )
            found[name] = STATES[(await self._orders.GetOrder(request)).order.state]
        return found

    async def _trades(self, taker: str, executions: Sequence[order_pb2.Execution]) -> list[tuple[Any, ...]]:
        """The trades behind executions, each with its maker, whom an operator sees."""
        trades = []
        for execution in executions:
            request = trading_pb2.ListExecutionsRequest(venue=self._venue, trade_id=execution.trade_id)
            sides = (await self._orders.ListExecutions(request)).executions
            (maker,) = (side for side in sides if side.liquidity == order_pb2.LIQUIDITY_MAKER)
            trades.append((taker, self._ids[maker.order_id], int(maker.price), int(maker.quantity)))
        return merged(trades)


def merged(trades: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Trades of one taker with one maker at one price count as one."""
    sums: dict[tuple[Any, ...], int] = {}
    for *who, quantity in trades:
        sums[tuple(who)] = sums.get(tuple(who), 0) + quantity
    return [(*who, quantity) for who, quantity in sums.items()]


@pytest.mark.parametrize("file", FILES)
async def test_every_scenario_of_a_file_ends_as_it_says(file: str, shared: Path, engine: Stack) -> None:
    scenarios = json.loads((shared / "scenarios" / f"{file}.json").read_text())
    scopes = ("orders:write", "orders:read", "events:read", "internal")
    identity = {"subject": "scenarios", "kind": "service", "scopes": scopes, "accounts": ("*",)}
    orders = engine.caller(TradingServiceStub, **identity)
    venues = engine.caller(VenueServiceStub, **identity)
    run, skipped, failures = 0, 0, []
    for scenario in scenarios:
        if not {step["op"] for step in scenario["steps"]} <= OPERATIONS:
            skipped += 1
            continue
        run += 1
        try:
            await Scenario(scenario, orders, venues).run()
        except AssertionError as error:
            failures.append(f"{scenario['id']} {scenario['title']}: {error}")
    print(f"{file}: {run} run, {skipped} skipped, {len(failures)} failed")
    assert not failures, "\n".join(failures)
    assert (run, skipped) == (len(scenarios), 0)
