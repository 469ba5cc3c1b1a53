"""Every kind of credential that a caller may come with: of real users, keys and services, and forged ones."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from aac.auth.v1 import auth_pb2
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub

from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.identity import SECRET_KEY, SERVICE_KEY, derive_service_secret
from aac_grpc.common.server import Server
from tests.integration.services import ADMIN, DEMO, MESH_SECRET, Caller, service_token, sign_in
from tests.support.forgery import Forger, new_forger
from tests.support.permission_matrix import ALL_ACCOUNTS, Credential, Kinds, Proof

ACCOUNT = "demo"
"""What requests name: the demo user's account."""
OTHER_ACCOUNT = "another"
READING = ("market:read", "orders:read", "accounts:read", "risk:read", "analytics:read", "overview:read")
TRADING = ("orders:write", "orders:read", "accounts:read")
ROLES = {"viewer": auth_pb2.ROLE_VIEWER, "operator": auth_pb2.ROLE_OPERATOR}
SERVICES = ("api-gateway", "risk-management", "feed")


@dataclass(frozen=True)
class Installation:
    """What a forger needs to know of an installation."""

    database_url: str
    mesh_secret: str = MESH_SECRET


@dataclass(frozen=True)
class Wallet:
    """Real credentials of one installation, and the means to forge others.

    Attributes:
        tokens: Access tokens of users by role, and of services by name.
        api_keys: Secrets of the demo user's keys: "reading" (`READING`), "trading" (`TRADING`), "revoked", "garbage".
        key_token: What the reading key was exchanged for.
        revoked: What was revoked, a moment ago: claims by which a token is one of those.
        forger: Signs as the installation does.
        scopes: Every scope that the contract asks for.
    """

    tokens: Mapping[str, str]
    api_keys: Mapping[str, str]
    key_token: str
    revoked: Mapping[str, Callable[[], dict[str, Any]]]
    forger: Forger
    scopes: frozenset[str]

    def kinds(self) -> Kinds:
        """All kinds, by what people call them."""
        return {
            "no credential": lambda policy: Credential(),
            **self._unsound(),
            **self._revoked(),
            **self._forged_grants(),
            **{name: self._as_issued(token) for name, token in self.tokens.items()},
            "read-only key's token": lambda policy: self._of_key("token"),
            "read-only API key": lambda policy: self._of_key("reading"),
            "trader's API key": lambda policy: self._of_key("trading"),
            "revoked API key": lambda policy: self._of_key("revoked", genuine=False),
            "garbage API key": lambda policy: self._of_key("garbage", genuine=False),
            "service's secret": lambda policy: _service_secret("feed"),
            "service's wrong secret": lambda policy: _service_secret("feed", genuine=False),
        }

    def _unsound(self) -> Kinds:
        """Credentials that grant just what the method asks for, but for a flaw in themselves."""
        forger = self.forger
        flaws: dict[str, Callable[[str], str]] = {
            "garbage": lambda token: "Bearer garbage",
            "another scheme": lambda token: f"Basic {token}",
            "expired": lambda token: f"Bearer {forger.expired(token)}",
            "damaged": lambda token: f"Bearer {forger.damaged(token)}",
            "altered": lambda token: f"Bearer {forger.altered(token, jti=secrets.token_hex(8))}",
            "unsigned": lambda token: f"Bearer {forger.by_nobody(token)}",
            "of a foreign key": lambda token: f"Bearer {forger.by_a_stranger(token)}",
            "of another issuer": lambda token: f"Bearer {forger.with_claims(token, iss='somebody')}",
        }

        def flawed(flaw: Callable[[str], str]) -> Callable[[MethodPolicy], Credential]:
            return lambda policy: Credential(
                (("authorization", flaw(self._right(policy))),), Proof.TOKEN, genuine=False
            )

        return {name: flawed(flaw) for name, flaw in flaws.items()}

    def _revoked(self) -> Kinds:
        """Credentials that grant just what the method asks for, and did so until a moment ago."""

        def revoked(claims: Callable[[], dict[str, Any]]) -> Callable[[MethodPolicy], Credential]:
            def make(policy: MethodPolicy) -> Credential:
                token = self.forger.with_claims(self._right(policy), **claims())
                return Credential((("authorization", f"Bearer {token}"),), Proof.TOKEN, genuine=False)

            return make

        return {name: revoked(claims) for name, claims in self.revoked.items()}

    def _forged_grants(self) -> Kinds:
        """Sound tokens with grants that no role has, each at the edge of what a policy allows."""
        every, nobodys = self.scopes, frozenset[str]()
        mine, others, all_accounts = frozenset({ACCOUNT}), frozenset({OTHER_ACCOUNT}), frozenset({ALL_ACCOUNTS})
        return {
            "wrong scope": lambda policy: self._token("user", every - {policy.scope}, all_accounts),
            "no scope": lambda policy: self._token("user", nobodys, all_accounts),
            "other account": lambda policy: self._token("user", every, others),
            "no account": lambda policy: self._token("user", every, nobodys),
            "right user": lambda policy: self._token("user", _needed(policy), mine),
            "user with everything": lambda policy: self._token("user", every, all_accounts),
            "right service": lambda policy: self._token("service", _needed(policy), mine),
            "service, wrong scope": lambda policy: self._token("service", every - {policy.scope}, all_accounts),
            "service, no account": lambda policy: self._token("service", every, nobodys),
        }

    def _as_issued(self, token: str) -> Callable[[MethodPolicy], Credential]:
        # Under an id of its own for each method, because one of the methods ends the session that a token is of.
        return lambda policy: _bearer(self.forger.with_claims(token, jti=_new_id()))

    def _right(self, policy: MethodPolicy) -> str:
        return self._signed("service" if policy.internal else "user", _needed(policy), frozenset({ACCOUNT}))

    def _token(self, kind: str, scopes: frozenset[str], accounts: frozenset[str]) -> Credential:
        return _bearer(self._signed(kind, scopes, accounts))

    def _signed(self, kind: str, scopes: frozenset[str], accounts: frozenset[str]) -> str:
        claims = {"knd": kind, "scopes": sorted(scopes), "accounts": sorted(accounts), "jti": _new_id()}
        return self.forger.with_claims(self.tokens["trader"], **claims)

    def _of_key(self, name: str, genuine: bool = True) -> Credential:
        scopes, accounts = frozenset(TRADING if name == "trading" else READING), frozenset({ACCOUNT})
        if name == "token":
            return Credential(
                (("authorization", f"Bearer {self.key_token}"),), Proof.TOKEN, genuine, False, scopes, accounts
            )
        return Credential((("x-api-key", self.api_keys[name]),), Proof.API_KEY, genuine, False, scopes, accounts)


