"""Changes that callers ask for: made once for each client key, and noted in the audit log, in one transaction.

A service's migrations say `-- include: changes` for the two tables.
"""

from collections.abc import Awaitable, Callable
from functools import cache
from hashlib import sha256
from typing import TypeVar, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from aac_grpc.client.errors import KeyReused
from aac_grpc.common.call import Call, current_call
from aac_grpc.common.database import Database, Transaction

Response = TypeVar("Response", bound=Message)
Make = Callable[[Transaction], Awaitable[tuple[str, Response]]]
"""Makes a change in a transaction; returns the id of what it changed, and the answer."""


class Changes:
    """The changes of one service's schema."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def once(self, key: str, request: Message, make: Make[Response]) -> Response:
        """Makes a change, or returns the first result where the caller made it before under the same key.

        A first result that is returned again lacks its secrets (`debug_redact`). Requests are compared without theirs.

        Args:
            key: The client key, unique to the caller and the method.
            request: What is asked for.
            make: Called at most once.

        Raises:
            KeyReused: The key was used for another request.
        """
        call = current_call()
        place = {"owner": call.principal.subject, "method": call.policy.path, "key": key}
        async with self._database.transaction() as tx:
            first = await self._claim(tx, place, _fingerprint(request))
            if first is not None:
                return cast(Response, call.policy.response_type.FromString(first))
            subject, response = await make(tx)
            await tx.execute(
                """update client_keys set subject = %(subject)s, response = %(response)s
                where owner = %(owner)s and method = %(method)s and key = %(key)s""",
                {**place, "subject": subject, "response": _redacted(response).SerializeToString()},
            )
            await record(tx, call, subject)
        return response

    async def make(self, make: Make[Response]) -> Response:
        """Makes a change that may be made again without harm and needs no client key."""
        async with self._database.transaction() as tx:
            subject, response = await make(tx)
            await record(tx, current_call(), subject)
        return response

    async def _claim(self, tx: Transaction, place: dict[str, str], fingerprint: bytes) -> bytes | None:
        """Takes a client key; returns the first result where it was taken before.

        The insert waits for a transaction that holds the same key, so that of two calls at once one makes the change.
        """
        cursor = await tx.execute(
            """insert into client_keys (owner, method, key, fingerprint)
            values (%(owner)s, %(method)s, %(key)s, %(fingerprint)s) on conflict do nothing""",
            {**place, "fingerprint": fingerprint},
        )
        if cursor.rowcount:
            return None
        cursor = await tx.execute(
            """select fingerprint, subject, response from client_keys
            where owner = %(owner)s and method = %(method)s and key = %(key)s""",
            place,
        )
        row = await cursor.fetchone()
        assert row is not None
        if bytes(row["fingerprint"]) != fingerprint:
            raise KeyReused(place["key"], row["subject"])
        return bytes(row["response"])


async def record(tx: Transaction, call: Call, subject: str) -> None:
    """Writes down in the audit log that a call changed something.

    Args:
        tx: The transaction of the change.
        call: Who asked for it, and by which method.
        subject: Id of what was changed.
    """
    await tx.execute(
        "insert into audit_log (method, actor, username, subject, request_id) values (%s, %s, %s, %s, %s)",
        (call.policy.path, call.principal.subject, call.principal.username, subject, call.request_id),
    )


def _fingerprint(request: Message) -> bytes:
    return sha256(_redacted(request).SerializeToString(deterministic=True)).digest()


def _redacted(message: Response) -> Response:
    """Returns a copy without the fields that are secret by contract; they are top-level fields of their messages."""
    copy = type(message)()
    copy.CopyFrom(message)
    for name in _secret_fields(message.DESCRIPTOR):
        copy.ClearField(name)
    return copy


@cache
def _secret_fields(descriptor: Descriptor) -> tuple[str, ...]:
    return tuple(field.name for field in descriptor.fields if field.GetOptions().debug_redact)
