"""Permissions: what scopes, roles and account grants allow."""

import pytest

from aac_grpc.domain.permissions import (
    ALL_ACCOUNTS,
    INTERNAL,
    ROLE_SCOPES,
    SCOPES,
    Role,
    accounts_of,
    expand,
    may_act_on,
    narrow,
)


def test_a_wildcard_stands_for_all_scopes_of_its_area() -> None:
    assert expand(["orders:*", "market:read"]) == {"orders:read", "orders:write", "market:read"}


@pytest.mark.parametrize("pattern", ["", "*", "*:*", "orders", "orders:", "orders:delete", "orders:*:x", "ORDERS:read"])
def test_what_stands_for_no_scope_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="there is no scope"):
        expand([pattern])


def test_only_services_may_make_internal_calls() -> None:
    assert [role for role in Role if INTERNAL in ROLE_SCOPES[role]] == [Role.SERVICE]


def test_only_administrators_and_traders_may_place_orders() -> None:
    assert {role for role in Role if "orders:write" in ROLE_SCOPES[role]} == {Role.ADMIN, Role.TRADER}


def test_a_viewer_changes_nothing() -> None:
    assert {scope.partition(":")[2] for scope in ROLE_SCOPES[Role.VIEWER]} == {"read"}


def test_every_role_holds_only_known_scopes() -> None:
    assert set(ROLE_SCOPES) == set(Role)
    assert all(scopes <= SCOPES for scopes in ROLE_SCOPES.values())


def test_a_key_gets_all_of_its_owners_scopes_or_the_ones_asked_for() -> None:
    owned = ROLE_SCOPES[Role.TRADER]
    assert narrow(owned, []) == owned
    assert narrow(owned, ["orders:*"]) == {"orders:read", "orders:write"}


@pytest.mark.parametrize("wanted", ["auth:admin", "risk:*", INTERNAL])
def test_a_key_never_gets_more_than_its_owner_has(wanted: str) -> None:
    with pytest.raises(ValueError, match="not yours to give"):
        narrow(ROLE_SCOPES[Role.TRADER], [wanted])


def test_traders_act_on_granted_accounts_only() -> None:
    accounts = accounts_of(Role.TRADER, ["beta", "alpha"], firm=["alpha", "beta", "gamma"])
    assert accounts == ("alpha", "beta")
    assert may_act_on(accounts, "alpha")
    assert not may_act_on(accounts, "gamma")
    assert not may_act_on(accounts, "")


def test_administrators_act_on_the_firms_accounts_and_operators_and_services_on_all() -> None:
    assert accounts_of(Role.ADMIN, [], firm=["alpha", "beta"]) == ("alpha", "beta")
    for role in (Role.OPERATOR, Role.SERVICE):
        assert accounts_of(role, []) == (ALL_ACCOUNTS,)
        assert may_act_on(accounts_of(role, []), "anyone")
