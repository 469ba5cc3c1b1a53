"""What it costs to find a request wrong: no caller may keep a process busy with one message of many bad items."""

import time
from contextlib import suppress

import pytest
from google.protobuf.descriptor import FieldDescriptor

from aac_grpc.client.errors import InvalidFields
from aac_grpc.common.contract import platform_contract
from aac_grpc.common.interceptors.validate import check_fields

LARGEST = 1 << 20
"""`max_message_bytes`."""
WITHIN_S = 1.0
"""CPU; the slowest takes a fifth. With each violation told, GetQuotes took ten times as long as this."""
DELIMITED = {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE}

REPEATED = [
    pytest.param(policy, field, id=f"{policy.path}:{field.name}")
    for policy in platform_contract()
    for field in policy.request_type.DESCRIPTOR.fields
    if field.is_repeated and field.type in DELIMITED
]


@pytest.mark.parametrize(("policy", "field"), REPEATED)
def test_many_empty_items_are_judged_quickly(policy, field):
    item = bytes([field.number << 3 | 2, 0])
    request = policy.request_type.FromString(item * (LARGEST // 2))
    began = time.process_time()
    with suppress(InvalidFields):
        check_fields(request)
    assert time.process_time() - began < WITHIN_S


def test_all_is_told_of_a_request_of_usual_size():
    policy = platform_contract()["/aac.marketdata.v1.MarketDataService/GetQuotes"]
    with pytest.raises(InvalidFields) as raised:
        check_fields(policy.request_type(symbols=["", "A" * 65, "GOOG"]))
    assert len(raised.value.violations) == 2


@pytest.mark.parametrize("given", ["-5", "570.1234567890", "1e3", "0"])
def test_of_a_number_that_is_none_it_is_told_what_was_given(given):
    policy = platform_contract()["/aac.trading.v1.TradingService/PlaceOrder"]
    with pytest.raises(InvalidFields) as raised:
        check_fields(policy.request_type(quantity=given))
    (description,) = [one.description for one in raised.value.violations if one.field == "quantity"]
    assert description.startswith("must be a decimal above zero")
    assert description.endswith(f"; {given!r} is not")
