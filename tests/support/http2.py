"""Bare HTTP/2: frames that no gRPC client would send."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.mesh import eventually

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_CONCURRENT_STREAMS = 3
"""Number of a setting."""


@dataclass(frozen=True)
class Frame:
    """One frame."""

    kind: int
    flags: int = 0
    stream: int = 0
    payload: bytes = b""

    def encode(self) -> bytes:
        """Its bytes."""
        length = struct.pack(">I", len(self.payload))[1:]
        return length + bytes([self.kind, self.flags]) + struct.pack(">I", self.stream) + self.payload


def call_headers(stream: int, path: str | bytes) -> Frame:
    """The headers of a gRPC call, none of them compressed."""
    raw = path if isinstance(path, bytes) else path.encode()
    pairs = {b":method": b"POST", b":scheme": b"http", b":path": raw, b":authority": b"here", b"te": b"trailers",
             b"content-type": b"application/grpc"}  # fmt: skip
    block = b"".join(bytes([0, len(name)]) + name + bytes([len(value)]) + value for name, value in pairs.items())
    return Frame(HEADERS, END_HEADERS, stream, block)


@dataclass
class Connection:
    """A connection on which anything may be sent.

    Attributes:
        frames: What came from the server.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    frames: list[Frame] = field(default_factory=list)

    def queue(self, *frames: Frame) -> None:
        """Has frames sent with the next ones."""
        self.writer.write(b"".join(frame.encode() for frame in frames))

    async def answered(self) -> None:
        """Waits until the server has taken all that was sent: it answers a ping."""
        await self.send(Frame(PING, 0, 0, b"the end!"))
        await eventually(lambda: self.of_kind(PING), 30)

    async def send(self, *frames: Frame) -> None:
        """Sends frames."""
        self.queue(*frames)
        await self.writer.drain()

    async def read(self) -> None:
        """Reads frames until the server closes."""
        while True:
            head = await self.reader.readexactly(9)
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
            self.frames.append(Frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload))

    def of_kind(self, kind: int) -> list[Frame]:
        """Frames of a kind that came."""
        return [frame for frame in self.frames if frame.kind == kind]


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[Connection]:
    """A connection that has sent its preface."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    connection = Connection(reader, writer)
    reading = asyncio.create_task(connection.read())
    try:
        writer.write(PREFACE)
        await connection.send(Frame(SETTINGS))
        yield connection
    finally:
        reading.cancel()
        writer.close()
        await asyncio.gather(reading, return_exceptions=True)
