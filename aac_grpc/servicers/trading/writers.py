"""Who writes the venues that this instance does not write, as it last heard."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

from aac_grpc.common.peers import Peer
from aac_grpc.servicers.trading.venue_table import Held


class Writer(Peer):
    """The engine that writes a venue, for as long as its lease lasts.

    Attributes:
        venue: The venue's id.
        gone: Its process has ended; its lease is free before it expires.
        seen_at: When its lease was last seen to hold, on the monotonic clock.
        asking: Held by whoever finds out what became of it.
    """

    def __init__(self, held: Held) -> None:
        super().__init__(held.address)
        self.venue = held.venue.name
        self.gone = False
        self.seen_at = time.monotonic()
        self.asking = asyncio.Lock()
        self._term = (held.venue.venue_id, held.epoch)

    def is_of(self, held: Held) -> bool:
        """Whether it is the engine, and the term, that a lease names."""
        return self._term == (held.venue.venue_id, held.epoch) and self.address == held.address


class Writers:
    """What this instance knows of the others' leases. It is read on demand, and used for well under a lease."""

    def __init__(self, duration_s: float, own_address: Callable[[], str]) -> None:
        """Begins with nothing.

        Args:
            duration_s: Of a lease.
            own_address: Where this instance is reached; empty until it listens.
        """
        self._own_address = own_address
        self._longest_use_s = duration_s / 2
        self._known: dict[str, Writer] = {}
        self._changed = asyncio.Event()

    def get(self, venue: str) -> Writer | None:
        """Returns who writes a venue, unless that is not known, or was for too long."""
        writer = self._known.get(venue)
        if writer is None or writer.gone or time.monotonic() - writer.seen_at > self._longest_use_s:
            return None
        return writer

    def is_gone(self, held: Held) -> bool:
        """Whether the process that holds a lease is known to have ended."""
        writer = self._known.get(held.venue.name)
        return writer is not None and writer.gone and writer.is_of(held)

    def note(self, held: Held) -> Writer | None:
        """Takes what the database says; returns who can be asked, or None where nobody can."""
        name = held.venue.name
        writer = self._known.get(name)
        if writer is not None and not held.free and writer.is_of(held):
            writer.seen_at = time.monotonic()
            return None if writer.gone else writer
        self.forget(name)
        if held.free or not held.address:
            return None
        writer = self._known[name] = Writer(held)
        # Whoever was reached where this process listens now has ended.
        writer.gone = held.address == self._own_address()
        self.tell()
        return None if writer.gone else writer

    def note_all(self, all_held: Iterable[Held]) -> None:
        """Takes what the database says of every venue that others write; forgets all others."""
        names = set()
        for held in all_held:
            names.add(held.venue.name)
            self.note(held)
        for name in self._known.keys() - names:
            self.forget(name)

    def forget(self, venue: str) -> None:
        """Ends the calls to a venue's writer: it writes it no more."""
        writer = self._known.pop(venue, None)
        if writer is not None:
            writer.end()
            self.tell()

    def doubt(self, writer: Writer) -> None:
        """A call to it failed: look before the next one."""
        writer.seen_at = float("-inf")

    def tell(self) -> None:
        """Somebody may be asked who could not be asked before."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def changed(self, timeout_s: float) -> None:
        """Waits for news, at most `timeout_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
