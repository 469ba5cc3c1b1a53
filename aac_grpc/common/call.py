"""The call that is being served: its policy, who makes it, until when. A contextvar carries it."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import grpc
from google.protobuf.message import Message

from aac_grpc.client.errors import AacError, DeadlineExceeded, Draining, InvalidField
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.expiry import Expiry

ALL_ACCOUNTS = "*"
"""Stands in a token for every account."""

_OK = grpc.StatusCode.OK
_NEVER = float("inf")


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
    generation: int = 0
    """Of the user; a token of an earlier one than the user's present generation is revoked."""
    expires_at: float = _NEVER
    """When the credential ends, seconds since the Unix epoch."""
    owner: str = field(init=False, compare=False)
    """Names whose budgets and streams are counted, such as "user:<id>"."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "owner", f"{self.kind}:{self.subject}")

    @property
    def shown(self) -> str:
        """Its kind and name, for people to read."""
        return f"{self.kind}:{self.username or self.subject}"

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


ANONYMOUS = Principal(subject="")
"""Who nobody has authenticated yet."""


def _let_in() -> None:
    """No item of a stream is refused."""


class Call:
    """One call from its first byte to its status.

    Attributes:
        policy: What the contract says about the method.
        context: gRPC's own view of the call.
        metadata: What the caller sent; of repeated keys the last value.
        request_id: Names the call in logs and errors; taken from the caller's `x-request-id` where it sent a good one.
        principal: Who makes the call; anonymous until it was authenticated.
        forwarded: Another instance of this service has handed it on, as it proved: it has charged the caller, and
            nobody forwards it again.
        started_at: When it arrived, on the event loop's clock.
        duration_s: How long it took, once it has ended.
        deadline: When it must have ended, on the event loop's clock; None for a stream without one.
        request: The message that came in last, as it came.
        code: Status; OK until something else is known.
        error: Why the call failed.
        trailers: Trailing metadata for the caller, beside the error's.
        ended: Nothing more will happen in it.
        received: Messages that came in.
        sent: Messages that went out.
        writing: A message is being written.
        expired: Its time is over, though the handler may not have noticed yet.
        item_refusal: Tells a handler of a client's stream why an item is refused while the process has too much to do;
            None where it is let in.
    """

    __slots__ = (
        "_drain_callbacks", "_end_at", "_ending", "_expiry", "_interrupted", "_slot", "_task", "code", "context",
        "deadline", "duration_s", "ended", "error", "expired", "forwarded", "item_refusal", "metadata", "policy",
        "principal", "received", "request", "request_id", "sent", "started_at", "trailers", "writing",
    )  # fmt: skip

    def __init__(
        self,
        policy: MethodPolicy,
        context: Any,
        metadata: dict[str, Any],
        request_id: str,
        started_at: float,
        expiry: Expiry,
        task: asyncio.Task[Any] | None = None,
    ) -> None:
        self.policy = policy
        self.context: grpc.aio.ServicerContext[Any, Any] = context
        self.metadata = metadata
        self.request_id = request_id
        self.principal = ANONYMOUS
        self.forwarded = False
        self.started_at = started_at
        self.duration_s = 0.0
        self.deadline: float | None = None
        self.request = b""
        self.code = _OK
        self.error: AacError | None = None
        self.trailers = {"x-request-id": request_id}
        self.ended = self.writing = self.expired = self._interrupted = False
        self.received = self.sent = 0
        self.item_refusal: Callable[[], AacError | None] = _let_in
        self._expiry = expiry
        self._task = task
        self._slot: set[Any] | None = None
        self._end_at = _NEVER
        self._ending: Callable[[], AacError] = DeadlineExceeded
        self._drain_callbacks: list[Callable[[], None]] | None = None

    @property
    def canceled(self) -> bool:
        """The caller went away, or gRPC ended the call."""
        return self._task is not None and self._task.cancelling() > 0

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
        if self._drain_callbacks is None:
            self._drain_callbacks = []
        self._drain_callbacks.append(callback)

    def drain(self) -> None:
        """Tells the call that the server shuts down."""
        if self._drain_callbacks is None:
            self.terminate(Draining())
            return
        for callback in self._drain_callbacks:
            callback()

    def terminate(self, error: AacError) -> None:
        """Ends the call with this error, as soon as its handler next waits."""
        if not self.ended and self._end_at > 0:
            self._end_at, self._ending = 0, lambda: error
            asyncio.get_running_loop().call_soon(self.expire)

    def end_at(self, when: float, error: Callable[[], AacError]) -> None:
        """Ends the call with an error if it still runs at a time on the event loop's clock; the earliest time holds."""
        if self.ended or when >= self._end_at:
            return
        if self._slot is not None:
            self._slot.discard(self)
        self._end_at, self._ending = when, error
        self._slot = self._expiry.add(self, when)

    def expire(self) -> None:
        """Interrupts the handler: its time is over.

        A write is left to end first: one that is cancelled stays under way in gRPC, which then takes no status.
        """
        if self.ended or self._interrupted:
            return
        self.expired = True
        if not self.writing and self._task is not None:
            self._interrupted = True
            self._task.cancel()

    def check(self) -> None:
        """Passes while the call's time is not over.

        Raises:
            AacError: It is: the handler was not interrupted yet, because it is writing.
        """
        if self.expired:
            raise self._ending()

    def finish(self) -> None:
        """The handler has returned or raised: it can't be interrupted any more."""
        self.ended = True
        self.duration_s = self._expiry.loop.time() - self.started_at
        if self._slot is not None:
            self._slot.discard(self)

    def interruption(self) -> AacError | None:
        """The error that the handler was interrupted with; None where it was not, or was cancelled from outside too."""
        if not self.expired or self._task is None:
            return None
        canceled = self._task.uncancel() if self._interrupted else self._task.cancelling()
        return None if canceled else self._ending()


CURRENT: ContextVar[Call] = ContextVar("aac_call")
"""Set by the adapter; read it by `current_call` or `find_call`."""


def current_call() -> Call:
    """The call that this task serves.

    Raises:
        LookupError: The task serves none.
    """
    return CURRENT.get()


def find_call() -> Call | None:
    """The call that this task serves, or None. A task that outlives the call it was spawned in serves none."""
    call = CURRENT.get(None)
    return None if call is None or call.ended else call
