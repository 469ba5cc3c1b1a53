"""Calls that give one message."""

from collections.abc import Sequence
from typing import Any

import grpc

from aac_grpc.client.errors import AacError
from aac_grpc.client.retry import NO_RETRY, RetryPolicy, call_with_retry
from aac_grpc.common import metrics
from aac_grpc.common.call import find_call
from aac_grpc.common.outgoing.method import Method

# Services have no quotas: one that is spent is that of whom this process asks for, who is to be told at once.
RETRY = RetryPolicy(first_backoff_s=0.02, longest_backoff_s=0.25, max_attempts=4, patient=False)


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
        budget = method.budget(timeout)
        own = self._own_account or find_call() is None
        method.breaker.check()
        try:
            return await call_with_retry(
                lambda seconds: self._attempt(request, seconds, metadata),
                timeout_s=float("inf") if budget is None else budget,
                policy=RETRY if self._repeatable and own else NO_RETRY,
                timeout_class=method.policy.timeout_class,
                budget=method.retries,
                renew=self._renew,
                before_retry=self._before_retry,
            )
        except AacError as error:
            raise method.translate(error) from error

    async def _renew(self) -> bool:
        """A token may have outlived its key, and was forgotten when it was refused: the next attempt gets a new one."""
        return self._method.policy.authenticated

    def _before_retry(self) -> None:
        metrics.CLIENT_RETRIES.labels(self._method.policy.service, self._method.policy.name).inc()
        self._method.breaker.check()

    async def _attempt(self, request: Any, limit: float, given: Sequence[tuple[str, str]] | None) -> Any:
        method = self._method
        allowed = None if limit == float("inf") else limit
        try:
            metadata = await method.metadata(given)
            response = await method.callable(request, timeout=allowed, metadata=metadata)
        except grpc.RpcError as raised:
            raise method.failure(raised, allowed) from raised
        except BaseException:
            method.abandoned()
            raise
        method.answered()
        return response
