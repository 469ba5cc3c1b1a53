"""Firms, users, accounts and grants in PostgreSQL."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.errors import UniqueViolation

from aac_grpc.client.errors import AlreadyExists, InvalidField, NotFound
from aac_grpc.common.call import Principal
from aac_grpc.common.database import Database, Transaction
from aac_grpc.common.paging import Page
from aac_grpc.domain.permissions import ROLE_SCOPES, Role, accounts_of


@dataclass(frozen=True, slots=True)
class User:
    """A person who can sign in."""

    user_id: str
    username: str
    firm_id: str
    role: Role
    plan: str
    password_hash: str
    disabled: bool
    created_at: datetime
    generation: int
    """Grows with each change of the user; tokens of earlier ones are revoked."""
    account_ids: tuple[str, ...] = ()
    """Granted accounts."""
    firm_account_ids: tuple[str, ...] = ()
    """All accounts of the firm, where the role acts on them."""

    def principal(self) -> Principal:
        """What the user's tokens say."""
        return Principal(
            subject=self.user_id,
            username=self.username,
            kind="user",
            firm_id=self.firm_id,
            plan=self.plan,
            generation=self.generation,
            scopes=ROLE_SCOPES[self.role],
            accounts=frozenset(accounts_of(self.role, self.account_ids, self.firm_account_ids)),
        )


@dataclass(frozen=True, slots=True)
class Account:
    """What orders, cash and positions belong to."""

    account_id: str
    firm_id: str
    name: str
    created_at: datetime
    usernames: tuple[str, ...] = ()
    """Users who were granted it."""


_USERS = """
    select u.*,
        array(select account_id from grants g where g.user_id = u.user_id order by account_id) as account_ids,
        case when u.role = 'admin'
            then array(select account_id from accounts a where a.firm_id = u.firm_id order by account_id)
            else '{}' end as firm_account_ids
    from users u
"""
_ACCOUNTS = """
    select a.*,
        array(select username from grants g join users u using (user_id)
            where g.account_id = a.account_id order by username) as usernames
    from accounts a
"""


