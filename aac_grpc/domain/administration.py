"""Listing instruments, opening accounts and moving cash in and out of the venue."""

from aac_grpc.domain.accounts import Account
from aac_grpc.domain.commands import AddInstrument, AdjustCash, CreateAccount
from aac_grpc.domain.entry import OrderEntry
from aac_grpc.domain.events import AccountCreated, CashAdjusted, InstrumentAdded
from aac_grpc.domain.state import Market


def add_instrument(entry: OrderEntry, command: AddInstrument) -> None:
    """Lists an instrument with an empty book."""
    state, instrument = entry.state, command.instrument
    state.markets[instrument.symbol] = Market(instrument)
    state.sequence += 1
    entry.events.append(InstrumentAdded(state.sequence, entry.now_ns, instrument))


def create_account(entry: OrderEntry, command: CreateAccount) -> None:
    """Opens an account without cash."""
    state = entry.state
    account = Account(command.account_id, command.kind, command.currency, command.allow_short)
    state.accounts[command.account_id] = account
    state.sequence += 1
    entry.events.append(
        AccountCreated(
            state.sequence, entry.now_ns, account.account_id, account.kind, account.currency, account.allow_short
        )
    )


def adjust_cash(entry: OrderEntry, command: AdjustCash) -> None:
    """Deposits or withdraws cash; the other leg is the venue's funding account (see `ledger`)."""
    state = entry.state
    account = state.accounts[command.account_id]
    account.adjust(command.amount)
    state.sequence += 1
    entry.events.append(
        CashAdjusted(
            state.sequence,
            entry.now_ns,
            state.next_entry_id(),
            account.account_id,
            account.currency,
            command.amount,
            account.cash,
            command.reference,
        )
    )
