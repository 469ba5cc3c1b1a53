"""Requests and responses, as pydantic models."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

from fastapi import Query
from pydantic import BaseModel, Field

Symbols = Annotated[list[str], Query(min_length=1, max_length=100)]


class BaseResponse(BaseModel):
    """What every response has."""

    success: bool = True
    request_id: str = Field(default_factory=lambda: uuid4().hex[:16])
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))


class Quote(BaseModel):
    """The same fields as `aac.marketdata.v1.Quote` has in the benches."""

    venue: str
    symbol: str
    bid_price: str
    bid_quantity: str
    ask_price: str
    ask_quantity: str
    last_price: str
    last_quantity: str
    depth_sequence: int


class QuotesResponse(BaseResponse):
    """Quotes of some instruments."""

    quotes: list[Quote]


def quote_of(symbol: str) -> Quote:
    """The same quote each time."""
    return Quote(
        venue="main", symbol=symbol, bid_price="570.12", bid_quantity="100", ask_price="570.15", ask_quantity="300",
        last_price="570.12", last_quantity="20", depth_sequence=123_456,
    )  # fmt: skip
