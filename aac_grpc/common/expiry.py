"""Ends what runs too long: one timer for all calls, in place of one for each.

A hashed wheel (Varghese and Lauck, 1987) with slots of 10 ms. Nearly every call ends before its time: putting it on the
wheel and taking it off is a set operation each.
"""

import asyncio
from heapq import heappop, heappush
from typing import Protocol

SLOT_S = 0.01


class Expiring(Protocol):
    """Something with an end."""

    def expire(self) -> None:
        """Its time is over."""


class Expiry:
    """The wheel of one event loop. Times are those of the loop's clock; what is late is late by a slot at most.

    Attributes:
        loop: The event loop.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._slots: dict[int, set[Expiring]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, one: Expiring, when: float) -> set[Expiring]:
        """Has `one.expire()` called at a time; returns the slot to `discard` it from when it has ended before."""
        number = int(when / SLOT_S) + 1
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
            heappush(self._order, number)
            if self._order[0] == number:
                self._wind()
        slot.add(one)
        return slot

    def close(self) -> None:
        """Expires nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _wind(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(self._order[0] * SLOT_S, self._turn) if self._order else None

    def _turn(self) -> None:
        now = self.loop.time() / SLOT_S
        while self._order and self._order[0] <= now:
            for one in self._slots.pop(heappop(self._order)):
                one.expire()
        self._wind()
