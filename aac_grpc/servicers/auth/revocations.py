"""What was revoked, numbered in PostgreSQL: written with the change itself, read by every instance of auth-service."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from aac.auth.v1 import auth_pb2

from aac_grpc.common.database import Connection, Database, Transaction
from aac_grpc.common.types import to_timestamp

CHANNEL = "auth_service_revocations"
"""NOTIFY goes to all of a database: the name says whose it is."""
MARGIN_S = 60
"""A revocation is kept so much longer than tokens live: a sign-in that is under way may still issue one, and clocks
differ."""

Kind = Literal["session", "api_key", "user"]


@dataclass(frozen=True, slots=True)
class Revocation:
    """Tokens of a session, an API key or a user that hold no more."""

    sequence: int
    kind: Kind
    subject: str
    generation: int
    """Of a user: tokens of earlier ones are meant."""
    revoked_at: datetime
    matters_until: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """What was revoked after some sequence, as of one moment."""

    epoch: int
    sequence: int
    """The last one's."""
    revocations: Sequence[Revocation]


async def revoke(tx: Transaction, kind: Kind, subject: str, generation: int = 0) -> None:
    """Writes a revocation down in the transaction of the change that it follows from. Call it late: others wait."""
    await tx.execute(
        f"""with numbered as (
            update revocation_numbers set sequence = sequence + 1 returning sequence, token_lifetime_s
        ), made as (
            insert into revocations (sequence, kind, subject, generation, revoked_at, matters_until)
            select sequence, %(kind)s, %(subject)s, %(generation)s, now(),
                now() + (token_lifetime_s + {MARGIN_S}) * interval '1 second'
            from numbered returning sequence
        ) select pg_notify('{CHANNEL}', sequence::text) from made""".encode(),  # noqa: S608 constants
        {"kind": kind, "subject": subject, "generation": generation},
    )


async def read_after(connection: Connection, sequence: int) -> Page:
    """Reads what was committed after a sequence and still is there."""
    cursor = await connection.execute(
        """select n.epoch, n.sequence as last, r.* from revocation_numbers n
        left join revocations r on r.sequence > %s order by r.sequence""",
        (sequence,),
    )
    rows = await cursor.fetchall()
    epoch, last = rows[0].pop("epoch"), rows[0].pop("last")
    for row in rows[1:]:
        del row["epoch"], row["last"]
    return Page(epoch, last, [Revocation(**row) for row in rows if row["sequence"] is not None])


async def note_lifetime(database: Database, access_token_s: int) -> None:
    """Has revocations kept for as long as tokens live, those of an earlier setting too."""
    await database.execute(
        "update revocation_numbers set token_lifetime_s = %(life)s where token_lifetime_s < %(life)s",
        {"life": access_token_s},
    )


async def forget_ended(database: Database) -> None:
    """Removes what does not matter any more."""
    await database.execute("delete from revocations where matters_until < now() - interval '1 minute'")


def to_revocation(revocation: Revocation) -> auth_pb2.Revocation:
    """Writes a revocation."""
    return auth_pb2.Revocation(
        **{f"{revocation.kind}_id": revocation.subject},
        generation=revocation.generation,
        revoked_at=to_timestamp(revocation.revoked_at),
        matters_until=to_timestamp(revocation.matters_until),
    )
