"""Who may do what: scopes, the roles that bundle them, and which accounts a caller may act on.

A scope is `area:verb`, such as `orders:write`, or `internal`. People may write `orders:*` for all of an area;
`expand` turns it into scopes when a credential is made, so that a check is a plain membership test.
"""

from collections.abc import Collection, Iterable
from enum import StrEnum

INTERNAL = "internal"
"""Calls inside the mesh; only services have it."""

ALL_ACCOUNTS = "*"
"""Stands in a grant for every account."""

SCOPES = frozenset(
    {
        "auth:read",
        "auth:write",
        "auth:admin",
        "market:read",
        "orders:read",
        "orders:write",
        "accounts:read",
        "accounts:admin",
        "risk:read",
        "risk:write",
        "analytics:read",
        "overview:read",
        "events:read",
        "mesh:read",
        "venues:admin",
        INTERNAL,
    }
)
"""Every scope that a contract may ask for."""


class Role(StrEnum):
    """What a user or service may do, as a named set of scopes."""

    ADMIN = "admin"
    """Everything in the firm."""
    OPERATOR = "operator"
    """Sees all, both sides of each trade; runs the venue; does not trade."""
    TRADER = "trader"
    """Trades on granted accounts."""
    VIEWER = "viewer"
    """Reads."""
    SERVICE = "service"
    """A process of the mesh; not a person's."""


_VIEWER = frozenset(
    {"auth:read", "market:read", "orders:read", "accounts:read", "risk:read", "analytics:read", "overview:read"}
)

ROLE_SCOPES = {
    Role.ADMIN: SCOPES - {INTERNAL},
    Role.OPERATOR: _VIEWER | {"auth:write", "accounts:admin", "events:read", "mesh:read", "risk:write", "venues:admin"},
    Role.TRADER: _VIEWER | {"auth:write", "orders:write"},
    Role.VIEWER: _VIEWER,
    Role.SERVICE: _VIEWER | {"events:read", "venues:admin", INTERNAL},
}


def expand(patterns: Iterable[str]) -> frozenset[str]:
    """Returns the scopes that scopes and patterns such as `orders:*` stand for.

    Raises:
        ValueError: One of them stands for no scope.
    """
    expanded: set[str] = set()
    for pattern in patterns:
        area, _, verb = pattern.partition(":")
        found = {scope for scope in SCOPES if scope.partition(":")[0] == area} if verb == "*" else {pattern} & SCOPES
        if not found:
            raise ValueError(f"there is no scope {pattern!r}; there are {', '.join(sorted(SCOPES))}")
        expanded |= found
    return frozenset(expanded)


def narrow(owned: Collection[str], wanted: Iterable[str]) -> frozenset[str]:
    """Returns the scopes of a credential that an owner makes; none wanted means all that are owned.

    Raises:
        ValueError: A scope is unknown or not the owner's to give.
    """
    scopes = expand(wanted)
    if missing := sorted(scopes - frozenset(owned)):
        raise ValueError(f"scope {missing[0]!r} is not yours to give")
    return scopes or frozenset(owned)


def accounts_of(role: Role, granted: Iterable[str], firm: Iterable[str] = ()) -> tuple[str, ...]:
    """Returns the accounts that a caller's token carries, sorted.

    Args:
        role: The caller's.
        granted: Accounts granted to the user.
        firm: All accounts of the user's firm, which an administrator may act on.
    """
    if role in (Role.OPERATOR, Role.SERVICE):
        return (ALL_ACCOUNTS,)
    return tuple(sorted({*granted, *(firm if role is Role.ADMIN else ())}))


def may_act_on(accounts: Collection[str], account_id: str) -> bool:
    """Tells whether a caller with these accounts may act on that one."""
    return ALL_ACCOUNTS in accounts or account_id in accounts
