"""The metrics that every process exports, under the standard names where there are some."""

from prometheus_client import Counter, Gauge

METHOD_LABELS = ("grpc_type", "grpc_service", "grpc_method")
LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

SERVER_OPEN_STREAMS = Gauge("aac_server_open_streams", "Streams that are open.")

CLIENT_HANDLED = Counter(
    "grpc_client_handled_total", "Calls to other services that ended, by status.", (*METHOD_LABELS, "grpc_code")
)
CLIENT_RETRIES = Counter("aac_client_retries_total", "Attempts after the first one.", ("grpc_service", "grpc_method"))

BREAKER_STATE = Gauge("aac_breaker_state", "0 closed, 1 half-open, 2 open.", ("dependency",))
DEPENDENCY_UP = Gauge("aac_dependency_up", "1 where the last check passed.", ("dependency",))
RATE_LIMITED = Counter("aac_rate_limited_total", "Calls and messages over their budget.", ("rate_class",))
QUOTA_SOURCE = Gauge("aac_quota_source", "1 for who keeps budgets now: redis, or local while it is away.", ("source",))
QUOTA_LOCAL = Counter("aac_quota_local_total", "Charges that were decided in the process because Redis was away.")
QUOTA_ASKS = Counter("aac_quota_asks_total", "Buckets that Redis was asked for, by outcome.", ("outcome",))
TOKENS_VERIFIED = Counter("aac_tokens_verified_total", "Tokens whose signature was checked, by outcome.", ("outcome",))
JWKS_FETCHES = Counter("aac_jwks_fetches_total", "Fetches of the token keys, by outcome.", ("outcome",))
LOG_LINES_DROPPED = Counter("aac_log_lines_dropped_total", "Log lines that the writer could not keep up with.")
