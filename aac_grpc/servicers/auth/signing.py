"""The Ed25519 keys that access tokens are signed with: made at first start, stored encrypted, rotated."""

import asyncio
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aac_grpc.common.clock import Clock
from aac_grpc.common.database import Database, Transaction

ALGORITHM = "EdDSA"

_NONCE_BYTES = 12
_PUBLISHED_BEFORE_USE = timedelta(minutes=2)
"""A new key is in the key set for so long before it signs, so that verifiers know it."""
_LISTED_AFTER_USE = timedelta(hours=1)
"""A former key stays in the key set for so long; no access token lives longer."""
_REFRESH_S = 30.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair; the private half is None where it was encrypted under another mesh secret."""

    kid: str
    public_key: bytes
    private_key: Ed25519PrivateKey | None
    created_at: datetime


def to_jwk(key: SigningKey) -> dict[str, str]:
    """Writes a public key (RFC 8037)."""
    x = urlsafe_b64encode(key.public_key).decode().rstrip("=")
    return {"kid": key.kid, "kty": "OKP", "crv": "Ed25519", "alg": ALGORITHM, "use": "sig", "x": x}


class KeyRing:
    """The installation's signing keys, shared by all instances through the database."""

    def __init__(self, database: Database, clock: Clock, secret: bytes, lifetime: timedelta) -> None:
        """Makes a ring without keys; `load` fills it.

        Args:
            database: Where the keys are kept.
            clock: Wall time.
            secret: 32 bytes that private keys are encrypted with.
            lifetime: Age at which a key gets a successor.
        """
        self._database = database
        self._clock = clock
        self._cipher = AESGCM(secret)
        self._lifetime = lifetime
        self._keys: list[SigningKey] = []

    async def load(self) -> None:
        """Reads the keys, newest first, and makes a new one where there is none or the newest is too old."""
        async with self._database.transaction() as tx:
            await tx.execute("select pg_advisory_xact_lock(hashtext('signing_keys'))")
            cursor = await tx.execute("select * from signing_keys order by created_at desc, kid")
            keys = [self._open(row) for row in await cursor.fetchall()]
            usable = [key for key in keys if key.private_key is not None]
            if not usable or usable[0].created_at + self._lifetime <= self._clock.now():
                keys.insert(0, await self._make(tx))
        self._keys = keys

    async def keep_fresh(self) -> None:
        """Follows what other instances make, and rotates; runs until it is cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            await self.load()

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Returns a JWT of the claims, signed with the current key."""
        key = self._current()
        assert key.private_key is not None
        return jwt.encode(dict(claims), key.private_key, algorithm=ALGORITHM, headers={"kid": key.kid})

    def published(self) -> list[SigningKey]:
        """The keys that tokens may be verified with, newest first."""
        oldest_use = self._clock.now() - _LISTED_AFTER_USE
        ends = [None, *(key.created_at + _PUBLISHED_BEFORE_USE for key in self._keys)]
        return [key for key, end in zip(self._keys, ends, strict=False) if end is None or end > oldest_use]

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """The public key of a token, for the base's verifier."""
        key = next((key for key in self.published() if key.kid == key_id), None)
        return jwt.PyJWK(to_jwk(key), algorithm=ALGORITHM) if key else None

    def _current(self) -> SigningKey:
        usable = [key for key in self._keys if key.private_key is not None]
        if not usable:
            raise LookupError("no signing key is loaded")
        published = self._clock.now() - _PUBLISHED_BEFORE_USE
        return next((key for key in usable if key.created_at <= published), usable[-1])

    async def _make(self, tx: Transaction) -> SigningKey:
        private_key = Ed25519PrivateKey.generate()
        public = private_key.public_key().public_bytes_raw()
        key = SigningKey(secrets.token_hex(8), public, private_key, self._clock.now())
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, private_key.private_bytes_raw(), key.kid.encode())
        await tx.execute(
            "insert into signing_keys (kid, public_key, private_key, created_at) values (%s, %s, %s, %s)",
            (key.kid, public, sealed, key.created_at),
        )
        return key

    def _open(self, row: Mapping[str, Any]) -> SigningKey:
        """Decrypts a stored key; a mesh secret that was changed costs the old private keys, not their tokens."""
        kid, sealed = row["kid"], bytes(row["private_key"])
        try:
            raw = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], kid.encode())
            private_key = Ed25519PrivateKey.from_private_bytes(raw)
        except InvalidTag:
            log.warning("signing key is encrypted under another mesh secret", kid=kid)
            private_key = None
        return SigningKey(kid, bytes(row["public_key"]), private_key, row["created_at"])
