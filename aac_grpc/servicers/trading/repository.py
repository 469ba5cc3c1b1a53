"""Reads of committed state: orders, executions, accounts, positions."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from aac_grpc.common.database import Database
from aac_grpc.common.paging import Key
from aac_grpc.domain.instruments import Instrument
from aac_grpc.servicers.trading.live import OrderReference
from aac_grpc.servicers.trading.rows import ExecutionRow, OrderRow, order_number
from aac_grpc.servicers.trading.vocabulary import KINDS


class Repository:
    """Queries on the engine's tables; they see what is committed, whichever instance wrote it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._instruments: dict[tuple[int, str], Instrument] = {}

    async def order(self, venue_id: int, reference: OrderReference) -> OrderRow | None:
        """Returns an account's order by either id."""
        rows = await self._database.fetch_all(
            """select * from orders where venue_id = %(venue_id)s and account_id = %(account_id)s
            and (order_number = %(number)s or client_order_id = %(client_id)s)""",
            {
                "venue_id": venue_id,
                "account_id": reference.account_id,
                "number": order_number(reference.order_id),
                "client_id": reference.client_order_id,
            },
        )
        found = (OrderRow.of_record(row) for row in rows)
        return next((row for row in found if reference.matches(row)), None)

    async def orders(
        self, venue_id: int, account_id: str, symbol: str, states: Sequence[int], after: Key | None, limit: int
    ) -> list[OrderRow]:
        """Returns orders of an account, newest first.

        Args:
            venue_id: The venue.
            account_id: Whose.
            symbol: Only this instrument's; empty for all.
            states: Only these; none for all.
            after: Number of the last order of the page before.
            limit: How many at most.
        """
        rows = await self._database.fetch_all(
            """select * from orders where venue_id = %(venue_id)s and account_id = %(account_id)s
            and (%(symbol)s = '' or symbol = %(symbol)s)
            and (cardinality(%(states)s::smallint[]) = 0 or state = any(%(states)s))
            and (%(after)s::bigint is null or order_number < %(after)s)
            order by order_number desc limit %(limit)s""",
            {
                "venue_id": venue_id,
                "account_id": account_id,
                "symbol": symbol,
                "states": list(states),
                "after": after[0] if after else None,
                "limit": limit,
            },
        )
        return [OrderRow.of_record(row) for row in rows]

    async def executions(
        self,
        venue_id: int,
        account_id: str | None,
        *,
        symbol: str,
        order_id: str,
        trade_id: str,
        after: Key | None,
        limit: int,
    ) -> list[ExecutionRow]:
        """Returns executions, newest first; both sides of a trade where no account is named.

        Args:
            venue_id: The venue.
            account_id: Whose; None for all accounts.
            symbol: Only this instrument's; empty for all.
            order_id: Only this order's; empty for all.
            trade_id: Only this trade's; empty for all.
            after: (sequence, leg) of the last execution of the page before.
            limit: How many at most.
        """
        filters = {"account_id": account_id, "symbol": symbol, "order_id": order_id, "trade_id": trade_id}
        named = {name: value for name, value in filters.items() if value}
        where = "".join(f" and {name} = %({name})s" for name in named)
        if after is not None:
            where += " and (venue_sequence, leg) < (%(sequence)s, %(leg)s)"
            named["sequence"], named["leg"] = after  # type: ignore[assignment]  # integers, as the page was read
        rows = await self._database.fetch_all(
            f"select * from executions where venue_id = %(venue_id)s{where}"  # noqa: S608 - our own column names
            " order by venue_sequence desc, leg desc limit %(limit)s",
            {**named, "venue_id": venue_id, "limit": limit},
        )
        return [ExecutionRow.of_record(row) for row in rows]

    async def account(self, venue_id: int, account_id: str) -> dict[str, Any] | None:
        """Returns a user's account."""
        return await self._database.fetch_one(
            "select * from accounts where venue_id = %s and account_id = %s and not flow", (venue_id, account_id)
        )

    async def positions(self, venue_id: int, account_id: str, after: Key | None, limit: int) -> list[dict[str, Any]]:
        """Returns an account's positions by symbol, where something is or was held."""
        return await self._database.fetch_all(
            """select * from positions where venue_id = %(venue_id)s and account_id = %(account_id)s
            and (quantity <> 0 or quantity_held <> 0 or realized_pnl <> 0)
            and symbol > %(after)s order by symbol limit %(limit)s""",
            {
                "venue_id": venue_id,
                "account_id": account_id,
                "after": after[0] if after else "",
                "limit": limit,
            },
        )

    async def instruments(self, venue_id: int, venue: str) -> list[Instrument]:
        """Returns a venue's instruments by symbol."""
        rows = await self._database.fetch_all(
            "select * from instruments where venue_id = %s order by symbol", (venue_id,)
        )
        return [_instrument(row, venue) for row in rows]

    async def instrument(self, venue_id: int, venue: str, symbol: str) -> Instrument:
        """Returns an instrument that rows name. They never change, so they are kept."""
        found = self._instruments.get((venue_id, symbol))
        if found is None:
            row = await self._database.fetch_one(
                "select * from instruments where venue_id = %s and symbol = %s", (venue_id, symbol)
            )
            assert row is not None
            found = self._instruments[venue_id, symbol] = _instrument(row, venue)
        return found


def _instrument(row: dict[str, Any], venue: str) -> Instrument:
    return Instrument(
        symbol=row["symbol"],
        venue=venue,
        kind=KINDS.member(row["kind"]),
        name=row["name"],
        currency=row["currency"],
        tick_size=Decimal(row["tick_size"]),
        lot_size=Decimal(row["lot_size"]),
        min_quantity=row["min_quantity"],
        max_quantity=row["max_quantity"],
    )
