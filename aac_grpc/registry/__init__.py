"""The service registry: which instances of which services are alive."""

from collections.abc import Sequence

from aac_grpc.common.identity import ServiceSecrets
from aac_grpc.common.interceptors.auth import CredentialScheme
from aac_grpc.common.resources import Resources
from aac_grpc.common.server import Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.registry.leases import Leases
from aac_grpc.registry.membership import Membership
from aac_grpc.registry.servicer import RegistryServicer
from aac_grpc.registry.settings import RegistrySettings


async def build(resources: Resources) -> Sequence[Servicer]:
    """Composes the registry and reads who was there before it stopped."""
    settings = resources.settings
    assert isinstance(settings, RegistrySettings)
    leases = Leases(resources.database, settings.instance_lease_s)
    membership = Membership(leases, resources.clock, settings.instance_lease_s, settings.registry_poll_s)
    await leases.extend_all()
    await membership.refresh()
    resources.tasks.spawn(membership.follow, name="membership")
    resources.tasks.spawn(membership.sweep, name="leases")
    return [RegistryServicer(leases, membership, settings.instance_lease_s)]


def credentials(resources: Resources) -> Sequence[CredentialScheme]:
    """Takes services' own secrets, so that the registry depends on nothing but its database."""
    settings = resources.settings
    assert isinstance(settings, RegistrySettings)
    return [ServiceSecrets(settings.mesh_secret.get_secret_value())]


service = Service(
    name="registry",
    settings=RegistrySettings,
    build=build,
    migrations="aac_grpc.registry.migrations",
    credentials=credentials,
)
