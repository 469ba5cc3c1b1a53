"""Callers that have gone: gRPC takes nothing more for their calls, and tells why only a moment later."""

import asyncio
import logging
from typing import Any

import grpc
import structlog

PATIENCE_S = 1.0
"""gRPC cancels the task of a caller who has gone within milliseconds, unless the process has too much to do."""

_log = structlog.get_logger("adapter")


def is_over(context: grpc.aio.ServicerContext[Any, Any]) -> bool:
    """A status was given to gRPC: nothing more can be said to the caller, and gRPC cancels the task no more."""
    return bool(context.done())


async def await_cancellation(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Waits for gRPC to cancel this task, after it has taken a message, metadata or a status of the call no more.

    Returns where it does not in time: then it is the message that it would not take, and the caller is still there.

    Raises:
        asyncio.CancelledError: The caller has gone.
    """
    if is_over(context):
        raise asyncio.CancelledError
    await asyncio.sleep(PATIENCE_S)


class _Answers(logging.Filter):
    """Passes all lines but those about answers that came too late.

    gRPC sends what a handler returns by itself, and where it has not heard yet that the caller has gone it writes an
    error with its traceback.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be written."""
        if record.exc_info is None or not isinstance(record.exc_info[1], grpc.aio.InternalError):
            return True
        _log.debug("the caller had gone before the answer", grpc=record.getMessage())
        return False


logging.getLogger("grpc._cython.cygrpc").addFilter(_Answers())
