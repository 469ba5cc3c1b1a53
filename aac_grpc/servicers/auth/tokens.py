"""Access tokens: what a caller's JWT says."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from aac_grpc.servicers.auth.signing import KeyRing


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token speaks for, and what that one may do."""

    subject: str
    """Id of the user or name of the service."""
    kind: str
    """"user" or "service"."""
    username: str
    firm_id: str
    plan: str
    scopes: Collection[str]
    accounts: Collection[str]


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

    def mint(self, identity: Identity, credential: Credential, issued_at: datetime) -> AccessToken:
        """Returns a token; the same arguments give the same one as long as the signing key is the same."""
        issued = int(issued_at.timestamp())
        expires_at = datetime.fromtimestamp(issued, issued_at.tzinfo) + self._lifetime
        claims = {
            "iss": self._issuer,
            "sub": identity.subject,
            "usr": identity.username,
            "knd": identity.kind,
            "firm": identity.firm_id,
            "plan": identity.plan,
            "scopes": sorted(identity.scopes),
            "accounts": sorted(identity.accounts),
            "iat": issued,
            "exp": int(expires_at.timestamp()),
            "jti": str(credential),
        }
        return AccessToken(self._keys.sign(claims), expires_at)
