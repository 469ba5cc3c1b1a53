"""One connection to the platform: channel, credentials, request ids, deadlines, retries, typed errors."""

from __future__ import annotations

import itertools
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Protocol, TypeVar

from aac.type.v1.page_pb2 import PageRequest, PageResponse
from grpc import aio

from aac_grpc.client._contract import terms_of
from aac_grpc.client.credentials import Credentials
from aac_grpc.client.errors import AacError, Unavailable, from_rpc_error
from aac_grpc.client.retry import NO_RETRY, RetryBudget, RetryPolicy, call_with_retry

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
T = TypeVar("T")

PAGE_SIZE = 200


class ListRequest(Protocol):
    """A request of a list method."""

    @property
    def page(self) -> PageRequest:
        """Which page."""


class ListResponse(Protocol):
    """A response of a list method."""

    @property
    def page(self) -> PageResponse:
        """Where the next page begins."""


ListRequestT = TypeVar("ListRequestT", bound=ListRequest)
ListResponseT = TypeVar("ListResponseT", bound=ListResponse)


class Connection:
    """Makes calls. Every failure is an `AacError`."""

    def __init__(
        self, channel: aio.Channel, target: str, *, timeout_s: float = 10.0, retry: RetryPolicy | None = None
    ) -> None:
        """Wraps a channel.

        Args:
            channel: Is closed with the connection.
            target: What it leads to, for people.
            timeout_s: For a call and its retries where the caller says nothing.
            retry: When calls that may be repeated are made again.
        """
        self.channel = channel
        self._target = target
        self.credentials = Credentials()
        self.timeout_s = timeout_s
        self._retry = retry or RetryPolicy()
        self._budget = RetryBudget()

    async def unary(
        self,
        method: aio.UnaryUnaryMultiCallable[RequestT, ResponseT],
        request: RequestT,
        *,
        timeout: float | None = None,
        anonymous: bool = False,
    ) -> ResponseT:
        """Calls a unary method, again while the service is away or slow where the contract lets the call be repeated.

        Args:
            method: Of a stub on this connection's channel.
            request: Sent again as it is by each retry: its client key, where it has one, stays the same.
            timeout: Seconds for all attempts together; None takes the connection's.
            anonymous: No credential is sent.

        Raises:
            AacError: The call failed.
        """
        request_id, terms = uuid.uuid4().hex, terms_of(_path_of(method))
        credentials = Credentials() if anonymous else self.credentials

        async def attempt(seconds: float) -> ResponseT:
            metadata = (*await credentials.metadata(), ("x-request-id", request_id))
            try:
                return await method(request, timeout=seconds, metadata=aio.Metadata(*metadata))
            except aio.AioRpcError as error:
                raise self.explain(from_rpc_error(error)) from None

        return await call_with_retry(
            attempt,
            timeout_s=self.timeout_s if timeout is None else timeout,
            policy=self._retry if terms.repeatable else NO_RETRY,
            timeout_class=terms.timeout_class,
            budget=self._budget,
            renew=credentials.renew,
        )

    def explain(self, error: AacError) -> AacError:
        """Puts gRPC's own words for an absent server into ours; what a server said stays as it is."""
        if isinstance(error, Unavailable) and not error.request_id:
            cause = cause_of(error.message)
            if "HTTP/2" in cause:  # gRPC tells which bytes it did not expect
                return Unavailable(f"what answers at {self._target} does not speak gRPC")
            return Unavailable(f"nobody answers at {self._target}: {cause}")
        return error

    async def stream_metadata(self) -> aio.Metadata:
        """What to send when a stream is opened."""
        return aio.Metadata(*await self.credentials.metadata(), ("x-request-id", uuid.uuid4().hex))

    async def pages(
        self,
        method: aio.UnaryUnaryMultiCallable[ListRequestT, ListResponseT],
        request: ListRequestT,
        items: Callable[[ListResponseT], Iterable[T]],
        limit: int | None,
    ) -> AsyncIterator[T]:
        """Yields the items of a list, page after page.

        Args:
            method: A list method.
            request: What to list; its page is set here.
            items: Reads the items of a response.
            limit: How many items at most; None means all.
        """
        left = sys.maxsize if limit is None else limit
        while left > 0:
            request.page.page_size = min(PAGE_SIZE, left)
            response = await self.unary(method, request)
            for item in itertools.islice(items(response), left):
                left -= 1
                yield item
            if not response.page.next_page_token:
                return
            request.page.page_token = response.page.next_page_token

    async def close(self) -> None:
        """Closes the channel; running calls end."""
        await self.channel.close()


def cause_of(message: str) -> str:
    """The last clause of what gRPC says of a connection, such as "Connection refused": what goes before is its own."""
    return message.rpartition(": ")[2].rstrip("]") or message


def _path_of(method: Any) -> str:
    """The path of a stub's method, which gRPC keeps to itself."""
    path: bytes | str = method._method
    return path.decode() if isinstance(path, bytes) else path
