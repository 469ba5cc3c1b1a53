"""What streams yield."""

from __future__ import annotations

from dataclasses import dataclass

from aac.event.v1.event_pb2 import Event

from aac_grpc.client.errors import AacError
from aac_grpc.client.models.market import LevelChange, Quote, Trade
from aac_grpc.client.models.orders import Order
from aac_grpc.client.models.topics import Topic


@dataclass(frozen=True, slots=True)
class TradesUpdate:
    """New trades of an instrument, in order."""

    venue: str
    symbol: str
    trades: tuple[Trade, ...]


@dataclass(frozen=True, slots=True)
class QuoteUpdate:
    """The latest quote of an instrument; earlier ones may have been overtaken."""

    venue: str
    symbol: str
    quote: Quote


@dataclass(frozen=True, slots=True)
class DepthUpdate:
    """Changed levels of a book, or all levels where `snapshot` is set. `LocalBook.apply` keeps a book of them."""

    venue: str
    symbol: str
    changes: tuple[LevelChange, ...]
    snapshot: bool
    sequence: int


@dataclass(frozen=True, slots=True)
class OrdersUpdate:
    """An account's orders: all open ones where `snapshot` is set, else those that changed, one entry a change."""

    venue: str
    account_id: str
    orders: tuple[Order, ...]
    snapshot: bool
    sequence: int


@dataclass(frozen=True, slots=True)
class EventsUpdate:
    """Domain events of one partition, in order; `offset` is that of the last one."""

    partition: str
    events: tuple[Event, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Events were missed and can't be had again: sequences `first` to `last`; both 0 where that is not known.

    Where the topic has a snapshot, it follows.
    """

    venue: str
    key: str
    topic: Topic
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SubscriptionRefused:
    """A subscription was not taken; the stream goes on without it."""

    venue: str
    symbol: str
    topic: Topic
    error: AacError


MarketUpdate = TradesUpdate | QuoteUpdate | DepthUpdate | Gap | SubscriptionRefused
