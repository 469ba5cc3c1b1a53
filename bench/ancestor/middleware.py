"""The ancestor's shared library: a BaseHTTPMiddleware each for rate limit, authentication, logging and metrics."""

import json
import logging
import time
from typing import Any

import jwt
from prometheus_client import Counter, Gauge, Histogram
from redis.asyncio import Redis
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from bench.ancestor.credentials import SCOPE, verify

REQUESTS = Counter("http_requests", "Requests.", ["method", "path", "status"])
SECONDS = Histogram("http_request_seconds", "Time to the response.", ["method", "path"])
RUNNING = Gauge("http_requests_running", "Requests under way.", ["method", "path"])

LIMIT = 10_000_000
WINDOW_S = 60


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        line = {"time": self.formatTime(record), "level": record.levelname, "event": record.getMessage(), **fields}
        return json.dumps(line)


def configure_logging() -> logging.Logger:
    """The logger of requests, on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    log = logging.getLogger("ancestor")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    return log


class MetricsMiddleware(BaseHTTPMiddleware):
    """Counts requests and their time."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Looks the labels up for each request."""
        method, path = request.method, request.url.path
        RUNNING.labels(method, path).inc()
        began = time.perf_counter()
        response = await call_next(request)
        RUNNING.labels(method, path).dec()
        SECONDS.labels(method, path).observe(time.perf_counter() - began)
        REQUESTS.labels(method, path, str(response.status_code)).inc()
        return response


class LoggingMiddleware(BaseHTTPMiddleware):
    """Writes a line for each request."""

    def __init__(self, app: ASGIApp, log: logging.Logger) -> None:
        super().__init__(app)
        self._log = log

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Writes it when the response begins."""
        began = time.perf_counter()
        response = await call_next(request)
        fields = {
            "method": request.method,
            "path": request.url.path,
            "status": response.status_code,
            "duration_ms": round((time.perf_counter() - began) * 1000, 3),
            "client": request.client.host if request.client else "",
            "user": getattr(request.state, "user", ""),
        }
        self._log.info("request", extra={"fields": fields})
        return response


class AuthMiddleware(BaseHTTPMiddleware):
    """Verifies the token of each request."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """401 without a good token, 403 without the scope."""
        try:
            claims = verify(request.headers.get("authorization", ""))
        except jwt.InvalidTokenError as error:
            return JSONResponse({"success": False, "error": str(error)}, 401)
        if SCOPE not in claims["scope"].split():
            return JSONResponse({"success": False, "error": "scope"}, 403)
        request.state.user = claims["sub"]
        return await call_next(request)


class RateLimitMiddleware(BaseHTTPMiddleware):
    """Counts the requests of a user in windows of a minute, in Redis."""

    def __init__(self, app: ASGIApp, redis: Redis) -> None:
        super().__init__(app)
        self._redis = redis

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """One round trip; 429 above the limit."""
        window = int(time.time()) // WINDOW_S
        key = f"ratelimit:{request.state.user}:{window}"
        pipe = self._redis.pipeline(transaction=False)
        pipe.incr(key)
        pipe.expire(key, WINDOW_S)
        used, _ = await pipe.execute()
        if used > LIMIT:
            return JSONResponse({"success": False, "error": "rate limit"}, 429)
        response = await call_next(request)
        response.headers["x-ratelimit-limit"] = str(LIMIT)
        response.headers["x-ratelimit-remaining"] = str(LIMIT - used)
        response.headers["x-ratelimit-reset"] = str(WINDOW_S - int(time.time()) % WINDOW_S)
        return response
