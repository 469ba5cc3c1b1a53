"""Whether a service's process is ready, asked over plain HTTP: the supervisor forks, so it stays free of gRPC."""

from __future__ import annotations

import asyncio

from aac_grpc.backends.spec import ReadyCheck

_OK = b" 200 "


def is_ready(port: int, host: str = "127.0.0.1") -> ReadyCheck:
    """A check of the admin server's /ready on a port."""

    async def check() -> bool:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(b"GET /ready HTTP/1.0\r\n\r\n")
            status = await reader.readline()
            if _OK in status:
                return True
            body = (await reader.read(4096)).rpartition(b"\r\n\r\n")[2]
            raise RuntimeError(body.decode(errors="replace").strip() or status.decode(errors="replace").strip())
        finally:
            writer.close()

    return check
