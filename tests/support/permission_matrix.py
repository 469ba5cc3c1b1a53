"""The permission matrix: what every method answers to every kind of credential, and what its policy says.

`verdict_of_policy` is written from the contract (proto/aac/policy/v1) alone and knows nothing of how it is enforced.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import Any

from grpc import StatusCode, aio

from aac_grpc.client.errors import from_rpc_error
from aac_grpc.client.writing import write
from aac_grpc.common.contract import MethodPolicy

GATEWAY_SERVICE = "aac.gateway.v1.GatewayService"
REGISTRY_SERVICE = "aac.registry.v1.RegistryService"
ALL_ACCOUNTS = "*"
NO_MESSAGE = b"\xff"
"""What no message begins with: it ends the stream of a caller who got in."""

_AT_THE_SAME_TIME = 32
_PATIENCE_S = 60.0
_FAULTS = {
    StatusCode.UNKNOWN, StatusCode.INTERNAL, StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED,
    StatusCode.CANCELLED, StatusCode.DATA_LOSS,
}  # fmt: skip


class Verdict(Enum):
    """How a call ended, as far as permission goes. The value is its sign in the table."""

    PERMITTED = "."
    """The call got past authorization, whatever became of it then."""
    UNAUTHENTICATED = "u"
    PERMISSION_DENIED = "d"
    UNIMPLEMENTED = "-"
    FAULT = "?"
    """None of these: nobody was there, it hung, or the service failed. Never expected."""


class Entrance(Enum):
    """Where a caller comes in."""

    SERVICE = "at the service"
    GATEWAY = "through the gateway"


class Proof(Enum):
    """What a caller shows."""

    NOTHING = "nothing"
    TOKEN = "an access token"
    API_KEY = "an API key"
    SERVICE_SECRET = "a service's bootstrap secret"


@dataclass(frozen=True)
class Credential:
    """A caller's credential, and what it truly grants."""

    metadata: tuple[tuple[str, str], ...] = ()
    proof: Proof = Proof.NOTHING
    genuine: bool = True
    """Made by the installation for the caller, unchanged, and neither expired nor revoked."""
    service: bool = False
    """Of a service of the mesh, not of a user."""
    scopes: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    """Account ids, or `ALL_ACCOUNTS`."""


def verdict_of_policy(policy: MethodPolicy, credential: Credential, entrance: Entrance, account: str) -> Verdict:
    """What a method's policy says to a credential, when a request names this account (empty: none)."""
    if policy.internal and entrance is Entrance.GATEWAY:
        return Verdict.UNIMPLEMENTED
    if not policy.scope:
        return Verdict.PERMITTED
    if not credential.genuine or credential.proof not in _taken(policy, entrance):
        return Verdict.UNAUTHENTICATED
    if policy.internal and not credential.service:
        return Verdict.PERMISSION_DENIED
    if policy.scope not in credential.scopes:
        return Verdict.PERMISSION_DENIED
    if policy.account_field and account and not credential.accounts & {account, ALL_ACCOUNTS}:
        return Verdict.PERMISSION_DENIED
    return Verdict.PERMITTED


def _taken(policy: MethodPolicy, entrance: Entrance) -> set[Proof]:
    """API keys are the gateway's business, and bootstrap secrets the registry's."""
    if entrance is Entrance.GATEWAY:
        return {Proof.TOKEN, Proof.API_KEY}
    return {Proof.TOKEN, Proof.SERVICE_SECRET} if policy.service == REGISTRY_SERVICE else {Proof.TOKEN}


@dataclass(frozen=True)
class Row:
    """One method, asked with the account field filled or empty."""

    policy: MethodPolicy
    entrance: Entrance
    account: str

    @property
    def arity(self) -> str:
        """Such as "unary_stream"."""
        return arity_of(self.policy)

    def __str__(self) -> str:
        named = f" {self.policy.account_field}={self.account or repr('')}" if self.policy.account_field else ""
        return f"{self.policy.path.removeprefix('/aac.')}{named}"


