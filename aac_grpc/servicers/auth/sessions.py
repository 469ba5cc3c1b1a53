"""Sessions: a sign-in and the refresh tokens that follow from it, one family."""

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from aac_grpc.client.errors import NotFound, Unauthenticated
from aac_grpc.common import outbox
from aac_grpc.common.call import Principal
from aac_grpc.common.clock import Clock
from aac_grpc.common.database import Database, Transaction
from aac_grpc.common.event_types import EventType
from aac_grpc.common.paging import MAX_INTEGER, Page
from aac_grpc.common.topics import IDENTITY
from aac_grpc.servicers.auth.directory import Directory, User
from aac_grpc.servicers.auth.events import identity_event
from aac_grpc.servicers.auth.lockout import Lockout
from aac_grpc.servicers.auth.passwords import Passwords
from aac_grpc.servicers.auth.revocations import revoke
from aac_grpc.servicers.auth.tokens import AccessToken, AccessTokens, Credential


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long what lives."""

    refresh_token: timedelta
    session: timedelta
    """However often it is refreshed."""
    repeat: timedelta
    """A refresh that is repeated within this gives the same successor."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A caller's new tokens."""

    user: User
    access: AccessToken
    refresh_token: str
    refresh_expires_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in."""

    session_id: str
    user_id: str
    username: str
    created_at: datetime
    ends_at: datetime
    revoked_at: datetime | None
    number: int
    """Grows with each session that begins."""


_SESSIONS = """
    select s.family_id as session_id, s.user_id, u.username, s.created_at, s.ends_at, s.revoked_at, s.number
    from sessions s join users u using (user_id)
"""


@dataclass(frozen=True, slots=True)
class _Refreshed:
    """A refresh token's successor."""

    family_id: str
    user_id: str
    token: str
    issued_at: datetime
    expires_at: datetime


