"""Lockout: how long a user name waits after wrong tries."""

from datetime import UTC, datetime, timedelta

import pytest

from aac_grpc.common.interceptors.auth import host_of
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


@pytest.mark.parametrize(
    ("peer", "whose"),
    [
        ("ipv4:127.0.0.1:5000", "127.0.0.1"),
        ("ipv6:%5B2001:db8:0:1:a:b:c:d%5D:5000", "2001:db8:0:1::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:5000", "fe80::/64"),
        ("ipv6:%5B::ffff:10.0.0.1%5D:5000", "10.0.0.1"),
        ("unix:/path", "unix:/path"),
    ],
)
def test_who_has_a_network_of_addresses_counts_once(peer: str, whose: str) -> None:
    assert host_of(peer) == whose