@dataclass(frozen=True)
class Cell:
    """One method asked with one credential."""

    row: Row
    kind: str
    """Of the credential, for people."""
    credential: Credential

    @property
    def expected(self) -> Verdict:
        """What the policy says."""
        row = self.row
        return verdict_of_policy(row.policy, self.credential, row.entrance, row.account)


@dataclass(frozen=True)
class Answer:
    """How a call ended."""

    verdict: Verdict
    status: str
    """Code, reason and message."""
    received: int
    """Messages that came before the end."""


Kinds = Mapping[str, Callable[[MethodPolicy], Credential]]
"""Makes a credential of a kind for a method, by what people call the kind."""
Channels = Callable[[MethodPolicy, Entrance], aio.Channel]
Answers = dict[Cell, Answer]


def rows(policies: Iterable[MethodPolicy], entrance: Entrance, account: str) -> Iterator[Row]:
    """Each method with the account in its account field, and once more without one."""
    for policy in sorted(policies, key=lambda policy: policy.path):
        for named in (account, "") if policy.account_field else ("",):
            yield Row(policy, entrance, named)


def cells(rows: Iterable[Row], kinds: Kinds) -> list[Cell]:
    """Every row with every kind of credential."""
    return [Cell(row, kind, make(row.policy)) for row in rows for kind, make in kinds.items()]


def arity_of(policy: MethodPolicy) -> str:
    """Such as "unary_stream"."""
    return "_".join("stream" if streams else "unary" for streams in (policy.client_streaming, policy.server_streaming))


def request_for(policy: MethodPolicy, account: str) -> bytes:
    """The smallest request, made from the descriptor: empty but for the account."""
    request = policy.request_type()
    if account:
        setattr(request, policy.account_field, account)
    return request.SerializeToString()


async def ask_all(asked: Sequence[Cell], channels: Channels) -> Answers:
    """Makes the calls of all cells, many at the same time."""
    waiting, answers = iter(asked), {}

    async def work() -> None:
        for cell in waiting:
            policy = cell.row.policy
            requests = [request_for(policy, cell.row.account), NO_MESSAGE]
            channel = channels(policy, cell.row.entrance)
            answers[cell] = await ask(channel, policy, requests, cell.credential.metadata)

    async with asyncio.TaskGroup() as workers:
        for _ in range(_AT_THE_SAME_TIME):
            workers.create_task(work())
    return {cell: answers[cell] for cell in asked}


async def ask(channel: aio.Channel, policy: MethodPolicy, requests: Sequence[bytes], metadata: Any) -> Answer:
    """Makes one call; only a stream of the caller's carries more than the first request.

    What answers before it ends, and has no more to hear from the caller, is not listened to any longer.
    """
    method = getattr(channel, arity_of(policy))(policy.path)
    sent = () if policy.client_streaming else (requests[0],)
    call = method(*sent, metadata=metadata, timeout=_PATIENCE_S)
    sending = asyncio.create_task(_send(call, requests if policy.client_streaming else ()))
    received = 0
    try:
        if policy.server_streaming:
            async for _ in call:
                received += 1
                if not policy.client_streaming:
                    break
        else:
            await call
    except aio.AioRpcError as error:
        code = error.code()
        status = f"{code.name} ({from_rpc_error(error).reason}): {error.details()}"
        return Answer(_verdict_of(code), status, received)
    finally:
        call.cancel()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return Answer(Verdict.PERMITTED, "OK", received)


async def _send(call: Any, requests: Sequence[bytes]) -> None:
    """Sends the messages of a stream; not from an iterator, whose call may lose the status that it was refused with."""
    with contextlib.suppress(asyncio.InvalidStateError, aio.InternalError):
        for request in requests:
            await write(call, request)
        if requests:
            await call.done_writing()


def _verdict_of(code: StatusCode) -> Verdict:
    refusals = Verdict.__members__.keys() & {"UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"}
    if code.name in refusals:
        return Verdict[code.name]
    return Verdict.FAULT if code in _FAULTS else Verdict.PERMITTED