class Sessions:
    """Signs users in, keeps them signed in, signs them out."""

    def __init__(
        self,
        database: Database,
        directory: Directory,
        passwords: Passwords,
        lockout: Lockout,
        tokens: AccessTokens,
        clock: Clock,
        lifetimes: Lifetimes,
        secret: bytes,
    ) -> None:
        """Takes what sessions are made of.

        `secret` derives a refresh token's successor, so that a repeated refresh gives the same one though only
        hashes of tokens are stored.
        """
        self._database = database
        self._directory = directory
        self._passwords = passwords
        self._lockout = lockout
        self._tokens = tokens
        self._clock = clock
        self._lifetimes = lifetimes
        self._secret = secret

    async def login(self, username: str, password: str, address: str) -> SignedIn:
        """Signs a user in, who calls from an address.

        Raises:
            Unauthenticated: WRONG_CREDENTIALS, whichever is wrong; LOCKED_OUT after too many wrong tries.
        """
        await self._lockout.charge(username, address)
        user = await self._directory.user_named(username)
        matches = await self._passwords.matches(password, user.password_hash if user else None)
        if user is None or not matches or user.disabled:
            raise _wrong_credentials()
        await self._lockout.clear(username, address)
        if self._passwords.is_outdated(user.password_hash):
            await self._directory.set_password(user.user_id, await self._passwords.hash(password))
        return self._signed_in(user, await self._open(user))

    async def refresh(self, token: str, request_id: str) -> SignedIn:
        """Exchanges a refresh token for its successor; use of an old one ends the session.

        Raises:
            Unauthenticated: INVALID_TOKEN, EXPIRED_TOKEN or REVOKED_TOKEN.
        """
        async with self._database.transaction() as tx:
            found = await self._rotate(tx, token, request_id, self._clock.now())
        # Raised only here, because a session that ends for reuse must be committed.
        if isinstance(found, Unauthenticated):
            raise found
        user = await self._directory.user(found.user_id)
        if user is None or user.disabled:
            raise Unauthenticated("the user is disabled", reason="REVOKED_TOKEN")
        return self._signed_in(user, found)

    async def logout(self, user_id: str, token_id: str) -> None:
        """Ends the session that an access token came from; a token of another kind has none."""
        async with self._database.transaction() as tx:
            await self._revoke(tx, Credential.of(token_id).name, self._clock.now(), EventType.SIGNED_OUT, user_id)

    async def of_user(self, user_id: str, page: Page) -> Sequence[Session]:
        """Returns a user's sessions that have not ended, newest first."""
        rows = await self._database.fetch_all(
            _SESSIONS
            + """where s.user_id = %s and s.revoked_at is null and s.ends_at > %s and s.number < %s
            order by s.number desc limit %s""",
            (user_id, self._clock.now(), *page.start(MAX_INTEGER), page.limit),
        )
        return [Session(**row) for row in rows]

    async def revoke(self, tx: Transaction, session_id: str, by: Principal, firm_id: str | None) -> Session:
        """Ends a session of the caller's or, where `firm_id` is given, of anybody in the firm; again changes nothing.

        Raises:
            NotFound: There is none, or it is another's.
        """
        query = _SESSIONS + "where s.family_id = %s and (s.user_id = %s or u.firm_id = %s) for update of s"
        cursor = await tx.execute(query, (session_id, by.subject, firm_id))
        row = await cursor.fetchone()
        if row is None:
            raise NotFound("session", session_id)
        session, now = Session(**row), self._clock.now()
        if session.revoked_at is not None:
            return session
        await self._revoke(tx, session_id, now, EventType.SESSION_REVOKED, session.user_id, actor=by.subject)
        return replace(session, revoked_at=now)

    async def revoke_all(self, tx: Transaction, user_id: str) -> None:
        """Ends all sessions of a user whose access tokens are revoked by themselves."""
        await tx.execute(
            "update sessions set revoked_at = %s where user_id = %s and revoked_at is null",
            (self._clock.now(), user_id),
        )

    async def forget_ended(self) -> None:
        """Removes sessions that ended a session's lifetime ago."""
        await self._database.execute(
            "delete from sessions where ends_at < %s", (self._clock.now() - self._lifetimes.session,)
        )

    async def _open(self, user: User) -> _Refreshed:
        now = self._clock.now()
        ends_at = now + self._lifetimes.session
        first = _Refreshed(
            secrets.token_hex(8),
            user.user_id,
            secrets.token_urlsafe(32),
            now,
            min(now + self._lifetimes.refresh_token, ends_at),
        )
        async with self._database.transaction() as tx:
            # A user who is disabled at this moment has no session left behind.
            opened = await tx.execute(
                """insert into sessions (family_id, user_id, created_at, ends_at)
                select %s, user_id, %s, %s from users where user_id = %s and not disabled for share""",
                (first.family_id, now, ends_at, user.user_id),
            )
            if not opened.rowcount:
                raise _wrong_credentials()
            await _store(tx, first)
        return first

    async def _rotate(self, tx: Transaction, token: str, key: str, now: datetime) -> _Refreshed | Unauthenticated:
        cursor = await tx.execute(
            """select t.*, s.user_id, s.ends_at, s.revoked_at from refresh_tokens t join sessions s using (family_id)
            where token_hash = %s for update""",
            (_hash(token),),
        )
        row = await cursor.fetchone()
        if fault := _fault(row, now):
            return fault
        assert row is not None
        if row["used_at"] is None:
            await tx.execute(
                "update refresh_tokens set used_at = %s, used_by = %s where token_hash = %s", (now, key, _hash(token))
            )
            successor = self._successor(row, token, key, now)
            await _store(tx, successor)
            return successor
        if row["used_by"] == key and now - row["used_at"] <= self._lifetimes.repeat:
            return self._successor(row, token, key, row["used_at"])
        await self._revoke(tx, row["family_id"], now, EventType.REFRESH_TOKEN_REUSED, row["user_id"])
        return Unauthenticated("the refresh token was used before; the session has ended", reason="REVOKED_TOKEN")

    def _successor(self, row: Mapping[str, Any], token: str, key: str, now: datetime) -> _Refreshed:
        derived = hmac.digest(self._secret, f"{token}\n{key}".encode(), "sha256").hex()
        expires_at = min(now + self._lifetimes.refresh_token, row["ends_at"])
        return _Refreshed(row["family_id"], row["user_id"], derived, now, expires_at)

    async def _revoke(
        self, tx: Transaction, family_id: str, now: datetime, event_type: EventType, user_id: str, actor: str = ""
    ) -> None:
        cursor = await tx.execute(
            """update sessions set revoked_at = %s where family_id = %s and user_id = %s and revoked_at is null
            returning family_id""",
            (now, family_id, user_id),
        )
        if await cursor.fetchone():
            event = identity_event(event_type, family_id, 1, now, actor=actor or user_id)
            await outbox.add(tx, event, IDENTITY)
            await revoke(tx, "session", family_id)

    def _signed_in(self, user: User, refreshed: _Refreshed) -> SignedIn:
        credential = Credential(refreshed.family_id, sha256(refreshed.token.encode()).hexdigest()[:16])
        access = self._tokens.mint(user.principal(), credential, refreshed.issued_at)
        return SignedIn(user, access, refreshed.token, refreshed.expires_at)


async def _store(tx: Transaction, refreshed: _Refreshed) -> None:
    await tx.execute(
        "insert into refresh_tokens (token_hash, family_id, expires_at) values (%s, %s, %s)",
        (_hash(refreshed.token), refreshed.family_id, refreshed.expires_at),
    )


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _fault(row: Mapping[str, Any] | None, now: datetime) -> Unauthenticated | None:
    if row is None:
        return Unauthenticated("this is no refresh token of ours", reason="INVALID_TOKEN")
    if row["revoked_at"] is not None:
        return Unauthenticated("the session has ended; sign in again", reason="REVOKED_TOKEN")
    if row["expires_at"] <= now:
        return Unauthenticated("the refresh token has expired; sign in again", reason="EXPIRED_TOKEN")
    return None


def _wrong_credentials() -> Unauthenticated:
    return Unauthenticated("user name and password do not match", reason="WRONG_CREDENTIALS")
