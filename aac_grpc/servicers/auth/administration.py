"""What administrators and owners change: users, accounts, API keys. Each change tells of itself on Kafka."""

from collections.abc import Sequence
from datetime import datetime

from aac_grpc.client.errors import InvalidField, PermissionDenied
from aac_grpc.common import outbox
from aac_grpc.common.call import Principal
from aac_grpc.common.clock import Clock
from aac_grpc.common.database import Transaction
from aac_grpc.common.event_types import EventType
from aac_grpc.common.paging import Page
from aac_grpc.common.topics import IDENTITY
from aac_grpc.domain.permissions import ALL_ACCOUNTS, Role, narrow
from aac_grpc.servicers.auth.api_keys import ApiKey, ApiKeys, new_key_id
from aac_grpc.servicers.auth.directory import Account, Directory, User
from aac_grpc.servicers.auth.events import identity_event
from aac_grpc.servicers.auth.revocations import revoke
from aac_grpc.servicers.auth.sessions import Session, Sessions

ADMIN_SCOPE = "auth:admin"


class Administration:
    """Changes on behalf of a caller, within what that one may give."""

    def __init__(
        self, directory: Directory, keys: ApiKeys, sessions: Sessions, clock: Clock, *, operator_firm: str, plan: str
    ) -> None:
        """Takes where changes go; users get `plan`, and only `operator_firm` may have operators, who see all firms."""
        self._directory = directory
        self._keys = keys
        self._sessions = sessions
        self._clock = clock
        self._operator_firm = operator_firm
        self._plan = plan

    async def create_user(
        self,
        tx: Transaction,
        by: Principal,
        *,
        username: str,
        password_hash: str,
        role: Role,
        account_ids: Sequence[str],
    ) -> User:
        """Makes a user of the caller's firm.

        Raises:
            PermissionDenied: The firm may not have operators.
        """
        self._check_role(by, role)
        user = await self._directory.add_user(
            tx,
            username=username,
            password_hash=password_hash,
            firm_id=by.firm_id,
            role=role,
            plan=self._plan,
            account_ids=account_ids,
        )
        await self._tell(tx, EventType.USER_CREATED, user.user_id, by)
        return user

    async def update_user(
        self, tx: Transaction, by: Principal, username: str, *, role: Role, account_ids: Sequence[str]
    ) -> User:
        """Gives another user of the firm a role and accounts; tokens that were issued before are revoked.

        Raises:
            InvalidField: It is the caller, or an account is not one of the firm.
            NotFound: The firm has no such user.
            PermissionDenied: The firm may not have operators.
        """
        self._check_role(by, role)
        user = await self._another(tx, by, username)
        if (user.role, set(user.account_ids)) == (role, set(account_ids)):
            return user
        changed = await self._directory.change_user(
            tx, user, role=role, account_ids=account_ids, disabled=user.disabled
        )
        await self._tell(tx, EventType.USER_CHANGED, user.user_id, by, version=changed.generation + 1)
        await revoke(tx, "user", user.user_id, changed.generation)
        return changed

    async def set_disabled(self, tx: Transaction, by: Principal, username: str, disabled: bool) -> User:
        """Shuts another user of the firm out, or lets one in again.

        Raises:
            InvalidField: It is the caller.
            NotFound: The firm has no such user.
        """
        user = await self._another(tx, by, username)
        if user.disabled == disabled:
            return user
        changed = await self._directory.change_user(
            tx, user, role=user.role, account_ids=user.account_ids, disabled=disabled
        )
        what = EventType.USER_DISABLED if disabled else EventType.USER_ENABLED
        await self._tell(tx, what, user.user_id, by, version=changed.generation + 1)
        if disabled:
            await self._sessions.revoke_all(tx, user.user_id)
            await revoke(tx, "user", user.user_id, changed.generation)
        return changed

    async def revoke_session(self, tx: Transaction, by: Principal, session_id: str) -> Session:
        """Ends a session of the caller's or, for an administrator, of anybody in the firm.

        Raises:
            NotFound: There is none that the caller may end.
        """
        return await self._sessions.revoke(tx, session_id, by, by.firm_id if by.has_scope(ADMIN_SCOPE) else None)

    async def _another(self, tx: Transaction, by: Principal, username: str) -> User:
        if username == by.username:
            raise InvalidField("username", "is your own: another administrator may change you")
        return await self._directory.lock_user(tx, username, by.firm_id)

    def _check_role(self, by: Principal, role: Role) -> None:
        if role is Role.OPERATOR and by.firm_id != self._operator_firm:
            raise PermissionDenied("operators see all firms; yours may not have any", reason="MISSING_SCOPE")

    async def create_account(
        self, tx: Transaction, by: Principal, *, account_id: str, name: str, usernames: Sequence[str]
    ) -> Account:
        """Makes an account of the caller's firm."""
        account = await self._directory.add_account(
            tx, account_id=account_id, firm_id=by.firm_id, name=name, usernames=usernames
        )
        await self._tell(tx, EventType.ACCOUNT_CREATED, account_id, by)
        return account

    async def accounts_of(self, caller: Principal, page: Page) -> Sequence[Account]:
        """Returns a page of the accounts that a caller may act on; an administrator's firm's, an operator's all."""
        if ALL_ACCOUNTS in caller.accounts:
            return await self._directory.accounts(page)
        if caller.has_scope(ADMIN_SCOPE):
            return await self._directory.accounts(page, firm_id=caller.firm_id)
        return await self._directory.accounts(page, among=caller.accounts)

    async def create_api_key(
        self,
        tx: Transaction,
        by: Principal,
        *,
        name: str,
        scopes: Sequence[str],
        account_ids: Sequence[str],
        expires_at: datetime | None,
    ) -> tuple[ApiKey, str]:
        """Makes a key of the caller's, with no more than the caller has; returns it and the whole secret.

        Raises:
            InvalidField: A scope or an account is not the caller's to give, or the key would have expired already.
        """
        now = self._clock.now()
        if expires_at is not None and expires_at <= now:
            raise InvalidField("expires_at", "is in the past")
        for index, account_id in enumerate(account_ids):
            if not by.may_act_on(account_id):
                raise InvalidField(f"account_ids[{index}]", f"{account_id!r} is not yours to give")
        key = ApiKey(
            key_id=new_key_id(),
            user_id=by.subject,
            name=name,
            scopes=tuple(sorted(_narrow(by, scopes))),
            account_ids=tuple(sorted(set(account_ids) or by.accounts)),
            created_at=now,
            username=by.username,
            firm_id=by.firm_id,
            expires_at=expires_at,
        )
        secret = await self._keys.add(tx, key)
        await self._tell(tx, EventType.API_KEY_CREATED, key.key_id, by)
        return key, secret

    async def revoke_api_key(self, tx: Transaction, by: Principal, key_id: str) -> ApiKey:
        """Revokes a key of the caller's or, for an administrator, of anybody in the firm.

        Raises:
            NotFound: There is none that the caller may revoke.
        """
        now = self._clock.now()
        firm_id = by.firm_id if by.has_scope(ADMIN_SCOPE) else None
        key = await self._keys.revoke(tx, key_id, now, user_id=by.subject, firm_id=firm_id)
        if key.revoked_at == now:
            await self._tell(tx, EventType.API_KEY_REVOKED, key_id, by, version=2)
        return key

    async def _tell(self, tx: Transaction, what: EventType, subject: str, by: Principal, version: int = 1) -> None:
        event = identity_event(what, subject, version, self._clock.now(), actor=by.subject, firm_id=by.firm_id)
        await outbox.add(tx, event, IDENTITY)


def _narrow(by: Principal, scopes: Sequence[str]) -> frozenset[str]:
    try:
        return narrow(by.scopes, scopes)
    except ValueError as error:
        raise InvalidField("scopes", str(error)) from error
