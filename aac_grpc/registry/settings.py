"""What the registry is told by its environment."""

from pydantic import Field, SecretStr

from aac_grpc.common.settings import ServiceSettings


class RegistrySettings(ServiceSettings):
    """Leases, and the secret that instances' own secrets derive from."""

    mesh_secret: SecretStr = Field(
        SecretStr(""), description="Secret of the installation, which services' secrets derive from."
    )
    lease_s: float = Field(10.0, gt=0.1, description="How long an instance counts as living without a heartbeat.")
    registry_poll_s: float = Field(0.5, gt=0, description="How often to look for what other registries changed.")
