"""Every method answers every kind of credential as its policy says, at the service and through the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
from aac.policy.v1 import policy_pb2
from grpc import aio

from aac_grpc.common.contract import Contract, platform_contract
from aac_grpc.servicers import gateway
from tests.integration.credentials import ACCOUNT, OTHER_ACCOUNT
from tests.integration.permission_platform import (
    CONTRACT,
    PING,
    PermissionPlatform,
    permission_platform,
    ping_serving,
)
from tests.integration.services import serving
from tests.support.permission_matrix import (
    REGISTRY_SERVICE,
    Entrance,
    Verdict,
    arity_of,
    ask,
    ask_all,
    cells,
    counts,
    difference,
    request_for,
    rows,
    table,
    wrong,
)
from tests.support.ping import PingServicer, WritingPingServicer
from tests.support.weakened_policies import CHANGES, Switch, switched_policies

DECIDE = {"scope", "allow_unauthenticated", "account_field", "exposure"}
"""Fields of a policy that decide who may call."""
DO_NOT_DECIDE = {"rate_class", "cost", "cost_field", "timeout_class", "priority", "audit"}
TELLING = ("no credential", "wrong scope", "other account", "right user", "user with everything", "right service")
"""Kinds of credentials that are enough to tell a wrong policy."""

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
async def world(backends: Mapping[str, str]) -> AsyncIterator[PermissionPlatform]:
    async with permission_platform(backends) as platform:
        yield platform


async def test_every_method_answers_every_credential_as_its_policy_says(
    world: PermissionPlatform, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = await ask_all(world.cells(), world.channel)
    with capsys.disabled():
        print(f"\n{table(answers)}\n{counts(answers)}")
        print(f"{len(list(CONTRACT))} of the methods are the contract's, {len(list(PING))} stand in for other arities")
    assert {cell.row.policy.path for cell in answers} == {policy.path for policy in (*CONTRACT, *PING)}
    if found := difference(answers):
        pytest.fail(found, pytrace=False)


@pytest.mark.parametrize("servicer", [PingServicer, WritingPingServicer])
async def test_the_account_is_checked_on_every_message_of_a_callers_stream(
    world: PermissionPlatform, servicer: type[PingServicer]
) -> None:
    """Of the contract's methods, and of those that stand in for the arities that it does not have."""
    streams = [policy for policy in (*CONTRACT, *PING) if policy.client_streaming and policy.account_field]
    assert {arity_of(policy) for policy in streams} == {"stream_unary", "stream_stream"}
    right_user = world.wallet.kinds()["right user"]
    async with ping_serving(world.platform, servicer()) as ping, aio.insecure_channel(ping.address) as channel:
        for policy in streams:
            asked = channel if policy.path in PING.methods else world.channel(policy, Entrance.SERVICE)
            own, nobodys, anothers = (request_for(policy, account) for account in (ACCOUNT, "", OTHER_ACCOUNT))
            metadata = right_user(policy).metadata
            for before in ([], [own], [own, nobodys], [nobodys, own, own]):
                answer = await ask(asked, policy, [*before, anothers, own], metadata)
                assert "FOREIGN_ACCOUNT" in answer.status, f"{policy.path}, message {len(before)}: {answer.status}"
                assert answer.received == (len(before) if policy.server_streaming else 0)


def test_every_field_of_a_policy_is_known_to_decide_who_may_call_or_not_to() -> None:
    assert {field.name for field in policy_pb2.MethodPolicy.DESCRIPTOR.fields} == DECIDE | DO_NOT_DECIDE
    assert {change.partition(" ")[0] for change in CHANGES} == DECIDE


@pytest.fixture(scope="module")
async def weakened(backends: Mapping[str, str]) -> AsyncIterator[tuple[PermissionPlatform, Switch]]:
    with switched_policies() as switch:
        async with permission_platform(backends) as platform:
            yield platform, switch


@pytest.mark.parametrize("change", CHANGES)
async def test_a_policy_that_is_wrong_in_one_field_turns_a_cell_of_its_method_red(
    weakened: tuple[PermissionPlatform, Switch], change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of each method whose policy the change touches: a method's cells depend on its own policy and no other."""
    platform, switch = weakened
    changes = CHANGES[change]
    touched = [cell for cell in platform.cells_at_home(*TELLING) if changes(cell.row.policy) != cell.row.policy]
    if change == "exposure is public":
        # Where no token is asked for, exposure decides at the gateway only; see the next test.
        touched = [cell for cell in touched if cell.row.policy.authenticated]
    with switch.to(change):
        answers = await ask_all(touched, platform.channel)
    red = [cell for cell in wrong(answers) if answers[cell].verdict is not Verdict.FAULT]
    of_method = {cell.row.policy.path: cell for cell in red}
    paths = {cell.row.policy.path for cell in touched}
    with capsys.disabled():
        print(f"\n{change}: {len(of_method)} of {len(paths)} methods, {len(red)} of {len(touched)} cells red")
    assert paths
    assert set(of_method) == paths
    # It was the change: without it, the same cells are as they should be.
    assert not difference(await ask_all(list(of_method.values()), platform.channel))


async def test_an_internal_method_that_the_gateway_takes_for_a_public_one_turns_its_cells_red(
    world: PermissionPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    internal = [policy for policy in CONTRACT if policy.internal and policy.service != REGISTRY_SERVICE]
    monkeypatch.setattr(gateway, "platform_contract", lambda: _made_public({policy.path for policy in internal}))
    kinds = {"right service": world.wallet.kinds()["right service"]}
    async with (
        serving(gateway.service, world.platform.gateway_settings()) as front,
        aio.insecure_channel(front.address) as channel,
    ):
        answers = await ask_all(cells(rows(internal, Entrance.GATEWAY, ACCOUNT), kinds), lambda *_: channel)
    assert {cell.row.policy.path for cell in wrong(answers)} == {policy.path for policy in internal}


async def test_a_gateway_that_takes_the_registrys_methods_for_public_ones_does_not_start(
    world: PermissionPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    registrys = {policy.path for policy in CONTRACT if policy.service == REGISTRY_SERVICE}
    monkeypatch.setattr(gateway, "platform_contract", lambda: _made_public(registrys))
    with pytest.raises(KeyError, match=r"aac\.registry\.v1"):
        async with serving(gateway.service, world.platform.gateway_settings()):
            pass


def _made_public(paths: set[str]) -> Contract:
    contract = platform_contract()
    contract.methods.update({path: CHANGES["exposure is public"](contract[path]) for path in paths})
    return contract
