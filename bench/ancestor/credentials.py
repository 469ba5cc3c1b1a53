"""Tokens of the ancestor's kind: JWTs signed with a secret that the services share (HS256)."""

import time
from collections.abc import Iterable
from typing import Any

import jwt

SECRET = "the ancestor's shared secret, of 32 bytes or more"
ALGORITHM = "HS256"
ISSUER = "aac"
SCOPE = "market:read"


def token(subject: str, scopes: Iterable[str] = (SCOPE,)) -> str:
    """A token that holds for an hour, with as many claims as ours has."""
    now = int(time.time())
    claims = {
        "iss": ISSUER, "sub": subject, "jti": subject, "iat": now, "exp": now + 3600, "name": subject, "kind": "user",
        "accounts": ["*"], "scope": " ".join(scopes), "plan": "bench",
    }  # fmt: skip
    return jwt.encode(claims, SECRET, algorithm=ALGORITHM)


def verify(authorization: str) -> dict[str, Any]:
    """The claims of an Authorization header.

    Raises:
        jwt.InvalidTokenError: They do not hold.
    """
    claims: dict[str, Any] = jwt.decode(
        authorization.removeprefix("Bearer "), SECRET, algorithms=[ALGORITHM], issuer=ISSUER
    )
    return claims
