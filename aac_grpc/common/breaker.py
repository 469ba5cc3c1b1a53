"""Circuit breakers: where calls leave the process, a dependency that is down is not asked again for a while.

The state machine is the usual one (Nygard, "Release It!"): closed; open after too many real failures; half-open after a
pause, when a few probes decide.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from aac_grpc.client.errors import DependencyUnavailable


class BreakerState(Enum):
    """State of a breaker; the value is what the metric shows."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens and closes. Durations are seconds."""

    failures: int = 5
    """Failures within `window_s` that open it, where at least half of the calls failed."""
    window_s: float = 10.0
    quiet_s: float = 0.0
    """It stays closed for so long after the last success."""
    starting_s: float = 60.0
    """For so long that nobody can be reached there counts for nothing, where nothing has answered yet."""
    first_pause_s: float = 0.5
    """How long it stays open before the first probe; doubled each time that a probe fails."""
    longest_pause_s: float = 5.0
    probes: int = 2
    """Calls let through at once when half-open; as many successes close it."""


OF_TARGETS = BreakerSettings(quiet_s=0.5)
"""For a service with several instances: one that dies or freezes fails its share of the calls, and all at once those
that were under way on it. While others answer, the way to them stays open."""


class Breaker:
    """Guards calls to one dependency. Not for threads: all use is on one event loop.

    Attributes:
        name: The dependency, such as "postgresql".
        since: When it stopped being closed, seconds since the Unix epoch; 0 while it is closed.
    """

    def __init__(
        self,
        name: str,
        settings: BreakerSettings = BreakerSettings(),
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[str, BreakerState], None] = lambda name, state: None,
    ) -> None:
        self.name = name
        self.since = 0.0
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        self._state = BreakerState.CLOSED
        self._failures = self._successes = 0
        self._succeeded_at = float("-inf")
        self._made_at = clock()
        self._window_ends = 0.0
        self._pause = settings.first_pause_s
        self._probe_at = 0.0
        self._probing = 0

    @property
    def state(self) -> BreakerState:
        """The state now: an open breaker whose pause is over is half-open.

        One that is half-open closes also when no probe has failed for `window_s` since one succeeded: of a method that
        is called once in minutes, or of a stream that stays open for hours, no other would come to tell.
        """
        proven = self._state is BreakerState.HALF_OPEN and self._successes
        if proven and self._clock() >= self._succeeded_at + self._settings.window_s:
            self._close()
        if self._state is BreakerState.OPEN and self._clock() >= self._probe_at:
            return BreakerState.HALF_OPEN
        return self._state

    @property
    def is_open(self) -> bool:
        """Every call would be refused."""
        return self._state is BreakerState.OPEN and self._clock() < self._probe_at

    def check(self) -> None:
        """Lets a call pass, whose outcome must be recorded, or refuses it.

        Raises:
            DependencyUnavailable: The breaker is open, or half-open with enough probes under way.
        """
        if self._state is BreakerState.CLOSED:
            return
        if self._state is BreakerState.OPEN:
            if self._clock() < self._probe_at:
                raise self.refusal()
            self._become(BreakerState.HALF_OPEN)
        if self._probing >= self._settings.probes:
            raise self.refusal()
        self._probing += 1

    def refusal(self) -> DependencyUnavailable:
        """What a refused call raises."""
        return DependencyUnavailable(self.name, retry_after=max(0.05, self._probe_at - self._clock()))

    def succeeded(self) -> None:
        """Records that a call that `check` let pass was answered, be it with a refusal of the caller's request."""
        is_first = self._succeeded_at == float("-inf")
        self._succeeded_at = self._clock()
        if self._state is BreakerState.CLOSED:
            self._roll()
            self._successes += 1
            return
        self._probing = max(0, self._probing - 1)
        if self._state is BreakerState.HALF_OPEN:
            self._successes += 1
            # What has never answered before was not failing: it has started after us.
            if is_first or self._successes >= self._settings.probes:
                self._close()

    def failed(self) -> None:
        """Records that the dependency could not do its part of a call that `check` let pass."""
        if self._state is BreakerState.CLOSED:
            self._roll()
            self._failures += 1
            failing = self._failures >= self._settings.failures and self._failures >= self._successes
            if failing and self._clock() >= self._succeeded_at + self._settings.quiet_s:
                self._open()
            return
        self._probing = max(0, self._probing - 1)
        if self._state is BreakerState.HALF_OPEN:
            self._pause = min(self._pause * 2, self._settings.longest_pause_s)
            self._open()

    def absent(self) -> None:
        """Records that a call that `check` let pass never left this process: nobody can be reached there.

        When all start at once, a dependency is not failing that has not begun to listen: it says nothing until it has
        answered once, or `starting_s` are over. Such a call costs nobody anything.
        """
        never_answered = self._succeeded_at == float("-inf")
        if never_answered and self._clock() < self._made_at + self._settings.starting_s:
            self.abandoned()
        else:
            self.failed()

    def abandoned(self) -> None:
        """Records that a call that `check` let pass ended without telling anything, such as by cancellation."""
        self._probing = max(0, self._probing - 1)

    @contextmanager
    def guard(self, *failures: type[Exception]) -> Iterator[None]:
        """Runs a block as one call: exceptions of these types are failures, any other outcome but cancellation is not.

        Raises:
            DependencyUnavailable: The breaker is open.
        """
        self.check()
        try:
            yield
        except failures:
            self.failed()
            raise
        except Exception:
            self.succeeded()
            raise
        except BaseException:
            self.abandoned()
            raise
        self.succeeded()

    def _roll(self) -> None:
        now = self._clock()
        if now >= self._window_ends:
            self._failures = self._successes = 0
            self._window_ends = now + self._settings.window_s

    def _close(self) -> None:
        self._pause = self._settings.first_pause_s
        self._become(BreakerState.CLOSED)

    def _open(self) -> None:
        self._probe_at = self._clock() + self._pause
        self._become(BreakerState.OPEN)

    def _become(self, state: BreakerState) -> None:
        if state is BreakerState.CLOSED:
            self.since = 0.0
        elif self._state is BreakerState.CLOSED:
            self.since = time.time()
        self._state = state
        self._failures = self._successes = self._probing = 0
        self._window_ends = 0.0
        self._on_change(self.name, state)


class Breakers:
    """The breakers of a process, by dependency; made when first asked for."""

    def __init__(self, on_change: Callable[[str, BreakerState], None] = lambda name, state: None) -> None:
        self._on_change = on_change
        self._listeners: list[Callable[[str, BreakerState], None]] = []
        self._breakers: dict[str, Breaker] = {}

    def listen(self, listener: Callable[[str, BreakerState], None]) -> None:
        """Has `listener` called when a breaker opens, is half-open, or closes."""
        self._listeners.append(listener)

    def get(self, name: str, settings: BreakerSettings = BreakerSettings()) -> Breaker:
        """The breaker of a dependency, such as "postgresql" or "risk-management/CheckOrders"."""
        found = self._breakers.get(name)
        if found is None:
            found = self._breakers[name] = Breaker(name, settings, on_change=self._tell)
            self._on_change(name, found.state)
        return found

    def _tell(self, name: str, state: BreakerState) -> None:
        self._on_change(name, state)
        for listener in self._listeners:
            listener(name, state)

    def __iter__(self) -> Iterator[Breaker]:
        return iter(tuple(self._breakers.values()))
