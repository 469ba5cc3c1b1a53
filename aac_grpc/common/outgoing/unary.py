"""Calls that give one message."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import grpc

from aac_grpc.client.errors import AacError, RateLimited
from aac_grpc.client.retry import RetryPolicy, is_retryable
from aac_grpc.common import metrics
from aac_grpc.common.outgoing.method import Method

RETRY = RetryPolicy(attempt_timeout_s=0.8, first_backoff_s=0.02, longest_backoff_s=0.25, max_attempts=4)


class UnaryMethod:
    """Calls a method that gives one message: `response = await stub.Method(request, timeout=2.0)`."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self._repeatable = method.policy.idempotent and not method.policy.client_streaming

    async def __call__(
        self, request: Any, *, timeout: float | None = None, metadata: Sequence[tuple[str, str]] | None = None
    ) -> Any:
        """Makes the call, again where the contract allows it and there is time.

        Raises:
            AacError: See `Channels`.
        """
        method = self._method
        clock = asyncio.get_running_loop().time
        budget = method.budget(timeout)
        ends = float("inf") if budget is None else clock() + budget
        failures = 0
        while True:
            method.breaker.check()
            try:
                return await self._attempt(request, max(0.0, ends - clock()), metadata)
            except AacError as error:
                failures += 1
                pause = RETRY.pause(failures, error, random.random())  # noqa: S311 no secret
                repeatable = self._may_pass(error, failures)
                if not repeatable or failures >= RETRY.max_attempts or clock() + pause >= ends:
                    raise method.translate(error) from error
            metrics.CLIENT_RETRIES.labels(method.policy.service, method.policy.name).inc()
            await asyncio.sleep(pause)

    def _may_pass(self, error: AacError, failures: int) -> bool:
        if error.code is grpc.StatusCode.UNAUTHENTICATED:
            # A token may have outlived its key. The next attempt gets a new one; nothing was done yet.
            return self._method.policy.authenticated and failures == 1
        # Services have no budgets: one that is spent is that of whom this process asks for, who is to be told at once.
        return self._repeatable and is_retryable(error) and not isinstance(error, RateLimited)

    async def _attempt(self, request: Any, remaining: float, given: Sequence[tuple[str, str]] | None) -> Any:
        method = self._method
        limit = RETRY.attempt_timeout(remaining) if method.policy.idempotent else remaining
        allowed = None if limit == float("inf") else limit
        try:
            metadata = await method.metadata(given)
            response = await method.callable(request, timeout=allowed, metadata=metadata)
        except grpc.RpcError as raised:
            raise method.failure(raised, allowed) from raised
        except BaseException:
            method.breaker.abandoned()
            raise
        method.answered()
        return response
