"""Keyset paging: opaque page tokens that say after which item the next page begins.

A list method orders its items by a key of strings and integers, asks for `page.limit` of them after `page.start`,
and lets `page.cut` take off the one too many:

    page = Page.read(request.page, (int, str), query=(venue, account_id))
    rows = await repository.orders(venue, account_id, page.start(0, ""), page.limit)
    rows, next_page = page.cut(rows, lambda row: (row["created_ns"], row["order_id"]))
"""

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from zlib import crc32

from aac.type.v1.page_pb2 import PageRequest, PageResponse

from aac_grpc.client.errors import InvalidField

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000

MAX_INTEGER = 2**63 - 1
"""Comes after every integer key; where a descending list begins."""

Key = tuple[str | int, ...]
"""What a list is ordered by; unique in the list."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of one list, as a caller asked for it."""

    size: int
    """How many items at most."""
    after: Key | None
    """Key of the last item of the page before; None for the first page."""
    query: int
    """Checksum of what is listed, so that a token of another list is refused."""

    @classmethod
    def read(cls, request: PageRequest, key: Sequence[type], *, query: Sequence[object] = ()) -> "Page":
        """Reads a page request.

        Args:
            request: The request's `page` field.
            key: The types, str or int, of the parts of the list's key.
            query: What else decides which items are listed: filters, account, venue.

        Raises:
            InvalidField: The page size is out of bounds, or the token is not one of this list.
        """
        if not 0 <= request.page_size <= MAX_PAGE_SIZE:
            raise InvalidField("page.page_size", f"must be from 0 to {MAX_PAGE_SIZE}")
        checksum = crc32(repr(tuple(query)).encode())
        after = _parse(request.page_token, key, checksum) if request.page_token else None
        return cls(request.page_size or DEFAULT_PAGE_SIZE, after, checksum)

    def start(self, *before_all: str | int) -> Key:
        """The key that the page's items come after: that of the page before, or one before all items of the list."""
        return self.after or before_all

    @property
    def limit(self) -> int:
        """How many items to read: one more than the page has, which tells whether there is a next page."""
        return self.size + 1

    def cut(self, items: Sequence[Item], key: Callable[[Item], Key]) -> tuple[Sequence[Item], PageResponse]:
        """Returns the page's items and where the next page begins.

        Args:
            items: Up to `limit` items after `after`, in the list's order.
            key: An item's key.
        """
        if len(items) <= self.size:
            return items, PageResponse()
        shown = items[: self.size]
        return shown, PageResponse(next_page_token=_format(self.query, key(shown[-1])))


class Paged(Protocol):
    """A request or an answer of a list method."""

    @property
    def page(self) -> Any:
        """Its page field."""


Asked = TypeVar("Asked", bound=Paged)
Answered = TypeVar("Answered", bound=Paged)


async def each_page(method: Callable[[Asked], Awaitable[Answered]], request: Asked) -> AsyncIterator[Answered]:
    """Calls a list method again and again until there are no more items; the request's page token is moved on."""
    while True:
        answer = await method(request)
        yield answer
        request.page.page_token = answer.page.next_page_token
        if not request.page.page_token:
            return


def _format(checksum: int, key: Key) -> str:
    text = json.dumps([checksum, *key], separators=(",", ":"), ensure_ascii=False)
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse(token: str, types: Sequence[type], checksum: int) -> Key:
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        found, *key = json.loads(urlsafe_b64decode(padded))
        fits = found == checksum and len(key) == len(types) and all(map(_is_part, key, types))
    except (ValueError, TypeError, RecursionError, binascii.Error):
        fits = False
    if not fits:
        raise InvalidField("page.page_token", "is not a token of this list; begin with an empty one")
    return tuple(key)


def _is_part(part: object, expected: type) -> bool:
    """Tells whether a part of a token may stand in a query of this type."""
    if type(part) is not expected:
        return False
    if isinstance(part, str):
        # JSON can say half a surrogate pair, which is no text.
        return "\0" not in part and not any("\ud800" <= character <= "\udfff" for character in part)
    return isinstance(part, int) and -MAX_INTEGER <= part <= MAX_INTEGER
