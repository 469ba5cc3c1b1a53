"""What is refused while more calls come in than can be served: a line of calls in simulated time."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aac_grpc.common.concurrency import RANKS, Admission, Bounds

LOW, NORMAL, HIGH = range(RANKS)
MIX = {LOW: 0.3, NORMAL: 0.5, HIGH: 0.2}
BOUNDS = Bounds(target_s=0.1, burst_s=1.0, floor=8)
REFUSAL_S = 0.0002
TICK_S = 0.02


@dataclass
class Outcome:
    """What became of the calls.

    Attributes:
        served: When each call that was served had arrived, by rank.
        waits: How long each of them took, by arrival.
        refused: When each call that was refused had arrived, by rank.
    """

    served: dict[int, list[float]] = field(default_factory=lambda: {rank: [] for rank in range(RANKS)})
    refused: dict[int, list[float]] = field(default_factory=lambda: {rank: [] for rank in range(RANKS)})
    waits: list[tuple[float, float]] = field(default_factory=list)

    def share(self, rank: int, since: float) -> float:
        """Share of the calls that arrived since then that was served."""
        served, refused = (sum(at >= since for at in of[rank]) for of in (self.served, self.refused))
        return served / max(1, served + refused)

    def goodput(self, since: float, until: float) -> float:
        """Calls a second that were served, of those that arrived in this time."""
        return sum(since <= at < until for of in self.served.values() for at in of) / (until - since)

    def p99(self, since: float) -> float:
        """Time that calls which arrived since then took."""
        waits = sorted(wait for at, wait in self.waits if at >= since)
        return waits[int(len(waits) * 0.99)]

    @property
    def refusals(self) -> int:
        """How many calls were refused in all."""
        return sum(map(len, self.refused.values()))


def steady(rate: float, seconds: float, start: float = 0.0) -> list[tuple[float, int]]:
    """Calls at a steady rate, of all priorities."""
    owed = dict.fromkeys(MIX, 0.0)
    calls = []
    for number in range(int(rate * seconds)):
        for rank, share in MIX.items():
            owed[rank] += share
        rank = max(owed, key=lambda one: owed[one])
        owed[rank] -= 1
        calls.append((start + number / rate, rank))
    return calls


def simulate(calls: Iterable[tuple[float, int]], work_s: float, *, slowness: float = 1.0) -> tuple[Outcome, Admission]:
    """A process that serves calls one after the other.

    Args:
        calls: When each comes in, and its rank.
        work_s: CPU time of a call.
        slowness: How much longer everything takes than its CPU time, because the machine does other things.
    """
    admission, outcome = Admission(BOUNDS), Outcome()
    coming, line = deque(sorted(calls)), deque[tuple[float, int]]()
    now = cpu = next_tick = last = 0.0
    begun = refused = 0
    while coming or line:
        while coming and coming[0][0] <= now:
            line.append(coming.popleft())
        if now >= next_tick:
            next_tick = now + TICK_S
            waited = now - line[0][0] if line else 0.0
            admission.observe(waited, now=now, cpu_s=cpu, begun=begun, refused=refused)
            begun = refused = 0
        if not line:
            now = max(now, min(coming[0][0], next_tick))
            continue
        arrived, rank = line.popleft()
        if admission.refuses(rank):
            refused += 1
            last, of = REFUSAL_S, outcome.refused
        else:
            begun += 1
            last, of = work_s, outcome.served
        now, cpu = now + last * slowness, cpu + last
        of[rank].append(arrived)
        if of is outcome.served:
            outcome.waits.append((arrived, now - arrived))
    return outcome, admission


@pytest.mark.parametrize("work_s", [0.0005, 0.005, 0.05])
def test_nothing_is_refused_while_all_can_be_served(work_s: float) -> None:
    outcome, _ = simulate(steady(0.9 / work_s, 20), work_s)
    assert outcome.refusals == 0


@pytest.mark.parametrize("slowness", [1.0, 10.0])
def test_a_burst_of_hundreds_of_calls_is_served_however_busy_the_machine(slowness: float) -> None:
    outcome, _ = simulate([(0.0, LOW)] * 900, 0.001, slowness=slowness)
    assert outcome.refusals == 0


def test_a_process_that_has_little_to_do_refuses_nothing_on_a_machine_where_all_takes_long() -> None:
    admission = Admission(BOUNDS)
    for number in range(1000):
        admission.observe(0.6, now=number * 0.1, cpu_s=number * 0.09, begun=1, refused=0)
    assert admission.waiting < BOUNDS.floor
    assert not any(admission.refuses(rank) for rank in range(RANKS))


@pytest.mark.parametrize("factor", [2, 8])
def test_at_many_times_what_can_be_served_most_of_it_still_is_and_soon(factor: int) -> None:
    work_s = 0.01
    outcome, _ = simulate(steady(factor / work_s, 20), work_s)
    assert outcome.goodput(5, 19) > 0.8 / work_s
    assert outcome.p99(5) < 2 * BOUNDS.target_s


@pytest.mark.parametrize("factor", [1.2, 2, 4, 8])
def test_the_least_urgent_go_first(factor: float) -> None:
    outcome, _ = simulate(steady(factor / 0.01, 20), 0.01)
    low, normal, high = (outcome.share(rank, since=5) for rank in range(RANKS))
    assert low <= normal <= high
    assert normal < 0.05 or high == 1
    assert low < 0.05 or normal > 0.95


def test_calls_that_cost_hardly_more_than_a_refusal_are_served_still() -> None:
    outcome, _ = simulate(steady(8 / 0.0005, 6), 0.0005)
    assert outcome.goodput(3, 6) > 0.2 / 0.0005


def test_after_the_flood_all_are_served_again() -> None:
    outcome, admission = simulate([*steady(800, 10), *steady(50, 20, start=10)], 0.01)
    assert all(outcome.share(rank, since=14) == 1 for rank in range(RANKS))
    assert admission.pressure == 0


@given(st.floats(min_value=0, max_value=RANKS))
def test_of_many_calls_the_share_that_the_pressure_says_is_refused_and_never_all_of_the_more_urgent_first(
    pressure: float,
) -> None:
    admission = Admission(BOUNDS)
    admission.pressure = pressure
    shares = [sum(admission.refuses(rank) for _ in range(1000)) / 1000 for rank in range(RANKS)]
    expected = [max(0.0, min(1.0, pressure - rank)) for rank in range(RANKS)]
    assert shares == pytest.approx(expected, abs=0.002)
