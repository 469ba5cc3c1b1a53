"""Times, money and enums between our values and messages."""

from datetime import UTC, datetime
from enum import StrEnum

import pytest
from aac.auth.v1 import auth_pb2
from aac.risk.v1.risk_pb2 import GetLimitsRequest
from aac.type.v1 import market_pb2
from aac.type.v1.page_pb2 import TimeRange
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from aac_grpc.client.errors import InvalidField
from aac_grpc.common import types
from aac_grpc.domain.decimals import format_money
from aac_grpc.domain.orders import Side
from aac_grpc.domain.permissions import Role


@given(st.integers(-(10**18), 4 * 10**18))
def test_nanoseconds_survive_the_wire(moment: int) -> None:
    assert types.from_timestamp(types.to_timestamp(moment)) == moment


def test_a_datetime_is_written_to_the_microsecond() -> None:
    moment = datetime(2012, 6, 21, 9, 30, 0, 123456, tzinfo=UTC)
    assert types.to_datetime(types.to_timestamp(moment), "at") == moment


def test_a_time_beyond_the_calendar_is_a_field_violation() -> None:
    with pytest.raises(InvalidField, match="expires_at"):
        types.to_datetime(Timestamp(seconds=10**15), "expires_at")


@given(st.integers(-(10**30), 10**30))
def test_money_is_written_as_the_domain_writes_it(units: int) -> None:
    assert types.money("USD", units).amount == format_money(units)


def test_a_range_may_be_open_at_either_side_but_not_end_before_it_begins() -> None:
    assert types.time_range(TimeRange()) == (None, None)
    assert types.time_range(TimeRange(start=Timestamp(seconds=1))) == (types.NANOSECONDS, None)
    assert types.time_range(TimeRange(start=Timestamp(seconds=1), end=Timestamp(seconds=1)))
    with pytest.raises(InvalidField, match=r"range\.end"):
        types.time_range(TimeRange(start=Timestamp(seconds=2), end=Timestamp(seconds=1)))


def test_times_that_no_database_column_holds_become_the_nearest_that_one_does() -> None:
    ever = TimeRange(start=Timestamp(seconds=-(2**63)), end=Timestamp(seconds=2**63 - 1))
    assert types.time_range(ever) == (-(2**63) + 1, 2**63 - 1)


def test_a_request_without_a_venue_is_about_the_main_one() -> None:
    assert types.venue_of(GetLimitsRequest()) == "main"
    assert types.venue_of(GetLimitsRequest(venue="test-1")) == "test-1"


def test_enums_match_by_name() -> None:
    sides: types.EnumNames[Side] = types.EnumNames(market_pb2.Side, Side)
    assert sides.member(market_pb2.SIDE_SELL) is Side.SELL
    assert sides.value(Side.BUY) == market_pb2.SIDE_BUY
    with pytest.raises(KeyError):
        sides.member(market_pb2.SIDE_UNSPECIFIED)


def test_a_member_that_the_contract_lacks_is_no_error_until_it_is_written() -> None:
    roles: types.EnumNames[Role] = types.EnumNames(auth_pb2.Role, Role)
    people: set[StrEnum] = {roles.member(value) for value in auth_pb2.Role.values() if value}
    assert people == {Role.ADMIN, Role.OPERATOR, Role.TRADER, Role.VIEWER}
    with pytest.raises(KeyError):
        roles.value(Role.SERVICE)
