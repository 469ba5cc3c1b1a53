"""Access tokens: what a caller's JWT says."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from aac_grpc.common.call import Principal
from aac_grpc.common.tokens import claims_of
from aac_grpc.servicers.auth.signing import KeyRing


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed JWT."""

    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Credential:
    """What a token was got with: the first part of its `jti` names the session, API key or service."""

    name: str
    use: str
    """Unique among the tokens of that credential."""

    def __str__(self) -> str:
        return f"{self.name}.{self.use}"

    @classmethod
    def of(cls, token_id: str) -> "Credential":
        """Reads a `jti`."""
        name, _, use = token_id.partition(".")
        return cls(name, use)


class AccessTokens:
    """Mints access tokens."""

    def __init__(self, keys: KeyRing, issuer: str, lifetime: timedelta) -> None:
        self._keys = keys
        self._issuer = issuer
        self._lifetime = lifetime

    def mint(self, caller: Principal, credential: Credential, issued_at: datetime) -> AccessToken:
        """Returns a token; the same arguments give the same one as long as the signing key is the same."""
        issued = issued_at.replace(microsecond=0)
        expires_at = issued + self._lifetime
        speaker = replace(caller, token_id=str(credential), expires_at=int(expires_at.timestamp()))
        claims = claims_of(speaker, issuer=self._issuer, issued_at=issued.timestamp())
        return AccessToken(self._keys.sign(claims), expires_at)
