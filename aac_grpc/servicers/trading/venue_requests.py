"""Opening accounts, and what a new venue begins with."""

from collections.abc import Sequence

from aac.trading.v1.trading_pb2 import OpenAccountRequest, OpenAccountResponse
from aac.trading.v1.venue_pb2 import CreateVenueRequest, CreateVenueResponse, Venue, VenueAccount
from aac.type.v1.money_pb2 import Money

from aac_grpc.client.errors import AlreadyExists, InvalidField
from aac_grpc.common.types import to_timestamp
from aac_grpc.domain.commands import AddInstrument, AdjustCash, CreateAccount
from aac_grpc.domain.decimals import MAX_MONEY, format_money, parse_money
from aac_grpc.domain.instruments import Instrument
from aac_grpc.domain.orders import Verdict
from aac_grpc.servicers.trading.batch import Batch, ClientKey
from aac_grpc.servicers.trading.requests import KeyKind, Request, fingerprint
from aac_grpc.servicers.trading.views import account_view
from aac_grpc.servicers.trading.vocabulary import instrument_message, new_instrument

FIRST_DEPOSIT = "first deposit"


class OpenAccount(Request[OpenAccountResponse]):
    """Opens an account with its first cash."""

    def __init__(self, message: OpenAccountRequest) -> None:
        """Takes a request whose venue is filled in.

        Raises:
            InvalidField: The cash is not an amount that can be deposited.
        """
        self._opening = _opening(message.account_id, message.cash, message.allow_short, "cash")
        self.key = ClientKey(message.account_id, KeyKind.OPEN_ACCOUNT, message.account_id)
        self.fingerprint = fingerprint(message)

    def run(self, batch: Batch, verdict: Verdict | None) -> OpenAccountResponse:
        """Opens the account."""
        account_id = self._opening[0].account_id
        if account_id in batch.live.accounts:
            raise AlreadyExists("account", account_id)
        for command in self._opening:
            batch.execute(command)
        return OpenAccountResponse(account=account_view(batch.live.name, batch.account_record(account_id)))

    def read_answer(self, data: bytes) -> OpenAccountResponse:
        """Reads the first result."""
        return OpenAccountResponse.FromString(data)

    def holder(self, answer: OpenAccountResponse) -> str:
        """The account's id."""
        return answer.account.account_id


class SetUpVenue(Request[CreateVenueResponse]):
    """Lists a new venue's instruments and opens its accounts, all at once."""

    def __init__(self, message: CreateVenueRequest, epoch: int, created_ns: int) -> None:
        """Reads what the venue is to begin with.

        Raises:
            InvalidField: An instrument or account is wrong, or named twice.
        """
        self._epoch = epoch
        self._created_ns = created_ns
        self._instruments = _instruments(message)
        self._openings = _openings(message.accounts)
        self.key = ClientKey("", KeyKind.CREATE_VENUE, message.venue)
        self.fingerprint = fingerprint(message)

    def run(self, batch: Batch, verdict: Verdict | None) -> CreateVenueResponse:
        """Sets the venue up."""
        if batch.live.venue.sequence:
            raise AlreadyExists("venue", batch.live.name)
        for instrument in self._instruments:
            batch.execute(AddInstrument(instrument))
        for opening in self._openings:
            for command in opening:
                batch.execute(command)
        venue = Venue(
            venue=batch.live.name,
            epoch=self._epoch,
            sequence=batch.last_sequence,
            instruments=map(instrument_message, self._instruments),
            created_at=to_timestamp(self._created_ns),
        )
        return CreateVenueResponse(venue=venue)

    def read_answer(self, data: bytes) -> CreateVenueResponse:
        """Reads the first result."""
        return CreateVenueResponse.FromString(data)

    def holder(self, answer: CreateVenueResponse) -> str:
        """The venue's id."""
        return answer.venue.venue


Opening = tuple[CreateAccount, *tuple[AdjustCash, ...]]


def _opening(account_id: str, cash: Money, allow_short: bool, field: str) -> Opening:
    """The commands that open an account and deposit its first cash."""
    try:
        amount = parse_money(cash.amount or "0")
    except ValueError as error:
        raise InvalidField(f"{field}.amount", str(error)) from error
    if not 0 <= amount <= MAX_MONEY:
        raise InvalidField(f"{field}.amount", f"must be from 0 to {format_money(MAX_MONEY)}")
    if not cash.currency:
        raise InvalidField(f"{field}.currency", "is missing")
    account = CreateAccount(account_id, cash.currency, allow_short=allow_short)
    return (account, AdjustCash(account_id, amount, FIRST_DEPOSIT)) if amount else (account,)


def _openings(accounts: Sequence[VenueAccount]) -> list[Opening]:
    _refuse_twice([account.account_id for account in accounts], "accounts", "account_id")
    return [
        _opening(account.account_id, account.cash, account.allow_short, f"accounts[{index}].cash")
        for index, account in enumerate(accounts)
    ]


def _instruments(message: CreateVenueRequest) -> list[Instrument]:
    _refuse_twice([instrument.symbol for instrument in message.instruments], "instruments", "symbol")
    return [
        new_instrument(instrument, message.venue, f"instruments[{index}]")
        for index, instrument in enumerate(message.instruments)
    ]


def _refuse_twice(names: Sequence[str], field: str, part: str) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise InvalidField(f"{field}[{index}].{part}", f"{name!r} stands here twice")
        seen.add(name)
