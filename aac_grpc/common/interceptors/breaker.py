"""Fails fast: while a dependency that the service can't do without is known to be down, no call is begun."""

from collections.abc import Sequence

from aac_grpc.common.breaker import Breaker, Breakers
from aac_grpc.common.call import Call
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.interceptors.hooks import Interceptor


class RequiredDependencies(Interceptor):
    """Refuses calls while a required dependency's breaker is open; a half-open one lets them through to probe it."""

    def __init__(self, breakers: Breakers, required: Sequence[str]) -> None:
        self._required: tuple[Breaker, ...] = tuple(breakers.get(name) for name in required)

    def for_method(self, policy: MethodPolicy) -> Interceptor | None:
        """Nothing to look at where nothing is required."""
        return self if self._required else None

    def on_start(self, call: Call) -> None:
        """Looks at each breaker."""
        for breaker in self._required:
            if breaker.is_open:
                raise breaker.refusal()
