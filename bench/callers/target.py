"""What callers call."""

import base64
from dataclasses import dataclass, field

from bench.callers.connection import Transport
from bench.callers.grpc_unary import GrpcConnection, HeaderBlocks
from bench.callers.http1 import Http1Connection, request_bytes


@dataclass(frozen=True, slots=True)
class Target:
    """One method of one server.

    Attributes:
        protocol: "grpc" (unary) or "http1" (GET).
        address: host:port.
        path: Of the method, or of the resource.
        credentials: Values of the authorization header; the connections take them in turn.
        message: Request of a gRPC call, in base64.
        connections: That callers share where the protocol lets them; 0 gives each its own.
    """

    protocol: str
    address: str
    path: str
    credentials: list[str] = field(default_factory=lambda: [""])
    message: str = ""
    connections: int = 0

    def connection(self, number: int) -> Transport:
        """The protocol of connection `number`, for the event loop to connect."""
        credential = self.credentials[number % len(self.credentials)]
        headers = {"authorization": credential} if credential else {}
        if self.protocol == "http1":
            return Http1Connection(request_bytes(self.address, self.path, headers))
        return GrpcConnection(HeaderBlocks(self.address, self.path, headers), base64.b64decode(self.message))
