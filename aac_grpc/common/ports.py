"""Where each service of the platform listens unless it is told otherwise. Imports nothing: the doctor reads it."""

GRPC_PORTS = {
    "api-gateway": 50050,
    "auth-service": 50051,
    "market-data": 50052,
    "trading-engine": 50053,
    "risk-management": 50054,
    "analytics": 50055,
    "registry": 50060,
}
"""Of the gRPC servers."""

ADMIN_PORTS = {
    "api-gateway": 8000,
    "auth-service": 8001,
    "market-data": 8002,
    "trading-engine": 8003,
    "risk-management": 8004,
    "analytics": 8005,
    "registry": 8010,
}
"""Of /health, /ready and /metrics."""

REPLICA_STEP = 11
"""Instance k of a service listens on its ports plus this, k - 1 times: the first free place after the services' own."""
MAX_REPLICAS = 9
"""So many instances of each stay within a hundred ports, which is how far two checkouts are kept apart."""
