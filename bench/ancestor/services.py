"""`python -m bench.ancestor.services PORT [analytics]`: one service of the ancestor's.

Told by REDIS_URL, and by DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS where it shall open those too; the topic has to be
there. Each service has a pool of its own, and a request that needs the database holds a connection from its beginning
to its end: that is what a dependency with `yield` does, and what FastAPI's documentation shows. The one for analytics
has the numeric libraries that ours has.
"""

import asyncio
import importlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

import uvicorn
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from fastapi import Depends, FastAPI, Request
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from redis.asyncio import BlockingConnectionPool, Redis

from bench.ancestor.middleware import (
    AuthMiddleware,
    LoggingMiddleware,
    MetricsMiddleware,
    RateLimitMiddleware,
    configure_logging,
)
from bench.ancestor.models import BaseResponse, QuotesResponse, Symbols, quote_of
from bench.mesh.account_work import ACCOUNT, DOWNSTREAM_S, ORDERS

REDIS_CONNECTIONS = 50
DATABASE_CONNECTIONS = 50
DATABASE_LIFETIME_S = 1800
EVENTS = "ancestor.events"
NUMERIC = ("numpy", "talib")


class AccountResponse(BaseResponse):
    """An account and how many orders it has."""

    account: str
    orders: int


async def connection(request: Request) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection for as long as the request takes."""
    async with request.app.state.pool.connection() as taken:
        yield taken


def make_app() -> FastAPI:
    """The application with its middlewares, the outermost added last."""
    # redis-py's ordinary pool would refuse the 51st request at a time; this one lets it wait.
    redis_pool = BlockingConnectionPool.from_url(
        os.environ["REDIS_URL"], max_connections=REDIS_CONNECTIONS, timeout=30, health_check_interval=30
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(redis_pool.aclose)
            if url := os.environ.get("DATABASE_URL"):
                pool = AsyncConnectionPool(
                    url, min_size=1, max_size=DATABASE_CONNECTIONS, max_lifetime=DATABASE_LIFETIME_S, open=False
                )
                app.state.pool = await stack.enter_async_context(pool)
            if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
                await stack.enter_async_context(AIOKafkaProducer(bootstrap_servers=servers))
                group = f"ancestor-{os.getpid()}"
                await stack.enter_async_context(
                    AIOKafkaConsumer(EVENTS, bootstrap_servers=servers, group_id=group, auto_offset_reset="latest")
                )
            yield

    app = FastAPI(title="market-data", lifespan=lifespan)
    app.add_middleware(RateLimitMiddleware, redis=Redis.from_pool(redis_pool))
    app.add_middleware(AuthMiddleware)
    app.add_middleware(LoggingMiddleware, log=configure_logging())
    app.add_middleware(MetricsMiddleware)

    @app.get("/api/v1/quotes")
    async def get_quotes(symbols: Symbols) -> QuotesResponse:
        return QuotesResponse(quotes=[quote_of(symbol) for symbol in symbols])

    @app.get("/api/v1/account")
    async def get_account(database: Annotated[AsyncConnection[Any], Depends(connection)]) -> AccountResponse:
        (account,) = await (await database.execute(ACCOUNT)).fetchone() or ("",)
        await asyncio.sleep(DOWNSTREAM_S)
        (orders,) = await (await database.execute(ORDERS)).fetchone() or (0,)
        return AccountResponse(account=account, orders=orders)

    return app


def serve(app: FastAPI, port: int) -> None:
    """Serves until SIGTERM."""
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
        timeout_keep_alive=600,  # callers pause between runs
    )


if __name__ == "__main__":
    if "analytics" in sys.argv[2:]:
        for library in NUMERIC:
            importlib.import_module(library)
    serve(make_app(), int(sys.argv[1]))
