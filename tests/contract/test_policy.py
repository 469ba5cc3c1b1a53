"""Policies of the contract: complete, consistent, and equal to the golden manifest."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aac.policy.v1 import policy_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

from aac_grpc.common.contract import ContractError, infrastructure_policy, platform_contract, policy_of, read_policy

ROOT = Path(__file__).parents[2]

GOOD: dict[str, Any] = {
    "scope": "orders:read",
    "rate_class": policy_pb2.RATE_CLASS_READ,
    "timeout_class": policy_pb2.TIMEOUT_CLASS_FAST,
    "priority": policy_pb2.PRIORITY_NORMAL,
    "exposure": policy_pb2.EXPOSURE_PUBLIC,
}
ANYBODY: dict[str, Any] = {**GOOD, "scope": "", "allow_unauthenticated": True}


def method_with(policy: dict[str, Any] | None) -> MethodDescriptor:
    """A method of a made-up service with this policy."""
    file = descriptor_pb2.FileDescriptorProto(name="made_up.proto", package="aac.made_up.v1")
    message = file.message_type.add(name="Request")
    message.field.add(name="account_id", number=1, type=9, label=1)
    message.field.add(name="items", number=2, type=9, label=3)
    method = file.service.add(name="S").method.add(
        name="M", input_type=".aac.made_up.v1.Request", output_type=".aac.made_up.v1.Request"
    )
    if policy is not None:
        method.options.Extensions[policy_pb2.method].CopyFrom(policy_pb2.MethodPolicy(**policy))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName("aac.made_up.v1.S").methods_by_name["M"]


def test_every_method_of_the_platform_has_a_good_policy() -> None:
    contract = platform_contract()
    assert len(list(contract)) >= 40
    assert len(contract.services) >= 7


def test_the_golden_manifest_is_what_the_contract_says() -> None:
    assert json.loads((ROOT / "gen" / "policy.json").read_text()) == platform_contract().manifest()


def test_a_good_policy_is_read() -> None:
    policy = read_policy(method_with({**GOOD, "account_field": "account_id", "cost_field": "items"}))
    assert (policy.path, policy.scope, policy.cost) == ("/aac.made_up.v1.S/M", "orders:read", 1)
    request = policy.request_type(account_id="acc-1", items=["a", "b"])
    assert (policy.account(request), policy.items(request)) == ("acc-1", 2)


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        (None, "has no"),
        ({**GOOD, "scope": ""}, "exactly one of scope and allow_unauthenticated"),
        ({**GOOD, "allow_unauthenticated": True}, "exactly one of scope and allow_unauthenticated"),
        ({**GOOD, "rate_class": 0}, "rate_class is not stated"),
        ({**ANYBODY, "rate_class": policy_pb2.RATE_CLASS_INTERNAL}, "must have a budget"),
        ({**GOOD, "timeout_class": 0}, "timeout_class is not stated"),
        ({**GOOD, "priority": 0}, "priority is not stated"),
        ({**GOOD, "exposure": 0}, "exposure is not stated"),
        ({**GOOD, "account_field": "nope"}, "account_field names 'nope'"),
        ({**GOOD, "account_field": "items"}, "not a singular field"),
        ({**GOOD, "cost_field": "account_id"}, "not a repeated field"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_policy_that_is_missing_or_wrong_is_refused(policy: dict[str, Any] | None, fault: str) -> None:
    with pytest.raises(ContractError, match=fault):
        read_policy(method_with(policy))


def test_a_cancel_does_not_wait_for_word_of_revocations() -> None:
    assert policy_of("/aac.trading.v1.TradingService/PlaceOrder").fails_closed
    cancel = policy_of("/aac.trading.v1.TradingService/CancelOrder")
    assert cancel.audit
    assert not cancel.fails_closed


def test_health_needs_no_policy_of_ours() -> None:
    import grpc_health.v1.health_pb2  # noqa: F401 registers the service

    policy = policy_of("/grpc.health.v1.Health/Watch")
    assert policy.infrastructure
    assert (policy.authenticated, policy.rate_class, policy.timeout_class) == (False, "INTERNAL", "STREAM")
    assert infrastructure_policy(method_with(GOOD)).timeout_class == "FAST"


def test_under_load_health_is_answered_and_reflection_is_refused_first() -> None:
    import grpc_reflection.v1alpha.reflection_pb2  # noqa: F401 they register the services

    assert policy_of("/grpc.health.v1.Health/Check").priority == "CRITICAL"
    assert policy_of("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo").priority == "LOW"


def test_a_method_that_is_nowhere_has_no_policy() -> None:
    with pytest.raises(KeyError):
        policy_of("/no.such.Service/Method")


def test_no_rule_asks_for_the_time() -> None:
    """What was found valid once stays so: repeated reads are checked once."""
    rules = [line.partition("//")[0] for file in (ROOT / "proto").rglob("*.proto") for line in file.open()]
    assert not [line for line in rules if re.search(r"\b(lt_now|gt_now|within|now)\b", line)]
