"""Calls that give one message."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import grpc

from aac_grpc.client.errors import AacError, RateLimited
from aac_grpc.client.retry import NO_RETRY, RetryPolicy, is_retryable
from aac_grpc.common import metrics
from aac_grpc.common.call import find_call
from aac_grpc.common.outgoing.method import Method

RETRY = RetryPolicy(first_backoff_s=0.02, longest_backoff_s=0.25, max_attempts=4)


class UnaryMethod:
    """Calls a method that gives one message: `response = await stub.Method(request, timeout=2.0)`."""

    def __init__(self, method: Method, own_account: bool = False) -> None:
        """Takes the method; `own_account`: nobody learns of a failure who could try again."""
        self._method = method
        self._own_account = own_account
        self._repeatable = method.policy.idempotent and not method.policy.client_streaming

    async def __call__(
        self, request: Any, *, timeout: float | None = None, metadata: Sequence[tuple[str, str]] | None = None
    ) -> Any:
        """Makes the call, again where that is this process's business, the contract allows it, and there is time.

        While another call is served it is not: the caller nearest the user tries again, so that attempts do not
        multiply from layer to layer.

        Raises:
            AacError: See `Channels`.
        """
        method = self._method
        clock = asyncio.get_running_loop().time
        budget = method.budget(timeout)
        ends = float("inf") if budget is None else clock() + budget
        policy = RETRY if self._repeatable and (self._own_account or find_call() is None) else NO_RETRY
        failures = timeouts = 0
        while True:
            method.breaker.check()
            limit = policy.attempt_timeout(max(0.0, ends - clock()), method.policy.timeout_class, timeouts)
            try:
                return await self._attempt(request, limit, metadata)
            except AacError as error:
                failures += 1
                timeouts += error.code is grpc.StatusCode.DEADLINE_EXCEEDED
                pause = policy.pause(failures, error, random.random())  # noqa: S311 no secret
                repeatable = self._may_pass(error, failures, policy)
                if not repeatable or failures >= RETRY.max_attempts or clock() + pause >= ends:
                    raise method.translate(error) from error
            metrics.CLIENT_RETRIES.labels(method.policy.service, method.policy.name).inc()
            await asyncio.sleep(pause)

    def _may_pass(self, error: AacError, failures: int, policy: RetryPolicy) -> bool:
        if error.code is grpc.StatusCode.UNAUTHENTICATED:
            # A token may have outlived its key. The next attempt gets a new one; nothing was done yet.
            return self._method.policy.authenticated and failures == 1
        # Services have no budgets: one that is spent is that of whom this process asks for, who is to be told at once.
        allowed = policy is not NO_RETRY and self._method.retries.allows
        return allowed and is_retryable(error) and not isinstance(error, RateLimited)

    async def _attempt(self, request: Any, limit: float, given: Sequence[tuple[str, str]] | None) -> Any:
        method = self._method
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
