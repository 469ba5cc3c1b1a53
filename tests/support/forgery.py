"""Access tokens that auth-service would not give: signed with the installation's own key, or with another one."""

import base64
import json
import secrets
import time
from datetime import timedelta
from typing import Any, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aac_grpc.common.clock import SystemClock
from aac_grpc.common.database import Database
from aac_grpc.servicers.auth.settings import AuthSettings
from aac_grpc.servicers.auth.signing import ALGORITHM, KeyRing


class Secrets(Protocol):
    """Where an installation keeps its keys, and what opens them."""

    @property
    def database_url(self) -> str:
        """Its PostgreSQL."""

    @property
    def mesh_secret(self) -> str:
        """What its other secrets derive from."""


class Forger:
    """Changes real tokens."""

    def __init__(self, ring: KeyRing) -> None:
        """Takes the keys of an installation; `new_forger` finds them."""
        self._ring = ring

    def expired(self, token: str) -> str:
        """The same token, well signed, a minute after its end."""
        return self._ring.sign({**_claims(token), "exp": int(time.time()) - 60})

    def with_claims(self, token: str, **claims: Any) -> str:
        """The same token, well signed, with other claims."""
        return self._ring.sign({**_claims(token), **claims})

    def by_a_stranger(self, token: str) -> str:
        """The same claims and key id, signed with a key of the stranger's."""
        headers = {"kid": jwt.get_unverified_header(token)["kid"]}
        return jwt.encode(_claims(token), Ed25519PrivateKey.generate(), algorithm=ALGORITHM, headers=headers)

    def by_nobody(self, token: str) -> str:
        """The same claims and key id, not signed."""
        headers = {"kid": jwt.get_unverified_header(token)["kid"]}
        return jwt.encode(_claims(token), None, algorithm="none", headers=headers)

    def altered(self, token: str, **claims: Any) -> str:
        """Other claims under the same token's signature."""
        head, _, signature = token.split(".")
        payload = json.dumps({**_claims(token), **claims}).encode()
        return f"{head}.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.{signature}"

    def damaged(self, token: str) -> str:
        """One letter of the signature is another."""
        head, _, signature = token.rpartition(".")
        at = secrets.randbelow(len(signature) - 1)
        return f"{head}.{signature[:at]}{'A' if signature[at] != 'A' else 'B'}{signature[at + 1 :]}"


async def new_forger(installation: Secrets) -> Forger:
    """A forger with the keys of an installation, read from its database with its secret."""
    database = Database(installation.database_url, schema="auth_service", pool_size=1)
    await database.open()
    try:
        key = AuthSettings(mesh_secret=installation.mesh_secret).derive_key("signing keys")  # type: ignore[arg-type]
        ring = KeyRing(database, SystemClock(), key, timedelta(days=3650))
        await ring.load()
    finally:
        await database.close()
    return Forger(ring)


def _claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims
