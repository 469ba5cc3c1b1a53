"""Users, accounts, keys and tokens as messages."""

from aac.auth.v1 import auth_pb2
from aac.auth.v1.auth_pb2 import TokenPair

from aac_grpc.common.types import EnumNames, to_timestamp
from aac_grpc.domain.permissions import Role
from aac_grpc.servicers.auth.api_keys import ApiKey
from aac_grpc.servicers.auth.directory import Account, User
from aac_grpc.servicers.auth.sessions import Session, SignedIn

ROLES = EnumNames(auth_pb2.Role, Role)


def to_user(user: User) -> auth_pb2.User:
    """Writes a user, without the password."""
    return auth_pb2.User(
        user_id=user.user_id,
        username=user.username,
        firm_id=user.firm_id,
        role=ROLES.value(user.role),
        account_ids=user.account_ids,
        created_at=to_timestamp(user.created_at),
        disabled=user.disabled,
    )


def to_account(account: Account) -> auth_pb2.Account:
    """Writes an account."""
    return auth_pb2.Account(
        account_id=account.account_id,
        firm_id=account.firm_id,
        name=account.name,
        usernames=account.usernames,
        created_at=to_timestamp(account.created_at),
    )


def to_api_key(key: ApiKey) -> auth_pb2.ApiKey:
    """Writes an API key, without the secret."""
    return auth_pb2.ApiKey(
        key_id=key.key_id,
        name=key.name,
        scopes=key.scopes,
        account_ids=key.account_ids,
        created_at=to_timestamp(key.created_at),
        expires_at=to_timestamp(key.expires_at) if key.expires_at else None,
        revoked_at=to_timestamp(key.revoked_at) if key.revoked_at else None,
        username=key.username,
    )


def to_session(session: Session, current: str) -> auth_pb2.Session:
    """Writes a session; `current` is the id of the caller's own."""
    return auth_pb2.Session(
        session_id=session.session_id,
        username=session.username,
        created_at=to_timestamp(session.created_at),
        ends_at=to_timestamp(session.ends_at),
        revoked_at=to_timestamp(session.revoked_at) if session.revoked_at else None,
        current=session.session_id == current,
    )


def to_token_pair(signed_in: SignedIn) -> TokenPair:
    """Writes a caller's tokens."""
    return TokenPair(
        access_token=signed_in.access.token,
        access_expires_at=to_timestamp(signed_in.access.expires_at),
        refresh_token=signed_in.refresh_token,
        refresh_expires_at=to_timestamp(signed_in.refresh_expires_at),
    )
