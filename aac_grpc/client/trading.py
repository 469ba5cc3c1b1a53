"""Calls about orders, executions, cash and positions."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from functools import cached_property
from typing import Any

from aac.trading.v1 import trading_pb2, trading_pb2_grpc
from aac.trading.v1.order_pb2 import Order as WireOrder
from aac.type.v1 import stream_pb2
from aac.type.v1.money_pb2 import Money as WireMoney

from aac_grpc.client._calls import Calls, new_key
from aac_grpc.client.decimals import Number, to_wire
from aac_grpc.client.errors import AacError
from aac_grpc.client.models.accounts import AccountSummary, Position
from aac_grpc.client.models.market import Side
from aac_grpc.client.models.orders import (
    AmendedOrder,
    CanceledOrder,
    Execution,
    Order,
    OrderState,
    OrderType,
    PlacedOrder,
    TimeInForce,
)
from aac_grpc.client.models.topics import Topic
from aac_grpc.client.reconnect import Call, ReconnectingStream
from aac_grpc.client.resume import Position as StreamPosition
from aac_grpc.client.resume import is_about_a_key
from aac_grpc.client.updates import Gap, OrdersUpdate


class TradingCalls(Calls):
    """Orders and accounts. `account` may be left out where the caller has one only; `venue` means "main"."""

    @cached_property
    def _trading(self) -> trading_pb2_grpc.TradingServiceStub:
        return trading_pb2_grpc.TradingServiceStub(self._connection.channel)

    async def place_order(
        self,
        symbol: str,
        side: Side | str,
        quantity: Number,
        *,
        price: Number | None = None,
        time_in_force: TimeInForce | str = TimeInForce.UNSPECIFIED,
        client_order_id: str | None = None,
        account: str = "",
        venue: str = "",
        timeout: float | None = None,
    ) -> PlacedOrder:
        """Enters an order and returns it as committed. A refusal is an order in state REJECTED, not an error.

        Args:
            symbol: Which instrument.
            side: "buy" or "sell".
            quantity: A multiple of the instrument's lot size.
            price: Limit price, a multiple of the tick size; None is a market order.
            time_in_force: "gtc", "ioc" or "fok".
            client_order_id: The order's client key, unique in the account; made where it is left out. While the
                outcome is not known the call is repeated with the same key, which never enters a second order.
            account: Whose order.
            venue: Isolated market.
            timeout: Seconds, retries included.

        Raises:
            AacError: No order was entered; or UNAVAILABLE or DEADLINE_EXCEEDED, and then it is not known.
        """
        request = trading_pb2.PlaceOrderRequest(
            venue=venue,
            account_id=account,
            client_order_id=client_order_id or new_key(),
            symbol=symbol,
            side=Side(side).to_wire(),
            type=(OrderType.MARKET if price is None else OrderType.LIMIT).to_wire(),
            time_in_force=TimeInForce(time_in_force).to_wire(),
            quantity=to_wire(quantity),
            price="" if price is None else to_wire(price),
        )
        return PlacedOrder.from_wire(await self._connection.unary(self._trading.PlaceOrder, request, timeout=timeout))

    async def amend_order(
        self,
        order_id: str = "",
        *,
        client_order_id: str = "",
        price: Number | None = None,
        open_quantity: Number | None = None,
        request_id: str | None = None,
        account: str = "",
        venue: str = "",
        timeout: float | None = None,
    ) -> AmendedOrder:
        """Changes price, open quantity or both of an order named by either id.

        It keeps its place in the queue only when it shrinks at its price. `accepted` tells whether the change was made.
        """
        request = trading_pb2.AmendOrderRequest(
            venue=venue,
            account_id=account,
            price="" if price is None else to_wire(price),
            open_quantity="" if open_quantity is None else to_wire(open_quantity),
            request_id=request_id or new_key(),
            **_either_id(order_id, client_order_id),
        )
        return AmendedOrder.from_wire(await self._connection.unary(self._trading.AmendOrder, request, timeout=timeout))

    async def cancel_order(
        self,
        order_id: str = "",
        *,
        client_order_id: str = "",
        request_id: str | None = None,
        account: str = "",
        venue: str = "",
        timeout: float | None = None,
    ) -> CanceledOrder:
        """Cancels what is open of an order named by either id. `canceled` is False where there was nothing open."""
        request = trading_pb2.CancelOrderRequest(
            venue=venue,
            account_id=account,
            request_id=request_id or new_key(),
            **_either_id(order_id, client_order_id),
        )
        return CanceledOrder.from_wire(
            await self._connection.unary(self._trading.CancelOrder, request, timeout=timeout)
        )

    async def order(
        self, order_id: str = "", *, client_order_id: str = "", account: str = "", venue: str = ""
    ) -> Order:
        """Returns one order by either id.

        Raises:
            NotFound: There is none that the caller may see.
        """
        request = trading_pb2.GetOrderRequest(venue=venue, account_id=account, **_either_id(order_id, client_order_id))
        return Order.from_wire((await self._connection.unary(self._trading.GetOrder, request)).order)

    def list_orders(
        self,
        *,
        symbol: str = "",
        states: Iterable[OrderState | str] = (),
        limit: int | None = None,
        account: str = "",
        venue: str = "",
    ) -> AsyncIterator[Order]:
        """Yields an account's orders, newest first, page after page."""
        request = trading_pb2.ListOrdersRequest(
            venue=venue, account_id=account, symbol=symbol, states=[OrderState(state).to_wire() for state in states]
        )
        return self._connection.pages(
            self._trading.ListOrders, request, lambda page: map(Order.from_wire, page.orders), limit
        )

    def list_executions(
        self,
        *,
        symbol: str = "",
        order_id: str = "",
        trade_id: str = "",
        limit: int | None = None,
        account: str = "",
        venue: str = "",
    ) -> AsyncIterator[Execution]:
        """Yields executions, newest first: a trader's own side, an operator's both."""
        request = trading_pb2.ListExecutionsRequest(
            venue=venue, account_id=account, symbol=symbol, order_id=order_id, trade_id=trade_id
        )
        return self._connection.pages(
            self._trading.ListExecutions, request, lambda page: map(Execution.from_wire, page.executions), limit
        )

    async def account(self, account: str = "", *, venue: str = "") -> AccountSummary:
        """Returns the cash of an account."""
        request = trading_pb2.GetAccountRequest(venue=venue, account_id=account)
        return AccountSummary.from_wire((await self._connection.unary(self._trading.GetAccount, request)).account)

    def list_positions(self, account: str = "", *, venue: str = "") -> AsyncIterator[Position]:
        """Yields the positions of an account by symbol."""
        request = trading_pb2.ListPositionsRequest(venue=venue, account_id=account)
        return self._connection.pages(
            self._trading.ListPositions, request, lambda page: map(Position.from_wire, page.positions), None
        )

    async def open_account(
        self, account: str, cash: Number, currency: str, *, allow_short: bool = False, venue: str = ""
    ) -> AccountSummary:
        """Opens an account in a venue with its first cash (an administrator's call)."""
        request = trading_pb2.OpenAccountRequest(
            venue=venue,
            account_id=account,
            cash=WireMoney(currency=currency, amount=to_wire(cash)),
            allow_short=allow_short,
        )
        return AccountSummary.from_wire((await self._connection.unary(self._trading.OpenAccount, request)).account)

    async def watch_orders(
        self,
        account: str = "",
        *,
        venue: str = "",
        on_disconnect: Callable[[AacError | None], None] | None = None,
    ) -> AsyncGenerator[OrdersUpdate | Gap, None]:
        """Yields the open orders as a snapshot, then each change; reconnects and resumes by itself."""
        position: StreamPosition[WireOrder] = StreamPosition(stream_pb2.TOPIC_ORDERS)
        key = account

        async def open_call() -> Call[trading_pb2.WatchOrdersResponse]:
            request = trading_pb2.WatchOrdersRequest(venue=venue, account_id=account, resume=position.resume_point(key))
            return self._trading.WatchOrders(request, metadata=await self._connection.stream_metadata())

        stream = ReconnectingStream(
            open_call,
            renew=self._connection.credentials.renew,
            policy=self._reconnect,
            on_disconnect=on_disconnect,
            explain=self._connection.explain,
        )
        async with contextlib.aclosing(stream.frames()) as frames:
            async for frame in frames:
                header = frame.header
                if not is_about_a_key(header):
                    continue
                key = header.key
                step = position.advance(header, frame.orders)
                if step.missed is not None:
                    yield Gap(header.venue, key, Topic.ORDERS, step.missed.first, step.missed.last)
                if step.snapshot or step.fresh:
                    orders = tuple(map(Order.from_wire, step.fresh))
                    yield OrdersUpdate(header.venue, key, orders, step.snapshot, header.sequence)


def _either_id(order_id: str, client_order_id: str) -> dict[str, Any]:
    if bool(order_id) == bool(client_order_id):
        raise ValueError("name the order by order_id or by client_order_id, one of them")
    return {"order_id": order_id} if order_id else {"client_order_id": client_order_id}
