"""The metrics that every process exports, under the standard names where there are some."""

from prometheus_client import Counter, Gauge, disable_created_metrics

# They would name the time at which this was imported, which may be another process's, from which ours was forked.
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client has no annotation there

METHOD_LABELS = ("grpc_type", "grpc_service", "grpc_method")
LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

SERVER_OPEN_STREAMS = Gauge("aac_server_open_streams", "Streams that are open.")

CLIENT_HANDLED = Counter(
    "grpc_client_handled_total", "Calls to other services that ended, by status.", (*METHOD_LABELS, "grpc_code")
)
CLIENT_RETRIES = Counter("aac_client_retries_total", "Attempts after the first one.", ("grpc_service", "grpc_method"))

BREAKER_STATE = Gauge("aac_breaker_state", "0 closed, 1 half-open, 2 open.", ("dependency",))
DEPENDENCY_UP = Gauge("aac_dependency_up", "1 where the last check passed.", ("dependency",))
QUEUE_DELAY = Gauge("aac_queue_delay_seconds", "How long calls wait until they are begun.")
QUEUED = Gauge("aac_queued_calls", "Calls that wait until they are begun, from their rate and how long they wait.")
QUEUE_LIMIT = Gauge("aac_queued_calls_limit", "Calls that may wait before any are shed.")
SHED_PRESSURE = Gauge("aac_shed_pressure", "What is shed: 0 nothing, 1 all of LOW, 2 of NORMAL too, 3 of HIGH too.")
SHED = Counter("aac_shed_total", "Calls and items of streams that were shed.", ("priority",))
STREAMS_REFUSED = Counter("aac_streams_refused_total", "Streams over a limit: of the caller or process.", ("limit",))
RATE_LIMITED = Counter("aac_rate_limited_total", "Calls and messages over their budget.", ("rate_class",))
QUOTA_SOURCE = Gauge("aac_quota_source", "1 for who keeps budgets now: redis, or local while it is away.", ("source",))
QUOTA_LOCAL = Counter("aac_quota_local_total", "Charges that were decided in the process because Redis was away.")
QUOTA_ASKS = Counter("aac_quota_asks_total", "Buckets that Redis was asked for, by outcome.", ("outcome",))
TOKENS_VERIFIED = Counter("aac_tokens_verified_total", "Tokens whose signature was checked, by outcome.", ("outcome",))
TOKENS_REVOKED = Counter("aac_tokens_revoked_total", "What revoked tokens met with: refused or ended.", ("outcome",))
REVOCATION_STALENESS = Gauge(
    "aac_revocation_staleness_seconds", "Time since this process knew everything that was revoked."
)
REVOCATION_RECONNECTS = Counter(
    "aac_revocation_reconnects_total", "Connections of the watch of revocations that ended."
)
JWKS_FETCHES = Counter("aac_jwks_fetches_total", "Fetches of the token keys, by outcome.", ("outcome",))
LOG_LINES_DROPPED = Counter("aac_log_lines_dropped_total", "Log lines that the writer could not keep up with.")
