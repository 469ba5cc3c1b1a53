"""AuthService: messages to identity and back."""

from aac.auth.v1 import auth_pb2, auth_pb2_grpc
from aac.auth.v1.auth_pb2 import (
    CreateAccountRequest,
    CreateAccountResponse,
    CreateApiKeyRequest,
    CreateApiKeyResponse,
    CreateUserRequest,
    CreateUserResponse,
    DisableUserRequest,
    DisableUserResponse,
    EnableUserRequest,
    EnableUserResponse,
    ExchangeApiKeyRequest,
    ExchangeApiKeyResponse,
    GetJwksRequest,
    GetJwksResponse,
    IssueServiceTokenRequest,
    IssueServiceTokenResponse,
    JsonWebKey,
    ListAccountsRequest,
    ListAccountsResponse,
    ListApiKeysRequest,
    ListApiKeysResponse,
    ListSessionsRequest,
    ListSessionsResponse,
    ListUsersRequest,
    ListUsersResponse,
    LoginRequest,
    LoginResponse,
    LogoutRequest,
    LogoutResponse,
    RefreshRequest,
    RefreshResponse,
    RevokeApiKeyRequest,
    RevokeApiKeyResponse,
    RevokeSessionRequest,
    RevokeSessionResponse,
    UpdateUserRequest,
    UpdateUserResponse,
    User,
    WatchRevocationsRequest,
)

from aac_grpc.common.call import current_call
from aac_grpc.common.changes import Changes
from aac_grpc.common.clock import Clock
from aac_grpc.common.database import Transaction
from aac_grpc.common.paging import Page
from aac_grpc.common.servicer import Context, Servicer, Stream
from aac_grpc.common.streams import StreamSession, position
from aac_grpc.common.types import to_datetime, to_timestamp
from aac_grpc.servicers.auth.administration import Administration
from aac_grpc.servicers.auth.api_keys import ApiKeys
from aac_grpc.servicers.auth.convert import ROLES, to_account, to_api_key, to_session, to_token_pair, to_user
from aac_grpc.servicers.auth.directory import Directory
from aac_grpc.servicers.auth.passwords import Passwords
from aac_grpc.servicers.auth.revocation_feed import RevocationFeed
from aac_grpc.servicers.auth.service_identities import ServiceIdentities
from aac_grpc.servicers.auth.sessions import Session, Sessions
from aac_grpc.servicers.auth.signing import KeyRing, to_jwk
from aac_grpc.servicers.auth.tokens import Credential

HEARTBEAT_S = 1.0
"""Between heartbeats of revocations: by these services know that they have missed none."""
FIRST_HEARTBEAT_S = 0.05
"""Who resumes, and has missed nothing, knows so at once."""