def wrong(answers: Answers) -> list[Cell]:
    """The cells where a method did not do what its policy says."""
    return [cell for cell, answer in answers.items() if answer.verdict is not cell.expected]


def difference(answers: Answers) -> str:
    """The first wrong cell in words, and how many there are; empty where all is right."""
    faulty = sorted(wrong(answers), key=lambda cell: (str(cell.row), cell.kind))
    if not faulty:
        return ""
    cell, answer = faulty[0], answers[faulty[0]]
    policy, shown = cell.row.policy, cell.credential
    asks = f"the scope {policy.scope}" if policy.scope else "no token"
    exposure = "internal" if policy.internal else "public"
    return "\n".join(
        (
            f"{len(faulty)} of {len(answers)} cells are not as their policies say. The first:",
            f"  method      {cell.row} ({cell.row.arity}) {cell.row.entrance.value}",
            f"  policy      asks for {asks}; account field {policy.account_field or 'none'}; {exposure}",
            f"  credential  {cell.kind}: {shown.proof.value}, {'genuine' if shown.genuine else 'not genuine'}, of a "
            f"{'service' if shown.service else 'user'} with scopes {sorted(shown.scopes)}, "
            f"accounts {sorted(shown.accounts)}",
            f"  expected    {cell.expected.name}",
            f"  answered    {answer.verdict.name}: {answer.status}",
            *(f"  also        {also.row}, {also.row.entrance.value}, {also.kind}" for also in faulty[1:10]),
        )
    )


def counts(answers: Answers) -> str:
    """Methods x credentials x arities, in words."""
    policies = {cell.row.policy.path: cell.row.policy for cell in answers}
    arities = Counter(arity_of(policy) for policy in policies.values())
    kinds = {cell.kind for cell in answers}
    entrances = Counter(cell.row.entrance.value for cell in answers)
    per_arity = ", ".join(f"{count} {arity}" for arity, count in sorted(arities.items()))
    per_entrance = ", ".join(f"{count} {entrance}" for entrance, count in sorted(entrances.items()))
    return (
        f"{len(policies)} methods x {len(kinds)} credentials x {len(arities)} arities ({per_arity}): "
        f"{len(answers)} cells ({per_entrance}), {len(wrong(answers))} wrong"
    )


def table(answers: Answers) -> str:
    """A line for each row, a column for each kind of credential; `!` and `?` mark wrong cells."""
    kinds = list(dict.fromkeys(cell.kind for cell in answers))
    letters = {
        kind: chr(ord("a") + index) if index < 26 else chr(ord("A") + index - 26) for index, kind in enumerate(kinds)
    }
    signs = {(cell.row, cell.kind): _sign(cell, answer) for cell, answer in answers.items()}
    asked = sorted({cell.row for cell in answers}, key=lambda row: (str(row), row.entrance.name))
    width = max(len(str(row)) for row in asked)
    at = {Entrance.SERVICE: 0, Entrance.GATEWAY: 1}
    lines = [f"{'':{width}} {'':13} {'  '.join([''.join(letters.values())] * 2)}"]
    for name, same in groupby(asked, key=str):
        blocks = [" " * len(kinds)] * 2
        for row in same:
            blocks[at[row.entrance]] = "".join(signs[row, kind] for kind in kinds)
            arity = row.arity
        lines.append(f"{name:{width}} {arity:13} {'  '.join(blocks)}")
    legend = "; ".join(f"{letter} {kind}" for kind, letter in letters.items())
    meaning = ", ".join(f"{verdict.value} {verdict.name.lower()}" for verdict in Verdict) + ", ! wrong"
    return "\n".join(
        (*lines, f"credentials: {legend}", f"cells: {meaning}; left {', right '.join(e.value for e in at)}")
    )


def _sign(cell: Cell, answer: Answer) -> str:
    return answer.verdict.value if answer.verdict in (cell.expected, Verdict.FAULT) else "!"
