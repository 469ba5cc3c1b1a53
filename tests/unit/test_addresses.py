"""Where a server says that it is."""

import pytest

from aac_grpc.common.addresses import join, reachable


@pytest.mark.parametrize(
    ("bound", "peer", "said"),
    [
        ("10.0.0.1:5000", "127.0.0.1:50060", "10.0.0.1:5000"),
        ("0.0.0.0:5000", "127.0.0.1:50060,127.0.0.1:50061", "127.0.0.1:5000"),
        ("[::]:5000", "127.0.0.1:50060", "127.0.0.1:5000"),
        ("0.0.0.0:5000", "nobody.invalid:1", "127.0.0.1:5000"),
    ],
)
async def test_who_is_bound_to_every_address_names_one_that_others_reach(bound: str, peer: str, said: str) -> None:
    assert await reachable(bound, peer) == said


def test_ipv6_has_brackets() -> None:
    assert [join(host, 1) for host in ("::1", "[::1]", "10.0.0.1", "a.example")] == [
        "[::1]:1", "[::1]:1", "10.0.0.1:1", "a.example:1",
    ]  # fmt: skip
