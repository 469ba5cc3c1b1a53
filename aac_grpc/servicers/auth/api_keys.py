"""API keys: `aac_<key id>_<secret>`, stored as a hash of the 256-bit secret."""

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from aac_grpc.client.errors import NotFound, Unauthenticated
from aac_grpc.common.database import Database, Transaction
from aac_grpc.common.paging import MAX_INTEGER, Page
from aac_grpc.servicers.auth.directory import Directory
from aac_grpc.servicers.auth.revocations import revoke
from aac_grpc.servicers.auth.tokens import AccessToken, AccessTokens, Credential

_PREFIX = "aac"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A program's credential."""

    key_id: str
    user_id: str
    name: str
    scopes: tuple[str, ...]
    account_ids: tuple[str, ...]
    created_at: datetime
    secret_hash: bytes = field(default=b"", repr=False)
    username: str = ""
    firm_id: str = ""
    number: int = 0
    """Grows with each key that is made."""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_live(self, now: datetime) -> bool:
        """Tells whether it may be exchanged."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


_KEYS = """
    select k.key_id, k.user_id, k.name, k.scopes, k.account_ids, k.created_at, k.expires_at, k.revoked_at,
        k.number, k.secret_hash, u.username, u.firm_id
    from api_keys k join users u using (user_id)
"""


class ApiKeys:
    """Makes, lists, revokes and exchanges API keys."""

    def __init__(self, database: Database, directory: Directory, tokens: AccessTokens) -> None:
        self._database = database
        self._directory = directory
        self._tokens = tokens

    async def add(self, tx: Transaction, key: ApiKey) -> str:
        """Stores a new key and returns the whole of it, which nobody can tell again."""
        secret = secrets.token_hex(32)
        await tx.execute(
            """insert into api_keys (key_id, user_id, name, scopes, account_ids, secret_hash, created_at, expires_at)
            values (%s, %s, %s, %s, %s, %s, %s, %s)""",
            (
                key.key_id,
                key.user_id,
                key.name,
                list(key.scopes),
                list(key.account_ids),
                _hash(secret),
                key.created_at,
                key.expires_at,
            ),
        )
        return f"{_PREFIX}_{key.key_id}_{secret}"

    async def of_user(self, user_id: str, page: Page) -> Sequence[ApiKey]:
        """Returns a user's keys, newest first."""
        rows = await self._database.fetch_all(
            _KEYS + "where k.user_id = %s and k.number < %s order by k.number desc limit %s",
            (user_id, *page.start(MAX_INTEGER), page.limit),
        )
        return [_api_key(row) for row in rows]

    async def revoke(self, tx: Transaction, key_id: str, now: datetime, *, user_id: str, firm_id: str | None) -> ApiKey:
        """Revokes a key of a user or, where `firm_id` is given, of anybody in the firm; again changes nothing.

        Raises:
            NotFound: There is none, or it is another's.
        """
        cursor = await tx.execute(
            _KEYS + "where k.key_id = %s and (k.user_id = %s or u.firm_id = %s) for update of k",
            (key_id, user_id, firm_id),
        )
        row = await cursor.fetchone()
        if row is None:
            raise NotFound("API key", key_id)
        key = _api_key(row)
        if key.revoked_at is not None:
            return key
        await tx.execute("update api_keys set revoked_at = %s where key_id = %s", (now, key_id))
        await revoke(tx, "api_key", key_id)
        return replace(key, revoked_at=now)

    async def exchange(self, text: str, now: datetime) -> AccessToken:
        """Returns an access token of what the key and its owner both may do now.

        Raises:
            Unauthenticated: There is no such key, it was revoked or has expired, or its owner is disabled.
        """
        prefix, _, rest = text.partition("_")
        key_id, _, secret = rest.partition("_")
        row = await self._database.fetch_one(_KEYS + "where k.key_id = %s", (key_id.replace("\0", ""),))
        key = _api_key(row) if row else None
        matches = hmac.compare_digest(key.secret_hash if key else bytes(32), _hash(secret))
        if key is None or not matches or prefix != _PREFIX:
            raise Unauthenticated("this is no API key of ours", reason="WRONG_CREDENTIALS")
        owner = await self._directory.user(key.user_id)
        if owner is None or owner.disabled or not key.is_live(now):
            reason = "REVOKED_TOKEN" if key.is_live(now) or key.revoked_at else "EXPIRED_TOKEN"
            raise Unauthenticated("the API key was revoked or has expired", reason=reason)
        held = owner.principal()
        accounts = frozenset(filter(held.may_act_on, key.account_ids))
        caller = replace(held, scopes=held.scopes & set(key.scopes), accounts=accounts)
        return self._tokens.mint(caller, Credential(key.key_id, secrets.token_hex(8)), now)


def new_key_id() -> str:
    """Returns the public part of a new key."""
    return secrets.token_hex(8)


def _hash(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _api_key(row: Mapping[str, Any]) -> ApiKey:
    lists = {name: tuple(row[name]) for name in ("scopes", "account_ids")}
    return ApiKey(**{**row, **lists, "secret_hash": bytes(row["secret_hash"])})
