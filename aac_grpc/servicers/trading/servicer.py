"""Order entry, and what orders lead to."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from aac.trading.v1 import trading_pb2 as pb
from aac.trading.v1.trading_pb2_grpc import TradingServiceServicer

from aac_grpc.client.errors import NotFound
from aac_grpc.common.call import ALL_ACCOUNTS, current_call
from aac_grpc.common.paging import Page
from aac_grpc.common.peers import Peers
from aac_grpc.common.servicer import Servicer
from aac_grpc.common.types import venue_of
from aac_grpc.servicers.trading.following import FollowedOrders, Following
from aac_grpc.servicers.trading.live import OrderReference
from aac_grpc.servicers.trading.order_requests import Amend, Cancel, Place
from aac_grpc.servicers.trading.repository import Repository
from aac_grpc.servicers.trading.routing import Router
from aac_grpc.servicers.trading.rows import ExecutionRow, OrderRow
from aac_grpc.servicers.trading.venue_requests import OpenAccount
from aac_grpc.servicers.trading.venue_table import VenueRow, VenueTable
from aac_grpc.servicers.trading.views import account_view, execution_view, order_view, position_view

OPERATOR_SCOPE = "events:read"


class TradingServicer(Servicer, TradingServiceServicer):
    """Orders, executions, accounts and positions."""

    def __init__(self, router: Router, peers: Peers, table: VenueTable, repository: Repository) -> None:
        self._router = router
        self._peers = peers
        self._table = table
        self._repository = repository

    async def PlaceOrder(self, request: pb.PlaceOrderRequest, context: Any) -> pb.PlaceOrderResponse:
        _fill_in(request)
        return await self._router.ask(request.venue, request, lambda venue: venue.writer.submit(Place(request)))

    async def AmendOrder(self, request: pb.AmendOrderRequest, context: Any) -> pb.AmendOrderResponse:
        _fill_in(request)
        return await self._router.ask(request.venue, request, lambda venue: venue.writer.submit(Amend(request)))

    async def CancelOrder(self, request: pb.CancelOrderRequest, context: Any) -> pb.CancelOrderResponse:
        _fill_in(request)
        return await self._router.ask(request.venue, request, lambda venue: venue.writer.submit(Cancel(request)))

    async def OpenAccount(self, request: pb.OpenAccountRequest, context: Any) -> pb.OpenAccountResponse:
        _fill_in(request)
        OpenAccount(request)
        return await self._router.ask(request.venue, request, lambda venue: venue.writer.submit(OpenAccount(request)))

    async def WatchOrders(self, request: pb.WatchOrdersRequest, context: Any) -> AsyncIterator[Any]:
        _fill_in(request)
        following = Following(self._router, self._peers, FollowedOrders(request))
        async with aclosing(following.frames()) as frames:
            async for encoded in frames:
                yield encoded

    async def GetOrder(self, request: pb.GetOrderRequest, context: Any) -> pb.GetOrderResponse:
        _fill_in(request)
        venue = await self._venue(request.venue)
        reference = OrderReference(request.account_id, request.order_id, request.client_order_id)
        row = await self._repository.order(venue.venue_id, reference)
        if row is None:
            raise NotFound("order", str(reference))
        return pb.GetOrderResponse(order=await self._order(venue, row))

    async def ListOrders(self, request: pb.ListOrdersRequest, context: Any) -> pb.ListOrdersResponse:
        _fill_in(request)
        venue = await self._venue(request.venue)
        account_id, states = request.account_id, [int(state) for state in request.states]
        query = ("orders", venue.venue_id, account_id, request.symbol, sorted(states))
        page = Page.read(request.page, (int,), query=query)
        rows = await self._repository.orders(venue.venue_id, account_id, request.symbol, states, page.after, page.limit)
        shown, next_page = page.cut(rows, lambda row: (row.number,))
        return pb.ListOrdersResponse(orders=[await self._order(venue, row) for row in shown], page=next_page)

    async def ListExecutions(self, request: pb.ListExecutionsRequest, context: Any) -> pb.ListExecutionsResponse:
        account_id = None if _sees_all(request) else current_call().account(request)
        venue = await self._venue(venue_of(request))
        filters = {"symbol": request.symbol, "order_id": request.order_id, "trade_id": request.trade_id}
        query = ("executions", venue.venue_id, account_id, *filters.values())
        page = Page.read(request.page, (int, int), query=query)
        rows = await self._repository.executions(
            venue.venue_id, account_id, **filters, after=page.after, limit=page.limit
        )
        shown, next_page = page.cut(rows, lambda row: (row.venue_sequence, row.leg))
        found = [await self._execution(venue, row) for row in shown]
        return pb.ListExecutionsResponse(executions=found, page=next_page)

    async def GetAccount(self, request: pb.GetAccountRequest, context: Any) -> pb.GetAccountResponse:
        _fill_in(request)
        venue = await self._venue(request.venue)
        record = await self._account(venue, request.account_id)
        return pb.GetAccountResponse(account=account_view(venue.name, record))

    async def ListPositions(self, request: pb.ListPositionsRequest, context: Any) -> pb.ListPositionsResponse:
        _fill_in(request)
        venue = await self._venue(request.venue)
        await self._account(venue, request.account_id)
        page = Page.read(request.page, (str,), query=("positions", venue.venue_id, request.account_id))
        rows = await self._repository.positions(venue.venue_id, request.account_id, page.after, page.limit)
        shown, next_page = page.cut(rows, lambda row: (row["symbol"],))
        positions = [
            position_view(venue.name, row, await self._repository.instrument(venue.venue_id, venue.name, row["symbol"]))
            for row in shown
        ]
        return pb.ListPositionsResponse(positions=positions, page=next_page)

    async def _venue(self, name: str) -> VenueRow:
        row = await self._table.find(name)
        if row is None:
            raise NotFound("venue", name)
        return row

    async def _account(self, venue: VenueRow, account_id: str) -> dict[str, Any]:
        record = await self._repository.account(venue.venue_id, account_id)
        if record is None:
            raise NotFound("account", account_id)
        return record

    async def _order(self, venue: VenueRow, row: OrderRow) -> Any:
        instrument = await self._repository.instrument(venue.venue_id, venue.name, row.symbol)
        return order_view(venue.name, row, instrument)

    async def _execution(self, venue: VenueRow, row: ExecutionRow) -> Any:
        instrument = await self._repository.instrument(venue.venue_id, venue.name, row.symbol)
        return execution_view(venue.name, row, instrument)


def _fill_in(request: Any) -> None:
    """Writes venue and account into a request, so that equal requests are equal whatever they leave out."""
    request.venue = venue_of(request)
    request.account_id = current_call().account(request)


def _sees_all(request: pb.ListExecutionsRequest) -> bool:
    """An operator who names no account sees both sides of all trades."""
    principal = current_call().principal
    operator = principal.has_scope(OPERATOR_SCOPE) or ALL_ACCOUNTS in principal.accounts
    return operator and not request.account_id
