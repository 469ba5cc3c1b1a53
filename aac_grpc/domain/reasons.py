"""The venue's own reasons for refusing a command. Codes are stable; sentences may improve."""

from collections.abc import Sequence
from enum import StrEnum

from aac_grpc.domain.orders import Reason


class VenueReason(StrEnum):
    """Stable codes of what the venue refuses."""

    UNKNOWN_INSTRUMENT = "UNKNOWN_INSTRUMENT"
    NOT_TRADABLE = "NOT_TRADABLE"
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT"
    WRONG_ACCOUNT_KIND = "WRONG_ACCOUNT_KIND"
    WRONG_CURRENCY = "WRONG_CURRENCY"
    INVALID_QUANTITY = "INVALID_QUANTITY"
    INVALID_PRICE = "INVALID_PRICE"
    INVALID_AMOUNT = "INVALID_AMOUNT"
    INVALID_TIME_IN_FORCE = "INVALID_TIME_IN_FORCE"
    DUPLICATE_CLIENT_ORDER_ID = "DUPLICATE_CLIENT_ORDER_ID"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    NOTHING_TO_AMEND = "NOTHING_TO_AMEND"
    INSUFFICIENT_CASH = "INSUFFICIENT_CASH"
    INSUFFICIENT_POSITION = "INSUFFICIENT_POSITION"
    ACCOUNT_MONEY_LIMIT = "ACCOUNT_MONEY_LIMIT"
    INSTRUMENT_EXISTS = "INSTRUMENT_EXISTS"
    ACCOUNT_EXISTS = "ACCOUNT_EXISTS"
    FEED_EXISTS = "FEED_EXISTS"
    UNKNOWN_FEED = "UNKNOWN_FEED"


class CommandRefused(ValueError):
    """A command other than an order's was refused; the venue is unchanged."""

    def __init__(self, reasons: Sequence[Reason]) -> None:
        super().__init__("; ".join(reason.message for reason in reasons))
        self.reasons = tuple(reasons)
