"""Recorded NASDAQ days as LOBSTER writes them: every order event inside the top levels of one symbol."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from aac_grpc.domain.feed import FeedRow
from aac_grpc.domain.instruments import Instrument, InstrumentKind
from aac_grpc.feeds.lobster.files import Messages, Recording, find_recordings, read_messages
from aac_grpc.feeds.lobster.translation import Counts, Translation

__all__ = ["Counts", "LobsterDay", "Recording", "find_recordings"]

_CENT = 100
_OPENING_NS = 10**9
"""The first second of a day is the opening's: it is replayed but not compared."""


class LobsterDay:
    """One recorded day of one symbol as a feed source (`aac_grpc.feeds.source.Source`)."""

    def __init__(self, recording: Recording) -> None:
        """Reads the messages; the order book is read while rows are taken.

        Raises:
            ValueError: The message file is empty or not one.
        """
        self._recording = recording
        self._messages: Messages = read_messages(recording)
        prices = self._messages.price[(self._messages.kind >= 1) & (self._messages.kind <= 4)]
        # Stocks under a dollar are quoted in hundredths of a cent.
        self._unit = _CENT if not (prices % _CENT).any() else 1
        self.counts = Counts()
        """Of the latest call of `rows`, so far."""

    @classmethod
    def open(cls, path: Path, symbol: str | None = None) -> "LobsterDay":
        """Opens a zip, a folder or a CSV; of several recordings the symbol's, else the one with the deepest book.

        Raises:
            FileNotFoundError: There is no such recording.
            ValueError: A file is not what it says it is.
        """
        recordings = find_recordings(path)
        chosen = [recording for recording in recordings if symbol in (None, recording.symbol)]
        if not chosen:
            there = ", ".join(recording.symbol for recording in recordings)
            raise FileNotFoundError(f"there is no recording of {symbol} in {path}; there are {there}")
        return cls(chosen[0])

    @property
    def title(self) -> str:
        """What it is, in words for people."""
        recording = self._recording
        return (
            f"LOBSTER {recording.symbol} {recording.day}, {recording.levels} levels, {len(self._messages):,} messages"
        )

    @property
    def symbols(self) -> tuple[str, ...]:
        """The one symbol."""
        return (self._recording.symbol,)

    def instrument(self, symbol: str, venue: str) -> Instrument:
        """Returns the stock: one share a lot, a cent a tick."""
        self._check(symbol)
        return Instrument(
            symbol=symbol,
            venue=venue,
            kind=InstrumentKind.VENUE,
            name=f"{symbol}, recorded {self._recording.day}",
            currency="USD",
            tick_size=Decimal("0.01") if self._unit == _CENT else Decimal("0.0001"),
            lot_size=Decimal(1),
        )

    def total_rows(self, symbol: str) -> int:
        """Returns the number of messages and one for the opening row."""
        self._check(symbol)
        return len(self._messages) + 1

    def rows(self, symbol: str, start: int = 0) -> Iterator[FeedRow]:
        """Yields the rows from number `start` on; those before it are read and passed over.

        Raises:
            ValueError: The orderbook file is not one, or ends early.
        """
        self._check(symbol)
        compare_from_ns = self._recording.start_ns + _OPENING_NS
        translation = Translation(self._recording, self._messages, self._unit, compare_from_ns)
        self.counts = translation.counts
        return (row for row in translation.rows() if row.row >= start)

    def _check(self, symbol: str) -> None:
        if symbol != self._recording.symbol:
            raise KeyError(symbol)
