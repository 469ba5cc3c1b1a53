"""The shared matching scenarios, on the venue itself (the integration tests play them through the RPCs)."""

import json
from typing import Any

import pytest

from aac_grpc.domain.commands import AmendOrder, CancelOrder, PlaceOrder
from aac_grpc.domain.events import (
    AmendRejected,
    Event,
    OrderAccepted,
    OrderCanceled,
    OrderRejected,
    Trade,
)
from aac_grpc.domain.orders import OrderType, Side, TimeInForce
from aac_grpc.domain.venue import Venue
from tests.support.recordings import shared
from tests.unit.market import Market

FILES = {"price_time": 12, "market": 8, "time_in_force": 12, "cancel_replace": 9, "validation": 2}
"""The files of what this venue offers, and how many scenarios each holds."""

Step = dict[str, Any]


class Scenario:
    """A scenario being played: one venue, one account per order unless the scenario names one.

    The account's own: an id that is used twice can only be refused within one account, so "val-02" has one.
    """

    def __init__(self, one_account: bool) -> None:
        self.market = Market()
        self._one_account = one_account
        self._orders: dict[str, tuple[str, str]] = {}
        """(account, order id) by the scenario's id."""
        self._status: dict[str, str] = {}
        """By order id."""

    def play(self, step: Step) -> None:
        """Plays a step and checks what it expects."""
        if step["op"] == "check_book":
            for side, name in ((Side.BUY, "bids"), (Side.SELL, "asks")):
                assert [list(level) for level in self.market.levels(side)] == step[name], step
            return
        if step["op"] == "check_status":
            found = {name: self._status[self._orders[name][1]] for name in step["orders"]}
            assert found == step["orders"]
            return
        expected = step["expect"]
        events = self._command(step)
        self._follow(events)
        assert self._trades(events) == expected["trades"], step
        if "ok" in expected:
            assert isinstance(events[-1], OrderCanceled) == expected["ok"], step
        elif isinstance(events[0], (OrderRejected, AmendRejected)):
            assert expected["status"] == "rejected", step
        else:
            assert self._status[self._orders[step["id"]][1]] == expected["status"], step

    def _command(self, step: Step) -> list[Event]:
        name = step["id"]
        if step["op"] == "new":
            return self._new(step)
        account_id, order_id = self._orders.get(name, ("nobody", "main-unknown"))
        if step["op"] == "cancel":
            return self.market.run(CancelOrder(account_id, order_id))
        return self.market.run(AmendOrder(account_id, order_id, step.get("price"), step.get("qty")))

    def _new(self, step: Step) -> list[Event]:
        name = step["id"]
        account_id = step.get("account", "one" if self._one_account else f"owner-of-{name}")
        if self.market.venue.account_state(account_id) is None:
            self.market.account(account_id, dollars=10**7, allow_short=True)
        order_type = OrderType(step["type"])
        tif = TimeInForce(step.get("tif", "GTC" if order_type is OrderType.LIMIT else "IOC").lower())
        side = Side(step["side"])
        events = self.market.run(
            PlaceOrder(account_id, name, "X", side, order_type, tif, step["qty"], step.get("price"))
        )
        if isinstance(events[0], OrderAccepted):
            self._orders[name] = account_id, events[0].order_id
        return events

    def _follow(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, OrderAccepted):
                self._status[event.order_id] = "open"
            elif isinstance(event, OrderCanceled):
                self._status[event.order_id] = "canceled"
            elif isinstance(event, Trade):
                for execution in (event.taker, event.maker):
                    if not execution.leaves:
                        self._status[execution.order_id] = "filled"

    @staticmethod
    def _trades(events: list[Event]) -> list[dict[str, Any]]:
        return [
            {
                "taker": event.taker.client_order_id,
                "maker": event.maker.client_order_id,
                "price": event.price,
                "qty": event.quantity,
            }
            for event in events
            if isinstance(event, Trade)
        ]


@pytest.mark.parametrize("name", FILES)
def test_every_scenario_of_a_file_holds(name: str) -> None:
    scenarios = json.loads(shared(f"scenarios/{name}.json").read_text())
    assert len(scenarios) >= FILES[name], "the file holds fewer scenarios than it did"
    for description in scenarios:
        scenario = Scenario(one_account=name == "validation")
        for step in description["steps"]:
            try:
                scenario.play(step)
            except AssertionError as error:
                raise AssertionError(f"{description['id']} ({description['title']}): {error}") from error
        replayed = Venue("main")
        for event in scenario.market.events:
            replayed.apply(event)
        assert replayed.state_hash() == scenario.market.venue.state_hash(), description["id"]
