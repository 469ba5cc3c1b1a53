"""api-gateway: the one public port."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

from aac.auth.v1.auth_pb2 import ExchangeApiKeyRequest
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub

from aac_grpc.common.call import Principal
from aac_grpc.common.channel import REGISTRY
from aac_grpc.common.contract import platform_contract
from aac_grpc.common.events import EventTail
from aac_grpc.common.interceptors.auth import CredentialScheme
from aac_grpc.common.resources import Resources
from aac_grpc.common.server import Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.common.tokens import principal_of, unverified_claims
from aac_grpc.servicers.gateway.api_keys import ApiKeyExchange
from aac_grpc.servicers.gateway.backends import BackendHealth
from aac_grpc.servicers.gateway.callers import ApiKeyScheme, Callers, on_behalf_of
from aac_grpc.servicers.gateway.events import Partition, WatcherPlaces
from aac_grpc.servicers.gateway.forwarding import Forwarder
from aac_grpc.servicers.gateway.mesh import MeshView
from aac_grpc.servicers.gateway.overview import Overviews
from aac_grpc.servicers.gateway.routes import GATEWAY, Routes
from aac_grpc.servicers.gateway.servicer import TOPIC_NAMES, GatewayServicer
from aac_grpc.servicers.gateway.settings import GatewaySettings

# The forwarder and the gateway's own methods share what they know of API keys.
_exchanges: WeakKeyDictionary[Resources, ApiKeyExchange] = WeakKeyDictionary()


def build(resources: Resources) -> Sequence[Servicer]:
    """Composes api-gateway: a forwarder for each public method, and the methods that it answers itself."""
    settings, channels = resources.settings, resources.channels
    assert isinstance(settings, GatewaySettings)
    routes = Routes(platform_contract())
    exchange = api_key_exchange(resources)
    callers = Callers(exchange, channels.tokens.get)
    _follow_backends(resources, routes)

    def open_tail(start: Mapping[Partition, int], from_beginning: bool) -> EventTail:
        return resources.tail(TOPIC_NAMES, start=start, from_beginning=from_beginning)

    servicer = GatewayServicer(
        Overviews(channels),
        routes.methods(),
        MeshView(channels, {REGISTRY, *routes.grpc_services.values()}),
        open_tail,
        {
            route.policy.path: Forwarder(route, channels.target(route.service), callers.proof)
            for route in routes.forwarded
        },
        exchange,
        watchers=WatcherPlaces(settings),
        heartbeat_s=settings.heartbeat_s,
    )
    return [servicer]


def credentials(resources: Resources) -> Sequence[CredentialScheme]:
    """API keys, beside access tokens."""
    return [ApiKeyScheme(api_key_exchange(resources), resources.verifier)]


def api_key_exchange(resources: Resources) -> ApiKeyExchange:
    """The process's exchange of API keys."""
    if resources not in _exchanges:
        settings = resources.settings
        assert isinstance(settings, GatewaySettings)
        auth = resources.channels.stub(AuthServiceStub, "auth-service")

        async def ask(api_key: str, address: str) -> tuple[str, float, Principal]:
            # The budget of wrong keys is the caller's, not the gateway's.
            caller = await on_behalf_of(address, resources.channels.tokens.get)
            response = await auth.ExchangeApiKey(ExchangeApiKeyRequest(api_key=api_key), metadata=caller)
            token = response.access_token
            return token, response.expires_at.ToNanoseconds() / 1e9, principal_of(unverified_claims(token))

        _exchanges[resources] = ApiKeyExchange(
            ask,
            resources.revocations,
            resources.clock,
            size=settings.api_key_cache_size,
            ttl_s=settings.api_key_ttl_s,
            refusal_ttl_s=settings.api_key_refusal_ttl_s,
        )
    return _exchanges[resources]


def _follow_backends(resources: Resources, routes: Routes) -> None:
    grpc_services = defaultdict(list)
    for grpc_service, service in routes.grpc_services.items():
        grpc_services[service].append(grpc_service)
    for service, names in grpc_services.items():
        if service != GATEWAY:
            backend = BackendHealth(resources.health, resources.channels.target(service), names)
            resources.tasks.spawn(backend.follow, name=f"health of {service}")


service = Service(name=GATEWAY, settings=GatewaySettings, build=build, credentials=credentials, stateless=True)
