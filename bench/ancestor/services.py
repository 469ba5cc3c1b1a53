"""`python -m bench.ancestor.services PORT`: one service of the ancestor's, told by REDIS_URL."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from redis.asyncio import BlockingConnectionPool, Redis

from bench.ancestor.middleware import (
    AuthMiddleware,
    LoggingMiddleware,
    MetricsMiddleware,
    RateLimitMiddleware,
    configure_logging,
)
from bench.ancestor.models import QuotesResponse, Symbols, quote_of

REDIS_CONNECTIONS = 50


def make_app() -> FastAPI:
    """The application with its middlewares, the outermost added last."""
    # redis-py's ordinary pool would refuse the 51st request at a time; this one lets it wait.
    pool = BlockingConnectionPool.from_url(
        os.environ["REDIS_URL"], max_connections=REDIS_CONNECTIONS, timeout=30, health_check_interval=30
    )
    redis = Redis.from_pool(pool)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await redis.aclose()

    app = FastAPI(title="market-data", lifespan=lifespan)
    app.add_middleware(RateLimitMiddleware, redis=redis)
    app.add_middleware(AuthMiddleware)
    app.add_middleware(LoggingMiddleware, log=configure_logging())
    app.add_middleware(MetricsMiddleware)

    @app.get("/api/v1/quotes")
    async def get_quotes(symbols: Symbols) -> QuotesResponse:
        return QuotesResponse(quotes=[quote_of(symbol) for symbol in symbols])

    return app


def serve(app: FastAPI, port: int) -> None:
    """Serves until SIGTERM."""
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", access_log=False, log_level="error")


if __name__ == "__main__":
    serve(make_app(), int(sys.argv[1]))
