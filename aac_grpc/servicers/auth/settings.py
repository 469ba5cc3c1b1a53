"""What auth-service is told by its environment."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import Field, SecretStr

from aac_grpc.common.mesh import MeshSettings


class AuthSettings(MeshSettings):
    """Lifetimes, costs, lockout, and who is there at the first start."""

    access_token_lifetime_s: int = Field(300, ge=10, le=3600, description="How long an access token lives.")
    refresh_token_lifetime_s: int = Field(7 * 86_400, ge=60, description="How long a refresh token lives unless used.")
    session_lifetime_s: int = Field(
        30 * 86_400, ge=60, description="How long a session lives, however often it is refreshed."
    )
    refresh_repeat_s: int = Field(
        30, ge=0, description="A refresh that is repeated within this gap gives the same successor."
    )
    revocation_poll_s: float = Field(
        0.5, gt=0, description="How often to look for what other instances revoked, where no notification came."
    )
    signing_key_lifetime_s: int = Field(
        90 * 86_400, ge=3600, description="Age at which a signing key gets a successor."
    )

    password_memory_kib: int = Field(19_456, ge=8192, description="Memory of one argon2id hash (RFC 9106: m).")
    password_passes: int = Field(2, ge=1, description="Passes of one argon2id hash (t).")
    password_lanes: int = Field(1, ge=1, description="Lanes of one argon2id hash (p).")
    password_threads: int = Field(2, ge=1, description="Password hashes that are computed at once.")
    password_queue: int = Field(64, ge=0, description="Sign-ins that wait for a thread; more are refused as overload.")

    lockout_tries: int = Field(5, ge=1, description="Wrong tries in a row that lock an address out of a user name.")
    lockout_tries_in_all: int = Field(
        100, ge=1, description="Wrong tries at a user name, and from an address, that may come within the window."
    )
    lockout_window_s: int = Field(900, ge=1, description="Wrong tries longer ago are forgotten.")
    lockout_wait_s: float = Field(
        30.0, gt=0, description="First wait after too many wrong tries; it doubles with each further one, up to 15 min."
    )

    bootstrap_firm: str = Field("house", description="Firm made at the first start; no other has operators.")
    bootstrap_admin_username: str = Field("admin", description="Administrator made at the first start.")
    bootstrap_admin_password: SecretStr = Field(
        SecretStr(""), description="The administrator's first password; empty makes none. Later changes have no effect."
    )
    bootstrap_demo_username: str = Field("demo", description="Trader made at the first start, to try things with.")
    bootstrap_demo_password: SecretStr = Field(
        SecretStr(""), description="The trader's first password; empty makes none. Later changes have no effect."
    )
    bootstrap_demo_account: str = Field("demo", description="Account made for the trader at the first start.")

    def derive_key(self, purpose: str) -> bytes:
        """Derives a 32-byte key for one purpose from the mesh secret (RFC 5869)."""
        mesh_secret = self.mesh_secret.get_secret_value().encode()
        return HKDF(SHA256(), length=32, salt=None, info=f"aac auth-service: {purpose}".encode()).derive(mesh_secret)
