"""Settings of the services that know the installation's mesh secret: auth-service and the registry."""

from pydantic import Field, SecretStr, model_validator

from aac_grpc.common.production import weak_secret
from aac_grpc.common.settings import ServiceSettings


class MeshSettings(ServiceSettings):
    """What such a service is told by its environment."""

    mesh_secret: SecretStr = Field(
        SecretStr(""),
        description="Secret of the installation, which every service's own secret and other keys derive from. "
        "Only auth-service and the registry have it.",
    )

    @model_validator(mode="after")
    def _check_mesh_secret(self) -> "MeshSettings":
        """Refuses an empty secret, because what derives from it could be derived by anybody."""
        mesh_secret = self.mesh_secret.get_secret_value()
        if not mesh_secret:
            raise ValueError("AAC_MESH_SECRET is missing")
        if self.production and weak_secret(mesh_secret):
            raise ValueError("not fit for ENVIRONMENT=production: AAC_MESH_SECRET is weak")
        return self
