"""Recorded days of our own making: random order flow on a whole book, written as LOBSTER would show it."""

import random
from pathlib import Path

from aac_grpc.domain.commands import AccountKind, AddInstrument, CreateAccount, FeedRows, StartFeed
from aac_grpc.domain.events import Event
from aac_grpc.domain.feed import FeedRow
from aac_grpc.domain.instruments import Instrument
from aac_grpc.domain.orders import Side
from aac_grpc.domain.venue import Venue

NAME = "TEST_2012-06-21_34200000_57600000_{kind}_{levels}.csv"


class RandomDay:
    """A whole book under random flow; events inside the top levels are kept as messages and orderbook rows."""

    def __init__(self, seed: int, levels: int) -> None:
        self.random = random.Random(seed)
        self.levels = levels
        self.messages: list[str] = []
        self.rows: list[str] = []
        self._book: dict[int, dict[int, list[list[int]]]] = {1: {}, -1: {}}
        self._time = 34_200.0
        self._next_id = 100
        for distance in range(1, 9):
            self._enter(1, 10_000 - distance)
            self._enter(-1, 10_000 + distance)
        self.messages.clear()
        self.rows.clear()

    def run(self, events: int) -> "RandomDay":
        """Lets so many events happen."""
        for _ in range(events):
            self._time += self.random.random() / 10
            direction = self.random.choice((1, -1))
            kind = self.random.random()
            if len(self._prices(direction)) < 4 or kind < 0.5:
                best = self._prices(-direction)[0]
                self._enter(direction, best - direction * self.random.randint(1, 9))
            elif kind < 0.85:
                self._withdraw(direction)
            elif kind < 0.95:
                self._take(direction)
            else:
                self._write(5, 0, 1, self._prices(direction)[0], direction, self._show())
        return self

    def write(self, folder: Path) -> Path:
        """Writes the two files and returns the message file."""
        for kind, lines in (("message", self.messages), ("orderbook", self.rows)):
            (folder / NAME.format(kind=kind, levels=self.levels)).write_text("".join(lines))
        return folder / NAME.format(kind="message", levels=self.levels)

    def _prices(self, direction: int) -> list[int]:
        return sorted(self._book[direction], reverse=direction == 1)

    def _shown(self, direction: int) -> list[int]:
        return self._prices(direction)[: self.levels]

    def _enter(self, direction: int, price: int) -> None:
        size = self.random.choice((10, 50, 100))
        self._next_id += self.random.randint(1, 3)
        self._book[direction].setdefault(price, []).append([self._next_id, size])
        if price in self._shown(direction):
            self._write(1, self._next_id, size, price, direction, self._show())

    def _withdraw(self, direction: int) -> None:
        price = self.random.choice(self._prices(direction))
        shown = price in self._shown(direction)
        order = self.random.choice(self._book[direction][price])
        kind, size = (2, order[1] // 2) if self.random.random() < 0.2 else (3, order[1])
        self._remove(direction, price, order, size)
        if shown:
            self._write(kind, order[0], size, price, direction, self._show())

    def _take(self, direction: int) -> None:
        left = self.random.choice((10, 60, 250))
        while left and len(self._prices(direction)) > 3:
            price = self._prices(direction)[0]
            order = self._book[direction][price][0]
            size = min(left, order[1])
            left -= size
            self._remove(direction, price, order, size)
            self._write(4, order[0], size, price, direction, self._show())
            if self.random.random() < 0.2:
                self._write(5, 0, 1, price, direction, self._show())

    def _remove(self, direction: int, price: int, order: list[int], size: int) -> None:
        order[1] -= size
        if not order[1]:
            self._book[direction][price].remove(order)
        if not self._book[direction][price]:
            del self._book[direction][price]

    def _show(self) -> str:
        fields: list[int] = []
        for rank in range(self.levels):
            for direction in (-1, 1):
                prices = self._prices(direction)
                if rank < len(prices):
                    size = sum(order[1] for order in self._book[direction][prices[rank]])
                    fields += [prices[rank] * 100, size]
                else:
                    fields += [-direction * 9_999_999_999, 0]
        return ",".join(map(str, fields)) + "\n"

    def _write(self, kind: int, order_id: int, size: int, price: int, direction: int, row: str) -> None:
        self.messages.append(f"{self._time:.9f},{kind},{order_id},{size},{price * 100},{direction}\n")
        self.rows.append(row)


class Replay:
    """A venue that a source's rows are fed to, as the run "day" of the account "flow"."""

    def __init__(self, instrument: Instrument) -> None:
        self.symbol = instrument.symbol
        self.venue = Venue(instrument.venue)
        self.venue.execute(AddInstrument(instrument), 0)
        self.venue.execute(CreateAccount("flow", instrument.currency, AccountKind.FLOW), 0)
        self.venue.execute(StartFeed("day", self.symbol, "flow"), 0)

    def feed(self, *rows: FeedRow) -> list[Event]:
        """Applies rows in one batch."""
        return self.venue.execute(FeedRows("day", rows), rows[-1].time_ns)

    def levels(self, count: int) -> list[tuple[int, int]]:
        """The best levels as an orderbook row has them: (ticks, lots) of ask 1, bid 1, ask 2, ... zeros where none."""
        book = self.venue.book(self.symbol)
        asks, bids = (
            [level[:2] for level in book.levels(side, count)] + [(0, 0)] * count for side in (Side.SELL, Side.BUY)
        )
        return [level for pair in zip(asks[:count], bids[:count], strict=True) for level in pair]


def recorded_levels(line: str) -> list[tuple[int, int]]:
    """An orderbook row in the same shape."""
    fields = [int(field) for field in line.split(",")]
    return [(price // 100, size) if size else (0, 0) for price, size in zip(fields[::2], fields[1::2], strict=True)]
