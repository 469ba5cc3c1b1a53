"""One line a call: every failure, every slow or audited call, and a sample of the others."""

import random

import grpc
import structlog

from aac_grpc.common.call import Call
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.interceptors.hooks import Interceptor
from aac_grpc.common.settings import ServiceSettings

_OK, _CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED
_SERVER_FAULTS = frozenset(
    {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.UNAVAILABLE}
)


class AccessLog(Interceptor):
    """Writes lines of the logger "access". Tokens, messages and other metadata are never written."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings

    def for_method(self, policy: MethodPolicy) -> Interceptor | None:
        """Knows what is slow for the method; probes of health are not worth a line."""
        return None if policy.infrastructure else MethodAccessLog(policy, self._settings)


class MethodAccessLog(Interceptor):
    """Writes about the calls of one method."""

    def __init__(self, policy: MethodPolicy, settings: ServiceSettings) -> None:
        self._log = structlog.get_logger("access").bind(method=policy.path)
        self._always = policy.audit
        self._slow_s = float("inf") if policy.streaming else settings.access_log_slow_s
        self._sample = settings.access_log_sample

    def on_end(self, call: Call) -> None:
        """Writes the line, if it is due."""
        ordinary = (call.code is _OK or call.code is _CANCELLED) and call.duration_s < self._slow_s
        if ordinary and not self._always and random.random() >= self._sample:  # noqa: S311 no secret
            return
        write = self._log.warning if call.code in _SERVER_FAULTS else self._log.info
        write(
            "call",
            code=call.code.name,
            reason=call.error.reason if call.error is not None else None,
            duration_ms=round(call.duration_s * 1000, 3),
            request_id=call.request_id,
            principal=call.principal.subject,
            kind=call.principal.kind,
            peer=call.context.peer(),
            received=call.received,
            sent=call.sent,
            audit=call.policy.audit,
        )
