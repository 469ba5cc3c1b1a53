"""How many calls a process takes in: from how long they wait, what must be refused to keep the wait short.

Little's law makes a limit of calls at once and a limit of waiting the same thing: `limit = throughput x wait`, as BBR
has it for packets (Cardwell and others, "BBR: Congestion-Based Congestion Control", 2016) and Kratos and Sentinel for
requests. Here the waiting is measured and the limit follows, because calls wait inside of gRPC, where nobody counts
them. What is refused is decided as in PIE (RFC 8033: a proportional-integral controller on the waiting time, with an
allowance for bursts, and refusals spread evenly rather than by chance); when, as in CoDel (RFC 8289: while the queue
stands, and not while it only peaks). One figure orders priorities, as in WeChat's DAGOR (Zhou and others, "Overload
Control for Scaling WeChat Microservices", 2018) and Uber's Cinnamon: all that is less urgent is refused before any of
what is more so.

Pure: time and measurements are arguments.
"""

from dataclasses import dataclass

RANKS = 3
"""Priorities that may be refused: 0 goes first. What ranks higher is never refused."""

PROPORTIONAL = 0.5
"""Pressure for each target time that the wait is over the target."""
INTEGRAL = 2.0
"""Pressure that a second with such a wait adds."""
RISE = 4.0
"""Pressure that a second of CPU time adds at most, so that the last of a burst meets but a little."""
LONGEST_STEP_S = 0.25
"""Time that one measurement stands for at most."""
REFUSAL_S = 0.00015
"""CPU time of the event loop's thread that a refusal takes, about, by measurement."""
REFUSING_SHARE = 0.5
"""Of the event loop's CPU time, what may go into refusing. Beyond that calls are left where they wait: refusing all of
them would leave no time for any work."""
RELAPSE_S = 5.0
"""So soon after the last refusal the next burst has a tenth of the allowance."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is still all right."""

    target_s: float
    """How long calls may wait to be begun, while more come in than can be served."""
    burst_s: float
    """CPU time for which they may wait longer. CPU time, because on a machine that is busy with other things everything
    takes long, and nothing of that is this process's load."""
    floor: float
    """So few calls may wait always."""


class Admission:
    """Decides what is refused.

    Attributes:
        pressure: 0 lets everything in; each 1 refuses all of one more priority, a fraction that share of it.
        delay_s: How long calls wait, as last measured.
        rate: Calls that are begun or refused in a second.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.pressure = 0.0
        self.delay_s = 0.0
        self.rate = 0.0
        self._integral = 0.0
        self._ceiling = float(RANKS)
        self._owed = [0.0] * RANKS
        self._measured_at: float | None = None
        self._cpu_s = 0.0
        self._standing_since: float | None = None
        self._refused_at = float("-inf")

    @property
    def waiting(self) -> float:
        """Calls that wait, by Little's law."""
        return self.rate * self.delay_s

    @property
    def limit(self) -> float:
        """Calls that may wait."""
        return max(self.bounds.floor, self.rate * self.bounds.target_s)

    def refuses(self, rank: int) -> bool:
        """Whether a call of this rank is refused; of many calls the share that the pressure says, evenly spread."""
        if self.pressure <= rank:
            return False
        owed = self._owed[rank] + min(1.0, self.pressure - rank)
        refused = owed >= 1.0
        self._owed[rank] = owed - 1.0 if refused else owed
        return refused

    def observe(self, delay_s: float, *, now: float, cpu_s: float, begun: int, refused: int) -> None:
        """Takes a measurement, some tens of times a second.

        Args:
            delay_s: How long a call waits from its arrival until it is begun or refused.
            now: Monotonic seconds.
            cpu_s: CPU time that the event loop's thread has used so far.
            begun: Calls that were begun since the last measurement.
            refused: Calls that were refused since then.
        """
        elapsed = 0.0 if self._measured_at is None else now - self._measured_at
        used, self._cpu_s, self._measured_at, self.delay_s = cpu_s - self._cpu_s, cpu_s, now, delay_s
        if elapsed > 0:
            weight = min(1.0, elapsed / 0.5)
            self.rate += weight * ((begun + refused) / elapsed - self.rate)
        if refused:
            self._refused_at = now
        if self.pressure == 0.0 and not self._stands(now, cpu_s):
            return
        excess = delay_s / self.bounds.target_s - 1.0 if self.waiting > self.bounds.floor else -1.0
        step = INTEGRAL * min(elapsed, LONGEST_STEP_S) * max(-1.0, min(1.0, excess))
        self._integral = min(float(RANKS), max(0.0, self._integral + step))
        wanted = self._integral + PROPORTIONAL * excess
        self._adjust_ceiling(refused, used)
        self.pressure = max(0.0, min(wanted, self._ceiling, self.pressure + RISE * used))

    def _stands(self, now: float, cpu_s: float) -> bool:
        """Calls have waited too long for longer than a burst takes."""
        if self.waiting <= self.limit:
            self._standing_since = None
            return False
        if self._standing_since is None:
            self._standing_since = cpu_s
        allowance = self.bounds.burst_s * (0.1 if now - self._refused_at < RELAPSE_S else 1.0)
        return cpu_s - self._standing_since >= allowance

    def _adjust_ceiling(self, refused: int, used_s: float) -> None:
        share = refused * REFUSAL_S / used_s if used_s > 0 else 0.0
        if share > REFUSING_SHARE:
            self._ceiling = max(0.0, min(self._ceiling, self.pressure) - 0.05)
        else:
            self._ceiling = min(float(RANKS), self._ceiling + 0.02)
