"""Users, their tokens, accounts and API keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aac.auth.v1 import auth_pb2

from aac_grpc.client.models._record import Record, WireEnum


class Role(WireEnum):
    """What a user may do, as a named set of scopes."""

    UNSPECIFIED = "unspecified"
    ADMIN = "admin"
    OPERATOR = "operator"
    TRADER = "trader"
    VIEWER = "viewer"

    @classmethod
    def wire_type(cls) -> Any:
        return auth_pb2.Role


@dataclass(frozen=True, slots=True)
class Tokens(Record):
    """A signed-in caller's tokens."""

    access_token: str
    access_expires_at: datetime
    refresh_token: str
    refresh_expires_at: datetime

    def __repr__(self) -> str:
        return f"Tokens(access_expires_at={self.access_expires_at:%c}, refresh_expires_at={self.refresh_expires_at:%c})"


@dataclass(frozen=True, slots=True)
class User(Record):
    """A person who can sign in."""

    user_id: str
    username: str
    firm_id: str
    role: Role
    account_ids: tuple[str, ...]
    created_at: datetime
    disabled: bool


@dataclass(frozen=True, slots=True)
class Account(Record):
    """What orders, cash and positions belong to."""

    account_id: str
    firm_id: str
    name: str
    usernames: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Session(Record):
    """A sign-in and the tokens that follow from it."""

    session_id: str
    username: str
    created_at: datetime
    ends_at: datetime
    revoked_at: datetime | None
    current: bool
    """It is the caller's own."""


@dataclass(frozen=True, slots=True)
class ApiKey(Record):
    """A program's credential, without its secret."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    account_ids: tuple[str, ...]
    username: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, repr=False)
class CreatedApiKey(Record):
    """A new API key; the secret is shown only this once, and is empty on a repeated call."""

    api_key: ApiKey
    secret: str
