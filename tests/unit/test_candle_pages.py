"""How much of history one page of candles is made from."""

import pytest

from aac_grpc.domain.candles import SECOND_NS
from aac_grpc.servicers.market_data.candles import most_of


@pytest.mark.parametrize(
    ("interval_s", "asked", "most"),
    [(1, 1000, 1000), (60, 1000, 1000), (3600, 1000, 1000), (90, 1000, 960), (3601, 1000, 23), (86_399, 1000, 1)],
)
def test_candles_that_cannot_be_made_of_minutes_come_on_small_pages(interval_s: int, asked: int, most: int) -> None:
    assert most_of(interval_s * SECOND_NS, asked) == most
