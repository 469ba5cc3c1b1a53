"""Whose cancellation it is: gRPC raises `CancelledError` where a call is cancelled, as asyncio does where a task is."""

from __future__ import annotations

import asyncio


def is_cancelled() -> bool:
    """Whether this task was told to end, rather than the call that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
