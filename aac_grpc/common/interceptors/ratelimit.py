"""Charges the caller's plan: for each call, for each message on a client's stream, for each item a message carries."""

import math
from collections.abc import Awaitable, Mapping
from typing import Any

from aac_grpc.client.errors import RateLimited
from aac_grpc.common import metrics
from aac_grpc.common.call import Call
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.interceptors.hooks import Interceptor, Wait
from aac_grpc.common.quota import Budget, Grant, Quotas
from aac_grpc.common.settings import ServiceSettings

UNLIMITED_CLASS = "INTERNAL"


class RateLimit(Interceptor):
    """Refuses what is over the caller's budget. Services of the mesh are not charged: who they act for was. Nor is what
    another instance of this service has handed on: it was charged there.
    """

    def __init__(self, settings: ServiceSettings, quotas: Quotas) -> None:
        self._quotas = quotas
        self._default_plan = settings.default_plan
        self._budgets = {
            plan: {rate_class: Budget(rate, burst) for rate_class, (rate, burst) in classes.items()}
            for plan, classes in settings.rate_limits.items()
        }

    def for_method(self, policy: MethodPolicy) -> Interceptor | None:
        """Knows the method's class; calls inside the mesh are counted by the metrics, never refused."""
        if policy.rate_class == UNLIMITED_CLASS:
            return None
        # Where nobody has signed in, each method has a budget of its own: whoever guesses API keys from an address does
        # not keep others from signing in there.
        name = policy.rate_class if policy.authenticated else f"{policy.rate_class}:{policy.name}"
        budgets = {
            plan: (f"{plan}:{name}", classes[policy.rate_class])
            for plan, classes in self._budgets.items()
            if policy.rate_class in classes
        }
        charged = ItemRateLimit if policy.cost_field or policy.client_streaming else MethodRateLimit
        return charged(
            policy, self._quotas, {plan: budgets.get(plan) for plan in self._budgets}, budgets.get(self._default_plan)
        )


PlanBudget = tuple[str, Budget]
"""Name of a budget within those of a caller, and its size."""


class MethodRateLimit(Interceptor):
    """Charges the calls of one method."""

    def __init__(
        self,
        policy: MethodPolicy,
        quotas: Quotas,
        budgets: Mapping[str, PlanBudget | None],
        default: PlanBudget | None,
    ) -> None:
        self._policy = policy
        self._quotas = quotas
        self._budgets = budgets
        self._default = default
        self._refused = metrics.RATE_LIMITED.labels(policy.rate_class)

    def on_start(self, call: Call) -> Wait:
        """Charges the call."""
        return self._charge(call, self._policy.cost)

    def _charge(self, call: Call, cost: float) -> Wait:
        principal = call.principal
        found = self._budgets.get(principal.plan, self._default)
        if found is None or principal.kind == "service" or call.forwarded or cost == 0:
            return None
        name, budget = found
        # A message that is refused for its thousands of items costs seconds, not minutes.
        if cost > budget.burst:
            cost = budget.burst
        grant = self._quotas.take(f"{principal.owner}:{name}", budget, cost)
        if not isinstance(grant, Grant):
            return self._wait(call, budget, grant)
        self._settle(call, budget, grant)
        return None

    async def _wait(self, call: Call, budget: Budget, grant: Awaitable[Grant]) -> None:
        self._settle(call, budget, await grant)

    def _settle(self, call: Call, budget: Budget, grant: Grant) -> None:
        trailers = call.trailers
        trailers["x-ratelimit-limit"] = budget.limit
        trailers["x-ratelimit-remaining"] = str(grant.remaining)
        trailers["x-ratelimit-reset"] = str(math.ceil(grant.reset_s))
        if not grant.allowed:
            self._refused.inc()
            raise RateLimited(
                grant.retry_after_s,
                subject=call.principal.shown,
                quota=self._policy.rate_class,
                limit=str(budget),
            )


class ItemRateLimit(MethodRateLimit):
    """Charges the messages of a client's stream, and the items of any message, as well."""

    def on_request(self, call: Call, message: Any) -> Wait:
        """Charges one message, by what it carries; a full bucket at most."""
        return self._charge(call, self._policy.items(message) + (1 if self._policy.client_streaming else 0))
