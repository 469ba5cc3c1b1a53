"""The double-entry ledger: the postings that an event makes. Those of one event and currency add up to zero."""

from typing import NamedTuple

from aac_grpc.domain.events import CashAdjusted, Event, Trade

FUNDING = "funding"
"""The ledger account against which cash enters and leaves the venue."""


class Posting(NamedTuple):
    """One leg: money units of 1e-8, positive for a debit (the ledger account has more), negative for a credit."""

    ledger_account: str
    amount: int


def cash_account(account_id: str) -> str:
    """Names the ledger account of a USER account's cash."""
    return f"cash:{account_id}"


def flow_account(account_id: str) -> str:
    """Names the ledger account on which trades with a FLOW account, which has no cash, are offset."""
    return f"flow:{account_id}"


def postings(event: Event) -> tuple[Posting, ...]:
    """Returns what an event posts; nothing where no USER cash moved."""
    if isinstance(event, CashAdjusted):
        return Posting(cash_account(event.account_id), event.amount), Posting(FUNDING, -event.amount)
    if not isinstance(event, Trade):
        return ()
    taker, maker = event.taker, event.maker
    if taker.cash_delta and maker.cash_delta:
        return (
            Posting(cash_account(taker.account_id), taker.cash_delta),
            Posting(cash_account(maker.account_id), maker.cash_delta),
        )
    if taker.cash_delta:
        user, flow = taker, maker
    elif maker.cash_delta:
        user, flow = maker, taker
    else:
        return ()
    return (
        Posting(cash_account(user.account_id), user.cash_delta),
        Posting(flow_account(flow.account_id), -user.cash_delta),
    )
