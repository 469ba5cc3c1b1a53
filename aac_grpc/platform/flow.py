"""What puts flow into the venue: a recorded day where one is at hand, else the seeded simulator."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SHARED_VARIABLE = "AAC_SHARED"


@dataclass(frozen=True, slots=True)
class Flow:
    """The flow of an installation."""

    title: str
    """Says which one runs, for people."""
    speed: float
    """Times as fast as recorded; 0 is as fast as it can."""
    day: Path | None
    """A recorded day; None simulates."""
    symbols: tuple[str, ...] = ()
    """What it trades."""

    @property
    def environment(self) -> dict[str, str]:
        """What the feeder is told."""
        return {"AAC_FEED_DAY": str(self.day or ""), "AAC_FEED_SPEED": str(self.speed)}


def choose_flow(day: Path | None, speed: float) -> Flow:
    """Chooses the flow: the day as given, else the GOOG day of the shared data, else the simulator.

    Raises:
        FileNotFoundError: There is no recording at the given path.
        ValueError: What is there is not a recording.
    """
    pace = f"{speed:g} times as fast as recorded, day after day" if speed else "as fast as it can, once"
    given = day if day is not None else _shared_day()
    if given is None:
        pace = f"{speed:g} times as fast as its clock" if speed else "as fast as it can, without end"
        from aac_grpc.feeds.simulator import Simulator

        title = f"seeded simulator (there is no recorded day beside this checkout), {pace}"
        return Flow(title, speed, None, Simulator(0).symbols)
    from aac_grpc.feeds.lobster import find_recordings

    recording = find_recordings(given)[0]
    title = f"recorded day {recording.symbol} {recording.day} (LOBSTER, {recording.levels} levels), {pace}"
    return Flow(title, speed, given.absolute(), (os.environ.get("AAC_FEED_SYMBOL") or recording.symbol,))


def _shared_day() -> Path | None:
    """The recorded day of GOOG in the shared data; None where there is none."""
    checkout = Path(__file__).resolve().parents[2]
    shared = Path(os.environ.get(SHARED_VARIABLE) or checkout.parent / "shared")
    return next(iter(sorted(shared.glob("data/lobster/*_GOOG_*.zip"))), None)
