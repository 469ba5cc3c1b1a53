"""Where a venue's background flow comes from: one small interface for recorded days and the simulator."""

from collections.abc import Iterator
from typing import Protocol

from aac_grpc.domain.feed import FeedRow
from aac_grpc.domain.instruments import Instrument


class Source(Protocol):
    """Flow of one or more instruments.

    Rows are the same each time they are asked for. Each symbol's rows are numbered from 0, and row 0 opens the
    book: it has no items, and its resets seed the first orders of a run.
    """

    @property
    def title(self) -> str:
        """What it is, in words for people, such as "LOBSTER GOOG 2012-06-21, 10 levels"."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """The instruments that it has rows of."""

    def instrument(self, symbol: str, venue: str) -> Instrument:
        """Returns an instrument as it is to be listed at a venue.

        Raises:
            KeyError: The source does not have the symbol.
        """

    def total_rows(self, symbol: str) -> int | None:
        """Returns how many rows the symbol has; None: they never end."""

    def rows(self, symbol: str, start: int = 0) -> Iterator[FeedRow]:
        """Yields the rows from number `start` on.

        It computes, and reads files, between rows: a caller on an event loop takes rows in a thread.

        Raises:
            KeyError: The source does not have the symbol.
            ValueError: A file is not what it says it is.
        """
