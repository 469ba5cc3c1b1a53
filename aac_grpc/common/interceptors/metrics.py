"""Counts calls and messages under the standard names; labels are bound before the first call."""

import asyncio

import grpc

from aac_grpc.common import metrics
from aac_grpc.common.call import Call
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.interceptors.hooks import Interceptor


def grpc_type(policy: MethodPolicy) -> str:
    """The arity as the standard label has it."""
    return {
        (False, False): "unary",
        (True, False): "client_stream",
        (False, True): "server_stream",
        (True, True): "bidi_stream",
    }[policy.client_streaming, policy.server_streaming]


class Metrics(Interceptor):
    """Makes the counters of each method."""

    def for_method(self, policy: MethodPolicy) -> Interceptor:
        """Counters of one method, at zero."""
        return MethodMetrics(policy)


class MethodMetrics(Interceptor):
    """Counts the calls of one method."""

    def __init__(self, policy: MethodPolicy) -> None:
        labels = (grpc_type(policy), policy.service, policy.name)
        self._started = metrics.SERVER_STARTED.labels(*labels)
        self._received = metrics.SERVER_RECEIVED.labels(*labels)
        self._sent = metrics.SERVER_SENT.labels(*labels)
        self._items = metrics.SERVER_ITEMS_SENT.labels(*labels)
        self._latency = metrics.SERVER_LATENCY.labels(*labels)
        self._handled = {code: metrics.SERVER_HANDLED.labels(*labels, code.name) for code in grpc.StatusCode}
        self._clock = asyncio.get_running_loop().time
        self._streams = policy.streaming

    def on_start(self, call: Call) -> None:
        """Counts the call."""
        self._started.inc()
        if self._streams:
            metrics.SERVER_OPEN_STREAMS.inc()

    def on_request(self, call: Call, message: object) -> None:
        """Counts the message."""
        self._received.inc()

    def on_response(self, call: Call, items: int) -> None:
        """Counts the message and its items."""
        self._sent.inc()
        if self._streams:
            self._items.inc(items)

    def on_end(self, call: Call) -> None:
        """Counts the status and the time."""
        self._handled[call.code].inc()
        self._latency.observe(self._clock() - call.started_at)
        if self._streams:
            metrics.SERVER_OPEN_STREAMS.dec()
