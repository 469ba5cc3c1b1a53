"""Which domain events there are: what `type` of `aac.event.v1.Event` says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum

from aac_grpc.client.errors import FieldViolation, InvalidFields

_LONGEST_SHOWN = 64


class EventType(StrEnum):
    """The type of an event. Producers take theirs from here, so that it can be known which ones nobody produces."""

    ORDER_ACCEPTED = "aac.order.accepted"
    ORDER_REJECTED = "aac.order.rejected"
    ORDER_AMENDED = "aac.order.amended"
    ORDER_CANCELED = "aac.order.canceled"
    ORDER_FILLED = "aac.order.filled"
    TRADE_EXECUTED = "aac.trade.executed"
    TRADE_PRINTED = "aac.trade.printed"
    EXECUTION_CREATED = "aac.execution.created"
    ACCOUNT_OPENED = "aac.account.opened"
    CASH_ADJUSTED = "aac.account.cash_adjusted"
    LIMITS_SET = "aac.risk.limits_set"
    USER_CREATED = "aac.identity.user_created"
    USER_CHANGED = "aac.identity.user_changed"
    USER_DISABLED = "aac.identity.user_disabled"
    USER_ENABLED = "aac.identity.user_enabled"
    ACCOUNT_CREATED = "aac.identity.account_created"
    API_KEY_CREATED = "aac.identity.api_key_created"
    API_KEY_REVOKED = "aac.identity.api_key_revoked"
    SIGNED_OUT = "aac.identity.signed_out"
    SESSION_REVOKED = "aac.identity.session_revoked"
    REFRESH_TOKEN_REUSED = "aac.identity.refresh_token_reused"  # noqa: S105  # a name, no secret


def require_event_types(field: str, given: Iterable[str]) -> None:
    """Refuses types that no service produces: who waits for one of them would wait for ever.

    Args:
        field: The repeated field that holds them.
        given: Types.

    Raises:
        InvalidFields: Names each of them, and what there is.
    """
    known = {str(one) for one in EventType}
    if unknown := {index: one for index, one in enumerate(given) if one not in known}:
        raise InvalidFields(FieldViolation(f"{field}[{index}]", _fault(one)) for index, one in unknown.items())


def _fault(given: str) -> str:
    shown = given if len(given) <= _LONGEST_SHOWN else given[:_LONGEST_SHOWN] + "..."
    if near := get_close_matches(given[:_LONGEST_SHOWN], list(EventType), n=1, cutoff=0.75):
        return f"{shown!r} is no event type; is {near[0]} meant?"
    families: dict[str, list[str]] = defaultdict(list)
    for one in EventType:
        family, _, name = one.rpartition(".")
        families[family].append(name)
    listed = ", ".join(f"{family}.{'|'.join(names)}" for family, names in families.items())
    return f"{shown!r} is no event type; there are {listed}"
