"""AuthService: messages to identity and back."""

from aac.auth.v1 import auth_pb2_grpc
from aac.auth.v1.auth_pb2 import (
    CreateAccountRequest,
    CreateAccountResponse,
    CreateApiKeyRequest,
    CreateApiKeyResponse,
    CreateUserRequest,
    CreateUserResponse,
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
)

from aac_grpc.common.call import current_call
from aac_grpc.common.changes import Changes
from aac_grpc.common.clock import Clock
from aac_grpc.common.database import Transaction
from aac_grpc.common.paging import Page
from aac_grpc.common.servicer import Context, Servicer
from aac_grpc.common.types import to_datetime, to_timestamp
from aac_grpc.servicers.auth.administration import Administration
from aac_grpc.servicers.auth.api_keys import ApiKeys
from aac_grpc.servicers.auth.convert import ROLES, to_account, to_api_key, to_token_pair, to_user
from aac_grpc.servicers.auth.directory import Directory
from aac_grpc.servicers.auth.passwords import Passwords
from aac_grpc.servicers.auth.service_identities import ServiceIdentities
from aac_grpc.servicers.auth.sessions import Sessions
from aac_grpc.servicers.auth.signing import KeyRing, to_jwk


class AuthServicer(Servicer, auth_pb2_grpc.AuthServiceServicer):
    """Signs people, programs and services in, and says who may do what."""

    def __init__(
        self,
        administration: Administration,
        changes: Changes,
        clock: Clock,
        directory: Directory,
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
        self._keys = keys
        self._passwords = passwords
        self._ring = ring
        self._services = services
        self._sessions = sessions

    async def stop(self) -> None:
        """Ends the threads that hash passwords."""
        self._passwords.close()

    async def Login(self, request: LoginRequest, context: Context) -> LoginResponse:
        signed_in = await self._sessions.login(request.username, request.password)
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
