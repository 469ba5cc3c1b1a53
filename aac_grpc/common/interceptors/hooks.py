"""What one concern around calls looks like, and how a method's concerns become one tuple of hooks each."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aac_grpc.common.call import Call
from aac_grpc.common.contract import MethodPolicy

Wait = Awaitable[None] | None
"""What a hook returns: None when it is done, an awaitable when it has to wait. The common call never waits."""


class Interceptor:
    """One concern. `for_method` is called once a method, before the server starts; hooks run for each of its calls.

    A hook that a class does not override costs nothing. What a hook raises ends the call, with that status.
    """

    def for_method(self, policy: MethodPolicy) -> "Interceptor | None":
        """What watches the calls of this method; None where the concern does not apply to it."""
        return self

    def on_start(self, call: Call) -> Wait:
        """The call arrived; nothing of its messages was read."""

    def on_request(self, call: Call, message: Any) -> Wait:
        """A message came in, parsed."""

    def on_response(self, call: Call, items: int) -> None:
        """A message that carries so many items goes out."""

    def on_end(self, call: Call) -> None:
        """The call ended: `call.code` and `call.error` say how. Runs where `on_start` returned, in reverse order."""


class Hooks:
    """The hooks of one method's interceptors, in order.

    Attributes:
        starts: `on_start` hooks.
        requests: `on_request` hooks.
        responses: `on_response` hooks.
        ends: At index n, the `on_end` hooks to run when n start hooks have returned.
    """

    __slots__ = ("ends", "requests", "responses", "starts")

    def __init__(self, interceptors: Iterable[Interceptor]) -> None:
        chosen = list(interceptors)
        self.starts: tuple[Callable[[Call], Wait], ...] = ()
        ends: tuple[Callable[[Call], None], ...] = ()
        self.ends = [ends]
        for one in chosen:
            if _overrides(one, "on_end"):
                ends = (one.on_end, *ends)
            if _overrides(one, "on_start"):
                self.starts = (*self.starts, one.on_start)
                self.ends.append(ends)
            else:
                self.ends[-1] = ends
        self.requests = tuple(one.on_request for one in chosen if _overrides(one, "on_request"))
        self.responses = tuple(one.on_response for one in chosen if _overrides(one, "on_response"))


def compose(interceptors: Iterable[Interceptor], policy: MethodPolicy) -> Hooks:
    """The hooks of those interceptors that apply to a method."""
    return Hooks(bound for one in interceptors if (bound := one.for_method(policy)) is not None)


def _overrides(interceptor: Interceptor, hook: str) -> bool:
    return getattr(type(interceptor), hook) is not getattr(Interceptor, hook)
