"""The call that is being served: its policy, who makes it, until when. A contextvar carries it."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import grpc
from google.protobuf.message import Message

from aac_grpc.client.errors import AacError, InvalidField
from aac_grpc.common.contract import MethodPolicy

ALL_ACCOUNTS = "*"
"""Stands in a token for every account."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a call, as its verified credential says."""

    subject: str
    """Id of the user or name of the service; the peer's address where nobody signed in."""
    username: str = ""
    kind: Literal["user", "service", "anonymous"] = "anonymous"
    firm_id: str = ""
    accounts: frozenset[str] = frozenset()
    """Account ids, or `ALL_ACCOUNTS`."""
    scopes: frozenset[str] = frozenset()
    plan: str = ""
    """Names the rate limits that hold."""
    token_id: str = ""
    """The token's `jti`."""
    expires_at: float = float("inf")
    """When the credential ends, seconds since the Unix epoch."""

    @property
    def is_service(self) -> bool:
        """A process of the mesh."""
        return self.kind == "service"

    def has_scope(self, scope: str) -> bool:
        """Tells whether the credential holds the scope."""
        return scope in self.scopes

    def may_act_on(self, account: str) -> bool:
        """Tells whether the credential covers the account."""
        return account in self.accounts or ALL_ACCOUNTS in self.accounts


class Call:
    """One call from its first byte to its status.

    Attributes:
        policy: What the contract says about the method.
        context: gRPC's own view of the call.
        metadata: What the caller sent; of repeated keys the last value.
        request_id: Names the call in logs and errors; taken from the caller's `x-request-id` where it sent a good one.
        principal: Who makes the call; anonymous until it was authenticated.
        deadline: When the call must have ended, on the event loop's clock; None for a stream without one.
        code: Status; OK until something else is known.
        error: Why the call failed.
        received: Messages that came in.
        sent: Messages that went out.
    """

    __slots__ = (
        "_drain_callbacks",
        "_ending",
        "_scope",
        "charge",
        "code",
        "context",
        "deadline",
        "error",
        "metadata",
        "policy",
        "principal",
        "received",
        "request_id",
        "sent",
        "started_at",
    )

    def __init__(self, policy: MethodPolicy, context: Any, metadata: dict[str, str | bytes], request_id: str) -> None:
        self.policy = policy
        self.context: grpc.aio.ServicerContext[Any, Any] = context
        self.metadata = metadata
        self.request_id = request_id
        self.principal = ANONYMOUS
        self.deadline: float | None = None
        self.code = grpc.StatusCode.OK
        self.error: AacError | None = None
        self.received = 0
        self.sent = 0
        self.started_at = 0.0
        self.charge: Any = None
        self._scope: asyncio.Timeout | None = None
        self._ending: AacError | None = None
        self._drain_callbacks: list[Callable[[], None]] = []

    def account(self, request: Message) -> str:
        """The account that a request acts on: the one it names, else the caller's only one.

        That the caller may act on a named account was checked before the handler ran.

        Raises:
            InvalidField: The request names none, and the caller has none or several.
        """
        named = self.policy.account(request)
        if named:
            return named
        own = self.principal.accounts
        if len(own) == 1 and ALL_ACCOUNTS not in own:
            return next(iter(own))
        raise InvalidField(self.policy.account_field, "name the account: you may act on more than one, or on none")

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, at least 0; None without one."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - asyncio.get_running_loop().time())

    def on_drain(self, callback: Callable[[], None]) -> None:
        """Has `callback` called when the server begins to shut down, so that a stream can say where to resume and end.

        A stream without a callback is ended by the base, with the reason DRAINING.
        """
        self._drain_callbacks.append(callback)

    def terminate(self, error: AacError) -> None:
        """Ends the call with this error as soon as its handler can be interrupted."""
        if self._ending is None:
            self._ending = error
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())


ANONYMOUS = Principal(subject="")

_current: ContextVar[Call] = ContextVar("aac_call")


def current_call() -> Call:
    """The call that this task serves.

    Raises:
        LookupError: The task serves none.
    """
    return _current.get()


def find_call() -> Call | None:
    """The call that this task serves, or None."""
    return _current.get(None)
