"""What the registry is told by its environment."""

from pydantic import Field

from aac_grpc.common.mesh import MeshSettings


class RegistrySettings(MeshSettings):
    """Leases, on top of the secret that instances prove themselves by."""

    instance_lease_s: float = Field(
        10.0, gt=0.1, description="How long an instance counts as living without a heartbeat."
    )
    registry_poll_s: float = Field(0.5, gt=0, description="How often to look for what other registries changed.")