class Directory:
    """Who and what there is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def user_named(self, username: str) -> User | None:
        """Returns the user who signs in by this name."""
        row = await self._database.fetch_one(_USERS + "where u.username = %s", (username,))
        return _user(row) if row else None

    async def has_user(self, tx: Transaction, username: str) -> bool:
        """Tells whether somebody has this name."""
        cursor = await tx.execute("select 1 from users where username = %s", (username,))
        return await cursor.fetchone() is not None

    async def has_account(self, tx: Transaction, account_id: str) -> bool:
        """Tells whether there is an account of this id."""
        cursor = await tx.execute("select 1 from accounts where account_id = %s", (account_id,))
        return await cursor.fetchone() is not None

    async def user(self, user_id: str) -> User | None:
        """Returns a user by id."""
        row = await self._database.fetch_one(_USERS + "where u.user_id = %s", (user_id,))
        return _user(row) if row else None

    async def users(self, firm_id: str, page: Page) -> Sequence[User]:
        """Returns a firm's users by name."""
        rows = await self._database.fetch_all(
            _USERS + "where u.firm_id = %(firm)s and u.username > %(after)s order by u.username limit %(limit)s",
            {"firm": firm_id, "after": page.start("")[0], "limit": page.limit},
        )
        return [_user(row) for row in rows]

    async def accounts(
        self, page: Page, *, firm_id: str | None = None, among: Collection[str] | None = None
    ) -> Sequence[Account]:
        """Returns accounts by id: those of a firm, those among given ids, or with neither all."""
        rows = await self._database.fetch_all(
            _ACCOUNTS
            + """where (%(firm)s::text is null or a.firm_id = %(firm)s)
                and (%(among)s::text[] is null or a.account_id = any(%(among)s))
                and a.account_id > %(after)s
                order by a.account_id limit %(limit)s""",
            {
                "firm": firm_id,
                "among": None if among is None else list(among),
                "after": page.start("")[0],
                "limit": page.limit,
            },
        )
        return [_account(row) for row in rows]

    async def add_firm(self, tx: Transaction, firm_id: str) -> None:
        """Makes a firm where there is none of that id."""
        await tx.execute("insert into firms (firm_id, name) values (%s, %s) on conflict do nothing", (firm_id, firm_id))

    async def add_user(
        self,
        tx: Transaction,
        *,
        username: str,
        password_hash: str,
        firm_id: str,
        role: Role,
        plan: str,
        account_ids: Sequence[str] = (),
    ) -> User:
        """Makes a user and grants accounts of the firm.

        Raises:
            AlreadyExists: There is a user of that name, of whatever firm.
            InvalidField: An account is not one of the firm.
        """
        try:
            cursor = await tx.execute(
                """insert into users (user_id, username, firm_id, role, plan, password_hash)
                values (%s, %s, %s, %s, %s, %s) returning user_id""",
                (f"u-{secrets.token_hex(8)}", username, firm_id, role.value, plan, password_hash),
            )
        except UniqueViolation as error:
            raise AlreadyExists("user", username) from error
        user_id = _one(await cursor.fetchone())["user_id"]
        await _grant(tx, user_id, firm_id, account_ids)
        cursor = await tx.execute(_USERS + "where u.user_id = %s", (user_id,))
        return _user(_one(await cursor.fetchone()))

    async def lock_user(self, tx: Transaction, username: str, firm_id: str) -> User:
        """Returns a user of a firm, whom nobody else changes until the transaction ends.

        Raises:
            NotFound: The firm has none of that name.
        """
        cursor = await tx.execute(
            _USERS + "where u.username = %s and u.firm_id = %s for update of u", (username, firm_id)
        )
        row = await cursor.fetchone()
        if row is None:
            raise NotFound("user", username)
        return _user(row)

    async def change_user(
        self, tx: Transaction, user: User, *, role: Role, account_ids: Sequence[str], disabled: bool
    ) -> User:
        """Makes the next generation of a locked user.

        Raises:
            InvalidField: An account is not one of the firm.
        """
        await tx.execute(
            "update users set role = %s, disabled = %s, generation = generation + 1 where user_id = %s",
            (role.value, disabled, user.user_id),
        )
        await tx.execute("delete from grants where user_id = %s", (user.user_id,))
        await _grant(tx, user.user_id, user.firm_id, account_ids)
        cursor = await tx.execute(_USERS + "where u.user_id = %s", (user.user_id,))
        return _user(_one(await cursor.fetchone()))

    async def set_password(self, user_id: str, password_hash: str) -> None:
        """Replaces a user's password hash."""
        await self._database.execute("update users set password_hash = %s where user_id = %s", (password_hash, user_id))

    async def add_account(
        self, tx: Transaction, *, account_id: str, firm_id: str, name: str, usernames: Sequence[str] = ()
    ) -> Account:
        """Makes an account and grants it to users of the firm.

        Raises:
            AlreadyExists: There is an account of that id, of whatever firm.
            InvalidField: A user is not one of the firm.
        """
        try:
            await tx.execute(
                "insert into accounts (account_id, firm_id, name) values (%s, %s, %s)", (account_id, firm_id, name)
            )
        except UniqueViolation as error:
            raise AlreadyExists("account", account_id) from error
        granted = await _granted(
            tx,
            """with found as (select user_id, username from users where firm_id = %s and username = any(%s)),
                made as (insert into grants (user_id, account_id) select user_id, %s from found)
            select username as name from found""",
            (firm_id, list(usernames), account_id),
        )
        _check_all_found("usernames", "user", usernames, granted)
        cursor = await tx.execute(_ACCOUNTS + "where a.account_id = %s", (account_id,))
        return _account(_one(await cursor.fetchone()))


async def _grant(tx: Transaction, user_id: str, firm_id: str, account_ids: Sequence[str]) -> None:
    granted = await _granted(
        tx,
        """insert into grants (user_id, account_id) select %s, account_id from accounts
        where firm_id = %s and account_id = any(%s) returning account_id as name""",
        (user_id, firm_id, list(account_ids)),
    )
    _check_all_found("account_ids", "account", account_ids, granted)


async def _granted(tx: Transaction, query: str, parameters: Sequence[Any]) -> set[str]:
    cursor = await tx.execute(query, parameters)
    return {row["name"] for row in await cursor.fetchall()}


def _check_all_found(field: str, kind: str, wanted: Sequence[str], found: Collection[str]) -> None:
    for index, name in enumerate(wanted):
        if name not in found:
            raise InvalidField(f"{field}[{index}]", f"your firm has no {kind} {name!r}")


def _one(row: Mapping[str, Any] | None) -> Mapping[str, Any]:
    assert row is not None
    return row


def _user(row: Mapping[str, Any]) -> User:
    return User(
        **{
            **row,
            "role": Role(row["role"]),
            "account_ids": tuple(row["account_ids"]),
            "firm_account_ids": tuple(row["firm_account_ids"]),
        }
    )


def _account(row: Mapping[str, Any]) -> Account:
    return Account(**{**row, "usernames": tuple(row["usernames"])})
