"""Users, accounts, API keys and services' tokens: who may make what, and that each is made once."""

import asyncio
import datetime
from collections.abc import AsyncIterator
from typing import Any

import jwt
import psycopg
import pytest
from aac.auth.v1 import auth_pb2
from aac.auth.v1.auth_pb2 import (
    ROLE_ADMIN,
    ROLE_OPERATOR,
    ROLE_TRADER,
    ROLE_VIEWER,
    CreateAccountRequest,
    CreateApiKeyRequest,
    CreateUserRequest,
    ExchangeApiKeyRequest,
    IssueServiceTokenRequest,
    ListAccountsRequest,
    ListApiKeysRequest,
    ListUsersRequest,
    LoginRequest,
    RevokeApiKeyRequest,
)
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub
from aac.type.v1.page_pb2 import PageRequest
from google.protobuf.timestamp_pb2 import Timestamp

from aac_grpc.client.errors import (
    AlreadyExists,
    InvalidFields,
    InvalidRequest,
    KeyReused,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from aac_grpc.common.identity import derive_service_secret
from aac_grpc.common.server import Server
from aac_grpc.common.topics import IDENTITY
from aac_grpc.servicers.auth.service_identities import SERVICE_SCOPES
from tests.integration.services import ADMIN, DEMO, MESH_SECRET, Caller, Callers, auth_serving, sign_in, told

PASSWORD = "a password of some length"


@pytest.fixture(scope="module")
async def server(installation: dict[str, Any]) -> AsyncIterator[Server]:
    async with auth_serving(installation) as server:
        yield server


async def signed_in(callers: Callers, server: Server, username: str, password: str = PASSWORD) -> Caller:
    response = await sign_in(server.address, username, password)
    return callers.add(AuthServiceStub, server, token=response.tokens.access_token)


@pytest.fixture
async def admin(callers: Callers, server: Server) -> Caller:
    return await signed_in(callers, server, *ADMIN)


@pytest.fixture
async def trader(callers: Callers, server: Server) -> Caller:
    return await signed_in(callers, server, *DEMO)


def user(name: str, role: int = ROLE_TRADER, accounts: tuple[str, ...] = (), key: str = "") -> CreateUserRequest:
    return CreateUserRequest(
        request_id=key or f"make-{name}", username=name, password=PASSWORD, role=role, account_ids=accounts
    )


def claims(token: str) -> dict[str, Any]:
    read: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return read


async def exchange(caller: Caller, secret: str) -> dict[str, Any]:
    return claims((await caller.ExchangeApiKey(ExchangeApiKeyRequest(api_key=secret))).access_token)


def violations(error: InvalidFields) -> list[str]:
    return [violation.field for violation in error.violations]


async def test_an_administrator_makes_a_user_who_can_sign_in_and_act_on_granted_accounts(
    admin: Caller, callers: Callers, server: Server
) -> None:
    await admin.CreateAccount(CreateAccountRequest(account_id="acc-1", name="First"))
    made = (await admin.CreateUser(user("anna", accounts=("acc-1",)))).user
    assert (made.username, made.role, list(made.account_ids)) == ("anna", ROLE_TRADER, ["acc-1"])
    anna = await signed_in(callers, server, "anna")
    seen = (await anna.ListAccounts(ListAccountsRequest())).accounts
    assert [(account.account_id, list(account.usernames)) for account in seen] == [("acc-1", ["anna"])]


async def test_an_account_can_be_granted_to_users_when_it_is_made(admin: Caller) -> None:
    await admin.CreateUser(user("bert"))
    await admin.CreateUser(user("bea"))
    made = (await admin.CreateAccount(CreateAccountRequest(account_id="acc-2", usernames=["bert", "bea"]))).account
    assert list(made.usernames) == ["bea", "bert"]


async def test_a_repeated_call_gives_the_first_result_and_another_body_is_refused(admin: Caller) -> None:
    first = await admin.CreateUser(user("carl"))
    assert await admin.CreateUser(user("carl")) == first
    with pytest.raises(KeyReused) as caught:
        await admin.CreateUser(user("carla", key="make-carl"))
    assert caught.value.metadata["holder"] == first.user.user_id
    account = CreateAccountRequest(account_id="acc-3", name="Third")
    assert await admin.CreateAccount(account) == await admin.CreateAccount(account)
    with pytest.raises(KeyReused):
        await admin.CreateAccount(CreateAccountRequest(account_id="acc-3", name="Another"))


async def test_of_equal_calls_at_the_same_time_one_makes_the_user(admin: Caller) -> None:
    made = await asyncio.gather(*(admin.CreateUser(user("dora")) for _ in range(6)))
    assert len({response.user.user_id for response in made}) == 1


async def test_names_are_unique_in_the_installation(admin: Caller) -> None:
    with pytest.raises(AlreadyExists):
        await admin.CreateUser(user("demo"))
    with pytest.raises(AlreadyExists):
        await admin.CreateAccount(CreateAccountRequest(account_id="demo"))


async def test_what_is_not_of_the_firm_is_a_field_violation(admin: Caller) -> None:
    with pytest.raises(InvalidFields) as caught:
        await admin.CreateUser(user("emil", accounts=("demo", "no-such")))
    assert violations(caught.value) == ["account_ids[1]"]
    with pytest.raises(InvalidFields) as caught:
        await admin.CreateAccount(CreateAccountRequest(account_id="acc-4", usernames=["nobody"]))
    assert violations(caught.value) == ["usernames[0]"]
    assert (await admin.CreateUser(user("emil"))).user.username == "emil"


async def test_fields_that_break_their_rules_are_all_named(admin: Caller) -> None:
    with pytest.raises(InvalidFields) as caught:
        await admin.CreateUser(CreateUserRequest(username="bad name", password="short"))
    assert set(violations(caught.value)) == {"request_id", "username", "password", "role"}


async def test_only_administrators_manage_users(trader: Caller) -> None:
    for refused in (trader.CreateUser(user("fritz")), trader.ListUsers(ListUsersRequest())):
        with pytest.raises(PermissionDenied) as caught:
            await refused
        assert caught.value.reason == "MISSING_SCOPE"


async def test_users_are_listed_by_name_page_by_page(admin: Caller) -> None:
    for number in range(4):
        await admin.CreateUser(user(f"page-{number}", ROLE_VIEWER))
    names, request = [], ListUsersRequest(page=PageRequest(page_size=3))
    while True:
        response = await admin.ListUsers(request)
        names += [one.username for one in response.users]
        request.page.page_token = response.page.next_page_token
        if not request.page.page_token:
            break
    assert names == sorted(names)
    assert {"demo", "root", *(f"page-{number}" for number in range(4))} <= set(names)
    with pytest.raises(InvalidFields) as caught:
        await admin.ListAccounts(ListAccountsRequest(page=PageRequest(page_token="made-up")))
    assert violations(caught.value) == ["page.page_token"]


async def test_an_operator_acts_on_every_account(admin: Caller, callers: Callers, server: Server) -> None:
    await admin.CreateUser(user("olga", ROLE_OPERATOR))
    olga = await signed_in(callers, server, "olga")
    seen = {account.account_id for account in (await olga.ListAccounts(ListAccountsRequest())).accounts}
    assert "demo" in seen


async def test_another_firm_has_neither_operators_nor_a_view_of_this_one(
    installation: dict[str, Any], callers: Callers, server: Server
) -> None:
    other = {"bootstrap_firm": "other", "bootstrap_admin_username": "chief", "bootstrap_admin_password": PASSWORD}
    async with auth_serving(installation, bootstrap_demo_password="", **other):
        pass
    chief = await signed_in(callers, server, "chief")
    with pytest.raises(PermissionDenied):
        await chief.CreateUser(user("spy", ROLE_OPERATOR))
    assert [one.username for one in (await chief.ListUsers(ListUsersRequest())).users] == ["chief"]
    assert not (await chief.ListAccounts(ListAccountsRequest())).accounts
    with pytest.raises(InvalidFields):
        await chief.CreateUser(user("spy", accounts=("demo",)))
    with pytest.raises(AlreadyExists):
        await chief.CreateUser(user("demo"))


async def test_a_key_is_shown_once_and_gives_tokens_of_what_it_holds(trader: Caller) -> None:
    request = CreateApiKeyRequest(request_id="k-1", name="bot", scopes=["orders:*", "market:read"])
    made = await trader.CreateApiKey(request)
    repeated = await trader.CreateApiKey(request)
    assert made.secret.startswith(f"aac_{made.api_key.key_id}_")
    assert (repeated.secret, repeated.api_key) == ("", made.api_key)
    token = await exchange(trader, made.secret)
    assert token["scopes"] == ["market:read", "orders:read", "orders:write"]
    assert (token["accounts"], token["usr"], token["knd"]) == (["demo"], "demo", "user")


async def test_nothing_in_the_database_tells_a_secret(trader: Caller, installation: dict[str, Any]) -> None:
    secret = (await trader.CreateApiKey(CreateApiKeyRequest(request_id="k-2", name="bot"))).secret
    tokens = []
    async with await psycopg.AsyncConnection.connect(installation["database_url"]) as connection:
        cursor = await connection.execute("select tablename from pg_tables where schemaname = 'auth_service'")
        tables = [row[0] for row in await cursor.fetchall()]
        for table in tables:
            cursor = await connection.execute(f"select t::text from auth_service.{table} t".encode())
            tokens += [row[0] for row in await cursor.fetchall()]
    stored = "\n".join(tokens)
    assert "argon2id" in stored
    for hidden in (secret.rpartition("_")[2], ADMIN[1], DEMO[1], PASSWORD):
        assert hidden not in stored
        assert hidden.encode().hex() not in stored


async def test_a_key_holds_no_more_than_its_maker(trader: Caller) -> None:
    with pytest.raises(InvalidFields) as caught:
        await trader.CreateApiKey(CreateApiKeyRequest(request_id="k-3", name="bot", scopes=["auth:admin"]))
    assert violations(caught.value) == ["scopes"]
    with pytest.raises(InvalidFields) as caught:
        await trader.CreateApiKey(CreateApiKeyRequest(request_id="k-3", name="bot", account_ids=["demo", "acc-1"]))
    assert violations(caught.value) == ["account_ids[1]"]
    past = Timestamp(seconds=1)
    with pytest.raises(InvalidFields) as caught:
        await trader.CreateApiKey(CreateApiKeyRequest(request_id="k-3", name="bot", expires_at=past))
    assert violations(caught.value) == ["expires_at"]


async def test_a_key_made_with_a_key_holds_no_more_than_that_one(
    trader: Caller, callers: Callers, server: Server
) -> None:
    narrow = await trader.CreateApiKey(
        CreateApiKeyRequest(request_id="k-4", name="narrow", scopes=["auth:write", "market:read"])
    )
    token = (await trader.ExchangeApiKey(ExchangeApiKeyRequest(api_key=narrow.secret))).access_token
    bot = callers.add(AuthServiceStub, server, token=token)
    child = await bot.CreateApiKey(CreateApiKeyRequest(request_id="k-5", name="child"))
    assert list(child.api_key.scopes) == ["auth:write", "market:read"]
    with pytest.raises(InvalidFields):
        await bot.CreateApiKey(CreateApiKeyRequest(request_id="k-6", name="child", scopes=["orders:write"]))


async def test_a_revoked_or_expired_key_gives_no_tokens(trader: Caller) -> None:
    made = await trader.CreateApiKey(CreateApiKeyRequest(request_id="k-7", name="bot"))
    revoked = (await trader.RevokeApiKey(RevokeApiKeyRequest(key_id=made.api_key.key_id))).api_key
    assert revoked.HasField("revoked_at")
    assert (await trader.RevokeApiKey(RevokeApiKeyRequest(key_id=made.api_key.key_id))).api_key == revoked
    with pytest.raises(Unauthenticated) as caught:
        await exchange(trader, made.secret)
    assert caught.value.reason == "REVOKED_TOKEN"

    soon = Timestamp()
    soon.FromDatetime(datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=0.5))
    short = await trader.CreateApiKey(CreateApiKeyRequest(request_id="k-8", name="bot", expires_at=soon))
    await asyncio.sleep(0.6)
    with pytest.raises(Unauthenticated) as caught:
        await exchange(trader, short.secret)
    assert caught.value.reason == "EXPIRED_TOKEN"


