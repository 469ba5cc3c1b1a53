"""Writing to a stream without losing the status that it ends with."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc import aio


async def write(call: Any, request: Any) -> None:
    """Sends one message on an open call whose client streams.

    `call.write` of grpc.aio puts INTERNAL "Internal error from Core" in place of the status of a call that ends while
    the message is on its way, so that nobody learns whether to connect again. This leaves the status to the reader.

    Args:
        call: A `grpc.aio` call that was made without an iterator of requests.
        request: Its message.

    Raises:
        asyncio.InvalidStateError: The call has ended; its status tells why.
    """
    if not call._metadata_sent.is_set():
        await call._metadata_sent.wait()
    if call.done() or call._done_writing_flag:
        raise asyncio.InvalidStateError("the call has ended")
    serialize = call._request_serializer
    try:
        await call._cython_call.send_serialized_message(request if serialize is None else serialize(request))
    except aio.InternalError as error:
        raise asyncio.InvalidStateError("the call has ended") from error
    except asyncio.CancelledError:
        if not call.done():
            call.cancel()
        raise