async def new_wallet(auth: Server, database_url: str, scopes: frozenset[str]) -> Wallet:
    """Makes users, keys and tokens at an installation's auth-service."""
    password = secrets.token_hex(12)
    administrator = await _signed_in(auth, *ADMIN)
    admin = Caller(AuthServiceStub, auth.address, token=administrator)
    trader = await _signed_in(auth, *DEMO)
    demo = Caller(AuthServiceStub, auth.address, token=trader)
    try:
        tokens = {"trader": trader, "administrator": administrator}
        for role, number in ROLES.items():
            person: Any = {"request_id": role, "username": f"a-{role}", "password": password, "role": number}
            await admin.CreateUser(auth_pb2.CreateUserRequest(**person))
            tokens[role] = await _signed_in(auth, person["username"], password)
        for service in SERVICES:
            tokens[f"service {service}"] = await service_token(auth, service)
        keys = {name: await _new_key(demo, name, TRADING if name == "trading" else READING)
                for name in ("reading", "trading", "revoked")}  # fmt: skip
        await demo.RevokeApiKey(auth_pb2.RevokeApiKeyRequest(key_id=keys["revoked"].split("_")[1]))
        revoked = {
            "of a revoked session": await _ended_session(auth),
            "of a revoked API key": _of_credential(keys["revoked"].split("_")[1]),
            "of a disabled user": await _disabled_user(auth, admin, password),
        }
        exchanged = await demo.ExchangeApiKey(auth_pb2.ExchangeApiKeyRequest(api_key=keys["reading"]))
    finally:
        await admin.channel.close()
        await demo.channel.close()
    forger = await new_forger(Installation(database_url))
    return Wallet(tokens, {**keys, "garbage": "aac_garbage"}, exchanged.access_token, revoked, forger, scopes)


async def _signed_in(auth: Server, username: str, password: str) -> str:
    token: str = (await sign_in(auth.address, username, password)).tokens.access_token
    return token


async def _ended_session(auth: Server) -> Callable[[], dict[str, Any]]:
    token = await _signed_in(auth, *DEMO)
    caller = Caller(AuthServiceStub, auth.address, token=token)
    await caller.Logout(auth_pb2.LogoutRequest())
    await caller.channel.close()
    return _of_credential(_claims(token)["jti"].partition(".")[0])


async def _disabled_user(auth: Server, admin: Caller, password: str) -> Callable[[], dict[str, Any]]:
    person: Any = {"request_id": "disabled", "username": "a-disabled", "password": password, "role": ROLES["viewer"]}
    await admin.CreateUser(auth_pb2.CreateUserRequest(**person))
    claims = _claims(await _signed_in(auth, person["username"], password))
    await admin.DisableUser(auth_pb2.DisableUserRequest(username=person["username"]))
    return lambda: {"sub": claims["sub"], "gen": claims["gen"], "jti": _new_id()}


def _of_credential(name: str) -> Callable[[], dict[str, Any]]:
    return lambda: {"jti": f"{name}.{secrets.token_hex(8)}"}


def _claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def _new_key(owner: Caller, name: str, scopes: tuple[str, ...]) -> str:
    request = auth_pb2.CreateApiKeyRequest(request_id=name, name=name, scopes=scopes, account_ids=[ACCOUNT])
    secret: str = (await owner.CreateApiKey(request)).secret
    return secret


def _bearer(token: str) -> Credential:
    """A sound token, which grants what it says."""
    claims = _claims(token)
    return Credential(
        metadata=(("authorization", f"Bearer {token}"),),
        proof=Proof.TOKEN,
        service=claims["knd"] == "service",
        scopes=frozenset(claims["scopes"]),
        accounts=frozenset(claims["accounts"]),
    )


def _service_secret(service: str, genuine: bool = True) -> Credential:
    secret = derive_service_secret(MESH_SECRET if genuine else "guessed", service)
    metadata = ((SERVICE_KEY, service), (SECRET_KEY, secret))
    return Credential(metadata, Proof.SERVICE_SECRET, genuine, True, frozenset({"internal"}), frozenset({ALL_ACCOUNTS}))


def _needed(policy: MethodPolicy) -> frozenset[str]:
    return frozenset({policy.scope} - {""})


def _new_id() -> str:
    return f"{secrets.token_hex(8)}.{secrets.token_hex(8)}"
