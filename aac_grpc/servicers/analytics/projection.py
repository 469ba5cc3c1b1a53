"""Executions as analytics keeps them: written once for each event, read by account and time."""

from collections.abc import AsyncIterator
from typing import LiteralString

from aac.event.v1.event_pb2 import AccountEvent, Event, ExecutionEvent

from aac_grpc.common.database import Database, Transaction
from aac_grpc.common.topics import ACCOUNTS, EXECUTIONS
from aac_grpc.common.types import from_timestamp
from aac_grpc.domain.decimals import MONEY_SCALE, parse_decimal, parse_money, to_scaled
from aac_grpc.domain.performance import ExecutionRecord

TOPICS = (ACCOUNTS, EXECUTIONS)

_CHUNK = 10_000
_NEXT: LiteralString = """
    select symbol, value, realized_pnl, executed_ns, sequence from executions
    where venue = %(venue)s and account_id = %(account)s and sequence > %(after)s
        and (%(start)s::bigint is null or executed_ns >= %(start)s)
        and (%(end)s::bigint is null or executed_ns < %(end)s)
    order by sequence limit %(limit)s
"""


async def apply(event: Event, tx: Transaction) -> None:
    """Writes the effect of one event; the consumer's inbox sees to it that this happens once.

    Raises:
        ValueError: A number in the event is not in the grammar.
    """
    if event.HasField("execution"):
        await _apply_execution(event.execution, tx)
    elif event.HasField("account"):
        await _apply_account(event.venue, event.account, tx)


class Projection:
    """What analytics has learnt from events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, generation: int) -> None:
        """Forgets everything where it was learnt in another reading than this one."""
        async with self._database.transaction() as tx:
            cursor = await tx.execute(
                "update projection set generation = %(generation)s where generation <> %(generation)s",
                {"generation": generation},
            )
            if cursor.rowcount:
                await tx.execute("truncate executions, accounts")

    async def currency(self, venue: str, account_id: str) -> str:
        """Returns an account's currency; empty where nothing was heard of the account."""
        row = await self._database.fetch_one(
            "select currency from accounts where venue = %s and account_id = %s", (venue, account_id)
        )
        return str(row["currency"]) if row else ""

    async def executions(
        self, venue: str, account_id: str, start_ns: int | None, end_ns: int | None
    ) -> AsyncIterator[list[ExecutionRecord]]:
        """Yields an account's executions in order, many at a time.

        Args:
            venue: Isolated market.
            account_id: Whose.
            start_ns: First instant inside; None is the beginning.
            end_ns: First instant after; None is now.
        """
        query = {"venue": venue, "account": account_id, "start": start_ns, "end": end_ns, "limit": _CHUNK}
        after = -1
        while True:
            rows = await self._database.fetch_all(_NEXT, {**query, "after": after})
            if rows:
                after = rows[-1]["sequence"]
                yield [
                    ExecutionRecord(row["symbol"], row["value"], row["realized_pnl"], row["executed_ns"])
                    for row in rows
                ]
            if len(rows) < _CHUNK:
                return


async def _apply_execution(event: ExecutionEvent, tx: Transaction) -> None:
    execution = event.execution
    if not execution.position_after:
        return  # Of an account of the feed, which has no position and no profit.
    currency = event.cash_after.currency
    value = parse_decimal(execution.price) * parse_decimal(execution.quantity)
    await tx.execute(
        """insert into executions
            (venue, account_id, sequence, symbol, currency, value, realized_pnl, executed_ns)
        values (%s, %s, %s, %s, %s, %s, %s, %s)
        on conflict (venue, account_id, sequence) do update set
            (symbol, currency, value, realized_pnl, executed_ns) = (excluded.symbol, excluded.currency,
                excluded.value, excluded.realized_pnl, excluded.executed_ns)""",
        (
            execution.venue,
            execution.account_id,
            execution.sequence,
            execution.symbol,
            currency,
            to_scaled(value, MONEY_SCALE),
            parse_money(execution.realized_pnl.amount or "0"),
            from_timestamp(execution.executed_at),
        ),
    )
    await _note_currency(tx, execution.venue, execution.account_id, currency)


async def _apply_account(venue: str, event: AccountEvent, tx: Transaction) -> None:
    await _note_currency(tx, venue, event.account_id, event.cash_after.currency)


async def _note_currency(tx: Transaction, venue: str, account_id: str, currency: str) -> None:
    await tx.execute(
        """insert into accounts (venue, account_id, currency) values (%s, %s, %s)
        on conflict (venue, account_id) do update set currency = excluded.currency
            where accounts.currency <> excluded.currency""",
        (venue, account_id, currency),
    )
