"""Lockout: how long a user name waits after wrong tries."""

from datetime import UTC, datetime, timedelta

from aac_grpc.servicers.auth.lockout import Policy, Tries

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = Policy(tries=3, window=timedelta(minutes=15), wait=timedelta(seconds=30))


def waits(tries: int, pause: timedelta = timedelta(seconds=1)) -> list[float | None]:
    """Seconds that a name is locked for after each of so many wrong tries."""
    known, now, found = Tries(0, NOW), NOW, []
    for _ in range(tries):
        now = max(now, known.locked_until or now) + pause
        known = known.next(now, POLICY)
        found.append((known.locked_until - now).total_seconds() if known.locked_until else None)
    return found


def test_the_third_wrong_try_locks_and_each_further_one_for_twice_as_long() -> None:
    assert waits(6) == [None, None, 30, 60, 120, 240]


def test_no_wait_is_longer_than_a_quarter_of_an_hour() -> None:
    assert waits(40)[-1] == 900


def test_tries_of_long_ago_are_forgotten() -> None:
    assert waits(10, pause=timedelta(minutes=16)) == [None] * 10
