"""The trading engine as a process that can be killed, and a client that remembers what it was told."""

import asyncio
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
from aac.trading.v1 import trading_pb2 as pb
from aac.trading.v1.trading_pb2_grpc import TradingServiceStub
from aac.trading.v1.venue_pb2_grpc import VenueServiceStub

from aac_grpc.client.channel import channel_options
from aac_grpc.common.identity import derive_service_secret
from aac_grpc.servicers import risk
from tests.integration.services import Caller
from tests.integration.trading import BUY, LIMIT, NO_LIMITS, SELL, running
from tests.support import mesh

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = (
    "from aac_grpc.common.server import Server; from aac_grpc.servicers.trading import service; Server(service).run()"
)
RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
CASH = Decimal(1_000_000)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class EngineProcess:
    """One engine process after another on the same port and state."""

    def __init__(self, installation: Mapping[str, Any], auth: str, risks: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._environment = {
            **os.environ,
            "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'gen/python'}",
            "DATABASE_URL": installation["database_url"],
            "REDIS_URL": installation["redis_url"],
            "KAFKA_BOOTSTRAP_SERVERS": installation["kafka_bootstrap_servers"],
            "AAC_AUTH_ADDRESS": auth,
            "AAC_RISK_ADDRESS": risks,
            "AAC_REGISTRY_ADDRESS": "",
            "AAC_SERVICE_SECRET": derive_service_secret(mesh.MESH_SECRET, "trading-engine"),
            "AAC_GRPC_PORT": self.address.rpartition(":")[2],
            "AAC_ADMIN_PORT": "0",
            "AAC_RATE_LIMITS": "{}",
            "AAC_VENUE_LEASE_S": "1.0",
            "AAC_SNAPSHOT_EVENTS": "200",
            "AAC_LOG_LEVEL": "warning",
            # The double of auth-service tells of none.
            "AAC_REVOCATION_WATCH": "false",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env={**self._environment, **environment}, cwd=CHECKOUT
        )

    async def ready(self) -> None:
        async with (
            asyncio.timeout(60),
            grpc.aio.insecure_channel(self.address, options=channel_options()) as channel,
        ):
            await channel.channel_ready()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait()

    async def died(self) -> None:
        """Waits until the process killed itself."""
        assert self.process is not None
        async with asyncio.timeout(30):
            while self.process.poll() is None:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)
        assert self.process.returncode == -signal.SIGKILL


@dataclass
class Client:
    """Sends orders under keys, repeats what was not answered, and keeps every answer."""

    address: str
    signer: mesh.Signer
    venue: str
    account: str
    seed: int
    answers: dict[str, pb.PlaceOrderResponse] = field(default_factory=dict)
    cancels: dict[str, pb.CancelOrderResponse] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    """Of single attempts, each of five seconds."""
    longest_s: float = 0.0
    """The longest attempt that was answered."""

    def caller(self, stub: Any = TradingServiceStub, **token: Any) -> Caller:
        scopes = ("orders:write", "orders:read", "accounts:read", "events:read", "internal")
        return Caller(
            stub, self.address, token=self.signer.token(accounts=("*",), scopes=scopes, kind="service", **token)
        )

    async def trade(self, until: asyncio.Event) -> None:
        """Places and cancels orders until told to stop; each call is repeated under its key until it is answered."""
        randomness = random.Random(self.seed)
        caller = self.caller()
        try:
            for number in itertools.count():
                if until.is_set():
                    return
                key = f"{self.account}-{self.seed}-{number}"
                request = pb.PlaceOrderRequest(
                    venue=self.venue,
                    account_id=self.account,
                    client_order_id=key,
                    symbol="GOOG",
                    side=randomness.choice((BUY, SELL)),
                    type=LIMIT,
                    quantity=str(randomness.randint(1, 5)),
                    price=str(randomness.randint(95, 105)),
                )
                placed = await self._insist(caller, "PlaceOrder", request, self.answers, key)
                if randomness.random() < 0.3:
                    cancel = pb.CancelOrderRequest(
                        venue=self.venue,
                        account_id=self.account,
                        order_id=placed.order.order_id,
                        request_id=f"c-{key}",
                    )
                    await self._insist(caller, "CancelOrder", cancel, self.cancels, cancel.request_id)
        finally:
            await caller.channel.close()

    async def _insist(self, caller: Caller, method: str, request: Any, log: dict[str, Any], key: str) -> Any:
        call = getattr(caller._stub, method)
        async with asyncio.timeout(40):
            while True:
                began = time.monotonic()
                try:
                    answer = await call(request, metadata=caller._metadata, timeout=5)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in RETRIED:
                        raise
                    self.failures.append(f"{key}: {error.code().name} {error.details()}")
                    await asyncio.sleep(0.02)
                else:
                    self.longest_s = max(self.longest_s, time.monotonic() - began)
                    log[key] = answer
                    return answer


@dataclass
class Scene:
    """An engine process, a venue in it and who may call it."""

    engine: EngineProcess
    signer: mesh.Signer
    installation: Mapping[str, Any]
    auth_address: str
    risk_address: str

    def another_engine(self) -> EngineProcess:
        """An engine on the same state and another port."""
        return EngineProcess(self.installation, self.auth_address, self.risk_address)

    def client(self, account: str, seed: int = 0, venue: str = "crash") -> Client:
        return Client(self.engine.address, self.signer, venue, account, seed)

    def service(self) -> Caller:
        return self.client("").caller(VenueServiceStub)


@asynccontextmanager
async def scene(installation: Mapping[str, Any]) -> AsyncIterator[Scene]:
    """An engine that is not started yet."""
    signer = mesh.Signer()
    async with AsyncExitStack() as exit_stack:
        auth = await exit_stack.enter_async_context(mesh.serving("auth-service", mesh.AuthDouble(signer)))
        risks = await exit_stack.enter_async_context(running(risk.service, installation, auth, **NO_LIMITS))
        engine = EngineProcess(installation, auth.address, risks.address)
        exit_stack.callback(engine.kill)
        yield Scene(engine, signer, installation, auth.address, risks.address)
