"""Admin HTTP: /health (the event loop turns), /ready (serving, and required dependencies answer), /metrics.

It runs on a thread: a stuck event loop must not keep anybody from seeing that it is stuck.
"""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from aac_grpc.common.addresses import join
from aac_grpc.common.health import Health

BEAT_S = 1.0
STUCK_AFTER_S = 5.0
SLOWEST_CALLER_S = 10.0
"""A connection on which nothing moves for so long is closed: each holds a thread."""

Respond = Callable[[str, list[tuple[str, str]]], Any]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away or fell silent is no fault of ours, and not worth a traceback."""


class _SixServer(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = SLOWEST_CALLER_S

    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds: they are not logged."""


class Admin:
    """The admin HTTP server of one process."""

    def __init__(self, health: Health, failed_tasks: Callable[[], Iterable[str]] = tuple) -> None:
        """Makes a server that does not listen yet.

        Args:
            health: What /ready tells.
            failed_tasks: Names of background tasks that have failed for good; with any the process is not ready.
        """
        self._health = health
        self._failed_tasks = failed_tasks
        self._beat_at = time.monotonic()
        self._server: WSGIServer | None = None
        self._beating: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """host:port that it listens at."""
        if self._server is None:
            raise RuntimeError("the admin server is not started")
        host, port = self._server.server_address[:2]
        return join(str(host), port)

    def start(self, host: str, port: int) -> None:
        """Begins to listen.

        Raises:
            OSError: The port is taken.
        """
        kind = _SixServer if ":" in host else _Server
        self._server = make_server(host.strip("[]"), port, self._answer, server_class=kind, handler_class=_Quiet)
        threading.Thread(target=self._server.serve_forever, name="admin-http", daemon=True).start()
        self._beating = asyncio.get_running_loop().create_task(self._beat(), name="admin-beat")

    async def stop(self) -> None:
        """Stops listening."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        if self._server is not None:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()

    async def _beat(self) -> None:
        while True:
            self._beat_at = time.monotonic()
            await asyncio.sleep(BEAT_S)

    def _answer(self, environ: dict[str, Any], respond: Respond) -> list[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            respond("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
            return [generate_latest()]
        pages = {"/health": self._alive, "/ready": self._ready}
        if path not in pages:
            return self._json(respond, "404 Not Found", {"error": "there are /health, /ready and /metrics"})
        good, facts = pages[path]()
        return self._json(respond, "200 OK" if good else "503 Service Unavailable", facts)

    def _alive(self) -> tuple[bool, dict[str, Any]]:
        silence = time.monotonic() - self._beat_at
        return silence < STUCK_AFTER_S, {"loop_silent_s": round(silence, 1)}

    def _ready(self) -> tuple[bool, dict[str, Any]]:
        failed = sorted(self._failed_tasks())
        dependencies = {
            name: {"up": one.up, "required": one.required, **({"error": one.error} if one.error else {})}
            for name, one in self._health.dependencies.items()
        }
        facts = {"serving": self._health.serving[""], "dependencies": dependencies, "failed_tasks": failed}
        return self._health.ready and not failed and self._alive()[0], facts

    def _json(self, respond: Respond, status: str, facts: dict[str, Any]) -> list[bytes]:
        respond(status, [("Content-Type", "application/json")])
        return [json.dumps(facts).encode() + b"\n"]