class AuthServicer(Servicer, auth_pb2_grpc.AuthServiceServicer):
    """Signs people, programs and services in, and says who may do what."""

    def __init__(
        self,
        administration: Administration,
        changes: Changes,
        clock: Clock,
        directory: Directory,
        feed: RevocationFeed,
        keys: ApiKeys,
        passwords: Passwords,
        ring: KeyRing,
        services: ServiceIdentities,
        sessions: Sessions,
    ) -> None:
        self._administration = administration
        self._changes = changes
        self._clock = clock
        self._directory = directory
        self._feed = feed
        self._keys = keys
        self._passwords = passwords
        self._ring = ring
        self._services = services
        self._sessions = sessions

    async def stop(self) -> None:
        """Ends the threads that hash passwords."""
        self._passwords.close()

    async def Login(self, request: LoginRequest, context: Context) -> LoginResponse:
        address = current_call().principal.subject
        signed_in = await self._sessions.login(request.username, request.password, address)
        return LoginResponse(tokens=to_token_pair(signed_in), user=to_user(signed_in.user))

    async def Refresh(self, request: RefreshRequest, context: Context) -> RefreshResponse:
        signed_in = await self._sessions.refresh(request.refresh_token, request.request_id)
        return RefreshResponse(tokens=to_token_pair(signed_in))

    async def Logout(self, request: LogoutRequest, context: Context) -> LogoutResponse:
        caller = current_call().principal
        await self._sessions.logout(caller.subject, caller.token_id)
        return LogoutResponse()

    async def ExchangeApiKey(self, request: ExchangeApiKeyRequest, context: Context) -> ExchangeApiKeyResponse:
        access = await self._keys.exchange(request.api_key, self._clock.now())
        return ExchangeApiKeyResponse(access_token=access.token, expires_at=to_timestamp(access.expires_at))

    async def GetJwks(self, request: GetJwksRequest, context: Context) -> GetJwksResponse:
        return GetJwksResponse(keys=[JsonWebKey(**to_jwk(key)) for key in self._ring.published()])

    async def CreateApiKey(self, request: CreateApiKeyRequest, context: Context) -> CreateApiKeyResponse:
        expires_at = to_datetime(request.expires_at, "expires_at") if request.HasField("expires_at") else None

        async def create(tx: Transaction) -> tuple[str, CreateApiKeyResponse]:
            key, secret = await self._administration.create_api_key(
                tx,
                current_call().principal,
                name=request.name,
                scopes=request.scopes,
                account_ids=request.account_ids,
                expires_at=expires_at,
            )
            return key.key_id, CreateApiKeyResponse(api_key=to_api_key(key), secret=secret)

        return await self._changes.once(request.request_id, request, create)

    async def ListApiKeys(self, request: ListApiKeysRequest, context: Context) -> ListApiKeysResponse:
        user_id = current_call().principal.subject
        page = Page.read(request.page, (int,), query=("api_keys", user_id))
        keys, next_page = page.cut(await self._keys.of_user(user_id, page), lambda key: (key.number,))
        return ListApiKeysResponse(api_keys=map(to_api_key, keys), page=next_page)

    async def RevokeApiKey(self, request: RevokeApiKeyRequest, context: Context) -> RevokeApiKeyResponse:
        async def revoke(tx: Transaction) -> tuple[str, RevokeApiKeyResponse]:
            key = await self._administration.revoke_api_key(tx, current_call().principal, request.key_id)
            return key.key_id, RevokeApiKeyResponse(api_key=to_api_key(key))

        return await self._changes.make(revoke)

    async def ListSessions(self, request: ListSessionsRequest, context: Context) -> ListSessionsResponse:
        caller = current_call().principal
        page = Page.read(request.page, (int,), query=("sessions", caller.subject))
        found = await self._sessions.of_user(caller.subject, page)
        sessions, next_page = page.cut(found, lambda session: (session.number,))
        return ListSessionsResponse(sessions=[_session(session) for session in sessions], page=next_page)

    async def RevokeSession(self, request: RevokeSessionRequest, context: Context) -> RevokeSessionResponse:
        async def revoke(tx: Transaction) -> tuple[str, RevokeSessionResponse]:
            session = await self._administration.revoke_session(tx, current_call().principal, request.session_id)
            return session.session_id, RevokeSessionResponse(session=_session(session))

        return await self._changes.make(revoke)

    async def WatchRevocations(self, request: WatchRevocationsRequest, context: Context) -> Stream:
        self._feed.check()
        session = StreamSession(heartbeat=FIRST_HEARTBEAT_S, staleness=lambda: self._feed.staleness_s)
        current_call().on_drain(session.drain)
        session.subscribe(self._feed.topic, position(request.resume))
        async for encoded in session.frames():
            yield encoded
            if session.heartbeat != HEARTBEAT_S:
                session.heartbeat = HEARTBEAT_S

    async def CreateUser(self, request: CreateUserRequest, context: Context) -> CreateUserResponse:
        password_hash = await self._passwords.hash(request.password)

        async def create(tx: Transaction) -> tuple[str, CreateUserResponse]:
            user = await self._administration.create_user(
                tx,
                current_call().principal,
                username=request.username,
                password_hash=password_hash,
                role=ROLES.member(request.role),
                account_ids=request.account_ids,
            )
            return user.user_id, CreateUserResponse(user=to_user(user))

        return await self._changes.once(request.request_id, request, create)

    async def UpdateUser(self, request: UpdateUserRequest, context: Context) -> UpdateUserResponse:
        async def update(tx: Transaction) -> tuple[str, UpdateUserResponse]:
            user = await self._administration.update_user(
                tx,
                current_call().principal,
                request.username,
                role=ROLES.member(request.role),
                account_ids=request.account_ids,
            )
            return user.user_id, UpdateUserResponse(user=to_user(user))

        return await self._changes.make(update)

    async def DisableUser(self, request: DisableUserRequest, context: Context) -> DisableUserResponse:
        return DisableUserResponse(user=await self._set_disabled(request.username, True))

    async def EnableUser(self, request: EnableUserRequest, context: Context) -> EnableUserResponse:
        return EnableUserResponse(user=await self._set_disabled(request.username, False))

    async def _set_disabled(self, username: str, disabled: bool) -> User:
        async def change(tx: Transaction) -> tuple[str, User]:
            user = await self._administration.set_disabled(tx, current_call().principal, username, disabled)
            return user.user_id, to_user(user)

        return await self._changes.make(change)

    async def ListUsers(self, request: ListUsersRequest, context: Context) -> ListUsersResponse:
        firm_id = current_call().principal.firm_id
        page = Page.read(request.page, (str,), query=("users", firm_id))
        users, next_page = page.cut(await self._directory.users(firm_id, page), lambda user: (user.username,))
        return ListUsersResponse(users=map(to_user, users), page=next_page)

    async def CreateAccount(self, request: CreateAccountRequest, context: Context) -> CreateAccountResponse:
        async def create(tx: Transaction) -> tuple[str, CreateAccountResponse]:
            account = await self._administration.create_account(
                tx,
                current_call().principal,
                account_id=request.account_id,
                name=request.name,
                usernames=request.usernames,
            )
            return account.account_id, CreateAccountResponse(account=to_account(account))

        return await self._changes.once(request.account_id, request, create)

    async def ListAccounts(self, request: ListAccountsRequest, context: Context) -> ListAccountsResponse:
        caller = current_call().principal
        page = Page.read(request.page, (str,), query=("accounts", caller.subject))
        found = await self._administration.accounts_of(caller, page)
        accounts, next_page = page.cut(found, lambda account: (account.account_id,))
        return ListAccountsResponse(accounts=map(to_account, accounts), page=next_page)

    async def IssueServiceToken(self, request: IssueServiceTokenRequest, context: Context) -> IssueServiceTokenResponse:
        access = self._services.issue(request.service, request.secret, self._clock.now())
        return IssueServiceTokenResponse(access_token=access.token, expires_at=to_timestamp(access.expires_at))


def _session(session: Session) -> auth_pb2.Session:
    return to_session(session, Credential.of(current_call().principal.token_id).name)
