"""How many streams may be open: of the whole process, and of one caller."""

from collections import Counter

from aac_grpc.client.errors import TooManyStreams
from aac_grpc.common import metrics
from aac_grpc.common.call import Call
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.interceptors.hooks import Interceptor
from aac_grpc.common.settings import ServiceSettings


class StreamLimit(Interceptor):
    """Bounds the streams of the process, forwarded ones included."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._limit = settings.max_streams
        self._open = 0
        self._refused = metrics.STREAMS_REFUSED.labels("process")

    def for_method(self, policy: MethodPolicy) -> Interceptor | None:
        """Counts streams alone."""
        return self if policy.streaming else None

    def on_start(self, call: Call) -> None:
        """Takes a place."""
        if self._open >= self._limit:
            self._refused.inc()
            raise TooManyStreams(self._limit, owner="this process", setting="AAC_MAX_STREAMS")
        self._open += 1

    def on_end(self, call: Call) -> None:
        """Gives it back."""
        self._open -= 1


class PrincipalStreamLimit(Interceptor):
    """Bounds the streams of each caller. Services of the mesh follow each other by streams, and have no limit."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._limit = settings.max_streams_per_principal
        self._open: Counter[str] = Counter()
        self._refused = metrics.STREAMS_REFUSED.labels("principal")

    def for_method(self, policy: MethodPolicy) -> Interceptor | None:
        """Counts streams alone."""
        return self if policy.streaming else None

    def on_start(self, call: Call) -> None:
        """Takes a place."""
        principal = call.principal
        if principal.is_service:
            return
        if self._open[principal.owner] >= self._limit:
            self._refused.inc()
            raise TooManyStreams(
                self._limit,
                owner=principal.shown,
                setting="AAC_MAX_STREAMS_PER_PRINCIPAL",
            )
        self._open[principal.owner] += 1

    def on_end(self, call: Call) -> None:
        """Gives it back."""
        principal = call.principal
        if principal.is_service:
            return
        self._open[principal.owner] -= 1
        if self._open[principal.owner] <= 0:
            del self._open[principal.owner]
