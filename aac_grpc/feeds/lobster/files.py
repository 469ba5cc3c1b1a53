"""LOBSTER's files: finding them, and reading messages as columns and the order book line by line.

A recording is a message and an orderbook CSV, row for row, in a zip or in a folder; see https://lobsterdata.com.
"""

import re
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from io import BufferedReader, RawIOBase
from itertools import chain
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

_NAME = re.compile(
    r"(?P<symbol>[A-Za-z.\-]+)_(?P<day>\d{4}-\d\d-\d\d)_(?P<start_ms>\d+)_\d+_(?P<kind>message|orderbook)_(?P<levels>\d+)\.csv"
)


@dataclass(frozen=True, slots=True)
class Recording:
    """One symbol's recorded day: where its two files are."""

    symbol: str
    day: date
    start_ns: int
    """When it begins, in nanoseconds since the Unix epoch."""
    levels: int
    """Price levels a side that the orderbook file shows."""
    container: Path
    """A zip file or a folder."""
    message_file: str
    orderbook_file: str

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Opens one of the two files for reading."""
        if self.container.is_dir():
            with (self.container / name).open("rb") as file:
                yield file
        else:
            with zipfile.ZipFile(self.container) as archive, archive.open(name) as member:
                # ZipExtFile finds its lines in Python; a buffered reader over it finds them in C.
                yield BufferedReader(cast(RawIOBase, member), 1 << 16)


@dataclass(frozen=True, slots=True)
class Messages:
    """A message file as columns of equal length: 34 bytes a message."""

    time_ns: NDArray[np.int64]
    """Nanoseconds since the Unix epoch."""
    kind: NDArray[np.int8]
    """1 new, 2 partial cancel, 3 delete, 4 visible execution, 5 hidden execution, 6 cross, 7 halt."""
    order_id: NDArray[np.int64]
    size: NDArray[np.int32]
    price: NDArray[np.int64]
    """Dollars x 10,000."""
    direction: NDArray[np.int8]
    """Of the resting order: 1 bid, -1 ask."""

    def __len__(self) -> int:
        return len(self.kind)

    def __iter__(self) -> Iterator[tuple[int, int, int, int, int, int]]:
        """Yields messages as Python integers, converted some thousands at a time."""
        columns = (self.time_ns, self.kind, self.order_id, self.size, self.price, self.direction)
        for start in range(0, len(self), 4096):
            yield from zip(*(column[start : start + 4096].tolist() for column in columns), strict=True)


def find_recordings(path: Path) -> list[Recording]:
    """Finds the recordings in a zip, a folder of zips or of CSV pairs, or beside one CSV; deepest books first.

    Raises:
        FileNotFoundError: There is no such path, or no recording in it.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    if path.is_dir():
        archives = sorted(path.glob("*.zip"))
        found = [recording for archive in archives for recording in _in_zip(archive)]
        found += _pairs(path, [file.name for file in path.glob("*.csv")])
    elif zipfile.is_zipfile(path):
        found = _in_zip(path)
    else:
        stem = path.name.replace("_orderbook_", "_message_")
        beside = [file.name for file in path.parent.glob("*.csv")]
        found = [recording for recording in _pairs(path.parent, beside) if recording.message_file == stem]
    if not found:
        raise FileNotFoundError(f"there is no LOBSTER message and orderbook pair in {path}")
    return sorted(found, key=lambda recording: (-recording.levels, recording.symbol, recording.day))


def read_messages(recording: Recording) -> Messages:
    """Reads a recording's messages.

    Raises:
        ValueError: The file has no messages or is not a LOBSTER message file.
    """
    name = recording.message_file
    with recording.open(name) as file:
        first = file.readline()
        if not first:
            raise ValueError(f"{name} has no messages")
        try:
            table = np.loadtxt(_decoded(first, file), delimiter=",", usecols=range(6), ndmin=2)
        except ValueError as error:
            raise ValueError(f"{name} is not a LOBSTER message file: {error}") from error
    seconds, kind, order_id, size, price, direction = table.T
    # A double holds seconds of a day to better than 0.01 ns.
    time_ns = np.rint(seconds * 1e9).astype(np.int64) + _midnight_ns(recording.day)
    return Messages(
        time_ns,
        kind.astype(np.int8),
        order_id.astype(np.int64),
        size.astype(np.int32),
        price.astype(np.int64),
        direction.astype(np.int8),
    )


def _decoded(first: bytes, rest: Iterable[bytes]) -> Iterator[str]:
    return (line.decode("ascii") for line in chain([first], rest))


def _in_zip(path: Path) -> list[Recording]:
    with zipfile.ZipFile(path) as archive:
        return _pairs(path, archive.namelist())


def _pairs(container: Path, names: list[str]) -> list[Recording]:
    """Makes recordings of the message files that have their orderbook file beside them."""
    recordings = []
    for name in sorted(names):
        parsed = _NAME.fullmatch(name.rpartition("/")[2])
        orderbook = name.replace("_message_", "_orderbook_")
        if parsed is not None and parsed["kind"] == "message" and orderbook in names:
            day = date.fromisoformat(parsed["day"])
            start_ns = _midnight_ns(day) + int(parsed["start_ms"]) * 10**6
            levels = int(parsed["levels"])
            recordings.append(Recording(parsed["symbol"], day, start_ns, levels, container, name, orderbook))
    return recordings


def _midnight_ns(day: date) -> int:
    """Returns New York's midnight in nanoseconds since the Unix epoch.

    Daylight saving time by the rule in force since 2007 (second Sunday of March to first Sunday of November), which
    covers LOBSTER's days and needs no time zone database.
    """
    begins = _sunday(date(day.year, 3, 8))
    ends = _sunday(date(day.year, 11, 1))
    zone = timezone(timedelta(hours=-4 if begins < day <= ends else -5))
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 10**9


def _sunday(on_or_after: date) -> date:
    return on_or_after + timedelta(days=(6 - on_or_after.weekday()) % 7)
