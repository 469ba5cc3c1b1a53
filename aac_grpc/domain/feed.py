"""Recorded flow: the rows of a recorded day, as they enter a venue's book.

A row's items are applied in order, then the book is compared with what was recorded, then its resets are made.
Order references (`order_ref`) are the recording's own ids, unique within a run.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from aac_grpc.domain.orders import Side


@dataclass(frozen=True, slots=True)
class New:
    """An order joins the back of its level."""

    order_ref: str
    side: Side
    price: int
    """Ticks."""
    quantity: int
    """Lots."""


@dataclass(frozen=True, slots=True)
class Reduce:
    """An order loses `quantity` lots and keeps its place."""

    order_ref: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """An order leaves the book."""

    order_ref: str


class RecordedFill(NamedTuple):
    """One execution of a take, as recorded: its row, the maker and how much of it."""

    row: int
    order_ref: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Take:
    """An aggressor: an IOC order of the FLOW account.

    It stands in the row of its first execution. The rows of its later executions follow with their own
    expectations (and no item for it); the venue compares the k-th with the book as it was after the k-th fill.
    Executions may share a row; it is compared after the last of them.
    """

    side: Side
    """The aggressor's side."""
    price: int
    """The worst recorded price, in ticks."""
    quantity: int
    """The sum of the executions, in lots."""
    fills: tuple[RecordedFill, ...]
    """The executions, in order; at least one."""


@dataclass(frozen=True, slots=True)
class Print:
    """A trade that touched no visible order; its price may be off tick."""

    price: Decimal
    """In currency."""
    quantity: int
    """Lots."""
    side: Side | None = None
    """The aggressor's side, where known."""


Item = New | Reduce | Cancel | Take | Print


@dataclass(frozen=True, slots=True)
class Reset:
    """Sets which FLOW orders rest at a level, in time priority; none drops the level's FLOW orders."""

    side: Side
    price: int
    """Ticks."""
    orders: tuple[tuple[str, int], ...] = ()
    """(order_ref, lots) in time priority."""


class TopOfBook(NamedTuple):
    """Best prices in ticks and their visible quantities in lots; zeros where a side is empty."""

    bid_price: int
    bid_quantity: int
    ask_price: int
    ask_quantity: int


@dataclass(frozen=True, slots=True)
class FeedRow:
    """One row of a recording."""

    row: int
    """Its number; rows of a run enter in ascending order."""
    time_ns: int
    """When it was recorded (pacing is the feeder's; events carry the venue's clock)."""
    items: tuple[Item, ...] = ()
    expected: TopOfBook | None = None
    """The recorded top of book after this row; None: not compared."""
    resets: tuple[Reset, ...] = ()


class AwaitedRow(NamedTuple):
    """A fill of a take whose later rows are still to come: what its row will be compared with."""

    row: int
    top: TopOfBook
    """The book's top just after the fill."""
    as_recorded: bool
    """Whether maker and quantity were the recorded ones."""


@dataclass(slots=True)
class FeedRun:
    """How far a run has come; part of the venue's state."""

    run_id: str
    symbol: str
    account_id: str
    """The FLOW account whose orders these are."""
    last_row: int = -1
    """The last row applied; a row up to here is skipped when it comes again."""
    rows: int = 0
    applied: int = 0
    diverged: int = 0
    """Rows that could not be applied as recorded; applied + diverged = rows."""
    resets: int = 0
    """Levels that were set to what the recording shows."""
    compared: int = 0
    """Rows whose recorded top of book was compared."""
    top_equal: int = 0
    """Of those, the rows on which the venue's top of book was equal."""
    awaited: tuple[AwaitedRow, ...] = ()