@pytest.mark.parametrize("made_up", ["x", "aac__", "aac_0123456789abcdef_" + "0" * 64, "a\0b_c_d", "aac_\0_\0"])
async def test_a_made_up_key_is_refused(trader: Caller, made_up: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await exchange(trader, made_up)
    assert caught.value.reason == "WRONG_CREDENTIALS"


async def test_keys_are_revoked_by_their_owner_or_an_administrator_of_the_firm(
    admin: Caller, trader: Caller, callers: Callers, server: Server
) -> None:
    made = await trader.CreateApiKey(CreateApiKeyRequest(request_id="k-9", name="bot"))
    await admin.CreateUser(user("gerd"))
    gerd = await signed_in(callers, server, "gerd")
    with pytest.raises(NotFound):
        await gerd.RevokeApiKey(RevokeApiKeyRequest(key_id=made.api_key.key_id))
    assert await exchange(trader, made.secret)
    assert (await admin.RevokeApiKey(RevokeApiKeyRequest(key_id=made.api_key.key_id))).api_key.username == "demo"


async def test_keys_are_listed_newest_first(admin: Caller, callers: Callers, server: Server) -> None:
    await admin.CreateUser(user("hans"))
    hans = await signed_in(callers, server, "hans")
    for number in range(5):
        await hans.CreateApiKey(CreateApiKeyRequest(request_id=f"h-{number}", name=f"bot-{number}"))
    names, request = [], ListApiKeysRequest(page=PageRequest(page_size=2))
    while True:
        response = await hans.ListApiKeys(request)
        names += [key.name for key in response.api_keys]
        request.page.page_token = response.page.next_page_token
        if not request.page.page_token:
            break
    assert names == [f"bot-{number}" for number in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize("service", sorted(SERVICE_SCOPES))
async def test_a_service_gets_a_token_for_its_own_secret(trader: Caller, service: str) -> None:
    secret = derive_service_secret(MESH_SECRET, service)
    issued = await trader.IssueServiceToken(IssueServiceTokenRequest(service=service, secret=secret))
    token = claims(issued.access_token)
    assert (token["knd"], token["sub"]) == ("service", service)
    assert set(token["scopes"]) == SERVICE_SCOPES[service]


async def test_a_wrong_secret_or_an_unknown_service_gets_no_token(trader: Caller) -> None:
    stolen = derive_service_secret(MESH_SECRET, "market-data")
    unknown = derive_service_secret(MESH_SECRET, "intruder")
    for service, secret in [("trading-engine", stolen), ("intruder", unknown), ("trading-engine", "x")]:
        with pytest.raises(Unauthenticated) as caught:
            await trader.IssueServiceToken(IssueServiceTokenRequest(service=service, secret=secret))
        assert caught.value.reason == "WRONG_CREDENTIALS"


async def test_every_change_is_in_the_audit_log_and_told_on_kafka(admin: Caller, installation: dict[str, Any]) -> None:
    async with told(installation, IDENTITY) as next_of:
        made: auth_pb2.User = (await admin.CreateUser(user("ida", ROLE_ADMIN))).user
        event = await next_of(made.user_id)
    async with await psycopg.AsyncConnection.connect(installation["database_url"]) as connection:
        cursor = await connection.execute(
            "select method, username from auth_service.audit_log where subject = %s", (made.user_id,)
        )
        assert await cursor.fetchall() == [("/aac.auth.v1.AuthService/CreateUser", "root")]
    assert (event.type, event.source, event.sequence) == ("aac.identity.user_created", "auth-service", 1)
    assert (event.identity.subject, event.identity.firm_id) == (made.user_id, "house")


async def test_a_text_with_a_character_that_no_database_takes_is_refused(admin: Caller, trader: Caller) -> None:
    for refused in (
        admin.CreateAccount(CreateAccountRequest(account_id="acc-5", name="a\0b")),
        trader.CreateApiKey(CreateApiKeyRequest(request_id="k-10", name="a\0b")),
        trader.RevokeApiKey(RevokeApiKeyRequest(key_id="a\0b")),
        admin.Login(LoginRequest(username="a\0b", password="x")),
    ):
        with pytest.raises(InvalidRequest):
            await refused
