"""Calls about sessions, API keys, users and accounts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import datetime
from functools import cached_property

from aac.auth.v1 import auth_pb2, auth_pb2_grpc

from aac_grpc.client._calls import Calls, new_key
from aac_grpc.client.errors import AacError, Unauthenticated
from aac_grpc.client.models._record import to_timestamp
from aac_grpc.client.models.identity import Account, ApiKey, CreatedApiKey, Role, Session, Tokens, User


class IdentityCalls(Calls):
    """Sessions and credentials."""

    @cached_property
    def _auth(self) -> auth_pb2_grpc.AuthServiceStub:
        return auth_pb2_grpc.AuthServiceStub(self._connection.channel)

    async def login(self, username: str, password: str) -> tuple[Tokens, User]:
        """Signs a user in, without keeping the session: `AsyncClient(username=..., password=...)` does keep it.

        Raises:
            Unauthenticated: Name or password is wrong (WRONG_CREDENTIALS), or there were too many tries (LOCKED_OUT).
        """
        request = auth_pb2.LoginRequest(username=username, password=password)
        response = await self._connection.unary(self._auth.Login, request, anonymous=True)
        return Tokens.from_wire(response.tokens), User.from_wire(response.user)

    async def refresh(self, refresh_token: str, request_id: str) -> Tokens:
        """Exchanges a refresh token for its successor; the same token and key give the same one for 30 seconds."""
        request = auth_pb2.RefreshRequest(refresh_token=refresh_token, request_id=request_id)
        return Tokens.from_wire((await self._connection.unary(self._auth.Refresh, request, anonymous=True)).tokens)

    async def logout(self) -> None:
        """Ends the caller's session, its tokens and streams."""
        try:
            await self._connection.unary(self._auth.Logout, auth_pb2.LogoutRequest())
        except Unauthenticated as error:
            if error.reason != "REVOKED_TOKEN":  # by a first attempt whose answer was lost, or by somebody else
                raise

    def list_sessions(self) -> AsyncIterator[Session]:
        """Yields the caller's sessions that have not ended, newest first."""
        return self._connection.pages(
            self._auth.ListSessions,
            auth_pb2.ListSessionsRequest(),
            lambda page: map(Session.from_wire, page.sessions),
            None,
        )

    async def revoke_session(self, session_id: str) -> Session:
        """Ends one of the caller's sessions, its tokens and streams; an administrator may end any of the firm."""
        request = auth_pb2.RevokeSessionRequest(session_id=session_id)
        return Session.from_wire((await self._connection.unary(self._auth.RevokeSession, request)).session)

    async def create_api_key(
        self,
        name: str,
        *,
        scopes: Iterable[str] = (),
        accounts: Iterable[str] = (),
        expires_at: datetime | None = None,
        request_id: str | None = None,
    ) -> CreatedApiKey:
        """Makes an API key for the caller. Its secret is in this answer and never again.

        Args:
            name: For people.
            scopes: Of the caller's; none means all.
            accounts: Of the caller's; none means all.
            expires_at: None means never.
            request_id: Client key; made where it is left out.
        """
        request = auth_pb2.CreateApiKeyRequest(
            request_id=request_id or new_key(),
            name=name,
            scopes=scopes,
            account_ids=accounts,
            expires_at=to_timestamp(expires_at),
        )
        return CreatedApiKey.from_wire(await self._connection.unary(self._auth.CreateApiKey, request))

    def list_api_keys(self) -> AsyncIterator[ApiKey]:
        """Yields the caller's API keys, newest first, without secrets."""
        return self._connection.pages(
            self._auth.ListApiKeys,
            auth_pb2.ListApiKeysRequest(),
            lambda page: map(ApiKey.from_wire, page.api_keys),
            None,
        )

    async def revoke_api_key(self, key_id: str) -> ApiKey:
        """Revokes one of the caller's API keys; an administrator may revoke any of the firm."""
        request = auth_pb2.RevokeApiKeyRequest(key_id=key_id)
        return ApiKey.from_wire((await self._connection.unary(self._auth.RevokeApiKey, request)).api_key)

    async def create_user(
        self,
        username: str,
        password: str,
        role: Role | str,
        *,
        accounts: Iterable[str] = (),
        request_id: str | None = None,
    ) -> User:
        """Makes a user of the caller's firm (an administrator's call)."""
        request = auth_pb2.CreateUserRequest(
            request_id=request_id or new_key(),
            username=username,
            password=password,
            role=Role(role).to_wire(),
            account_ids=accounts,
        )
        return User.from_wire((await self._connection.unary(self._auth.CreateUser, request)).user)

    async def update_user(self, username: str, role: Role | str, *, accounts: Iterable[str] = ()) -> User:
        """Gives a user another role and other accounts (an administrator's call).

        Tokens that were issued before hold no more: the user's clients refresh theirs.
        """
        request = auth_pb2.UpdateUserRequest(username=username, role=Role(role).to_wire(), account_ids=accounts)
        return User.from_wire((await self._connection.unary(self._auth.UpdateUser, request)).user)

    async def disable_user(self, username: str) -> User:
        """Shuts a user out: sessions, tokens, streams and API keys (an administrator's call)."""
        request = auth_pb2.DisableUserRequest(username=username)
        return User.from_wire((await self._connection.unary(self._auth.DisableUser, request)).user)

    async def enable_user(self, username: str) -> User:
        """Lets a disabled user in again (an administrator's call)."""
        request = auth_pb2.EnableUserRequest(username=username)
        return User.from_wire((await self._connection.unary(self._auth.EnableUser, request)).user)

    def list_users(self) -> AsyncIterator[User]:
        """Yields the users of the caller's firm by name (an administrator's call)."""
        return self._connection.pages(
            self._auth.ListUsers, auth_pb2.ListUsersRequest(), lambda page: map(User.from_wire, page.users), None
        )

    async def create_account(self, account: str, *, name: str = "", usernames: Iterable[str] = ()) -> Account:
        """Makes an account of the caller's firm and grants it to users (an administrator's call).

        A token covers what was granted before it was issued: a session's is refreshed here, so that the next call may
        act on the account. Tokens and API keys that were made otherwise must be made anew.
        """
        request = auth_pb2.CreateAccountRequest(account_id=account, name=name, usernames=usernames)
        made = Account.from_wire((await self._connection.unary(self._auth.CreateAccount, request)).account)
        with suppress(AacError):  # the account is made; a token that can't be had now is had later
            await self._connection.credentials.renew()
        return made

    def list_accounts(self) -> AsyncIterator[Account]:
        """Yields the accounts that the caller may act on, by id."""
        return self._connection.pages(
            self._auth.ListAccounts,
            auth_pb2.ListAccountsRequest(),
            lambda page: map(Account.from_wire, page.accounts),
            None,
        )
