"""Policies with a mistake in them, for tests of the tests: each method is served by its own policy or a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest

from aac_grpc.common import chain
from aac_grpc.common.contract import MethodPolicy, policy_of

Change = Callable[[MethodPolicy], MethodPolicy]

CHANGES: Mapping[str, Change] = {
    "scope is dropped": lambda policy: replace(policy, scope=""),
    "scope is another one": lambda policy: replace(policy, scope=policy.scope and _other_than(policy.scope)),
    "allow_unauthenticated is dropped": lambda policy: replace(policy, scope=policy.scope or "auth:admin"),
    "account_field is dropped": lambda policy: replace(policy, account_field=""),
    "exposure is public": lambda policy: replace(policy, internal=False),
}
"""What may go wrong with each field that decides who may call."""


def _other_than(scope: str) -> str:
    return "market:read" if scope != "market:read" else "orders:read"


@dataclass
class Switch:
    """Which change the policies of all methods have now; empty for none."""

    change: str = ""

    @contextmanager
    def to(self, change: str) -> Iterator[None]:
        """Serves by policies with this change while the block runs."""
        self.change = change
        try:
            yield
        finally:
            self.change = ""


@contextmanager
def switched_policies() -> Iterator[Switch]:
    """Servers that start in the block serve each method by what the switch says at each call."""
    switch, serve = Switch(), chain.Chain.serve

    def serve_switched(self: chain.Chain, path: str, handler: Any) -> Any:
        served = {"": serve(self, path, handler)}
        for name, change in CHANGES.items():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(chain, "policy_of", lambda path, change=change: change(policy_of(path)))
                served[name] = serve(self, path, handler)
        behaviors = {name: _behavior(adapted) for name, adapted in served.items()}

        async def behave(request: Any, context: Any) -> Any:
            return await behaviors[switch.change](request, context)

        shape = "_".join(
            "stream" if streams else "unary" for streams in (handler.request_streaming, handler.response_streaming)
        )
        return getattr(grpc, f"{shape}_rpc_method_handler")(behave)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain.Chain, "serve", serve_switched)
        yield switch


def _behavior(handler: Any) -> Any:
    return handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
