"""Unary gRPC over HTTP/2 (RFC 9113), as far as it takes to make the same call many times and to see how it went.

Header fields are sent as gRPC's C core sends them: those that every call has by index into the dynamic table of HPACK
(RFC 7541), credentials as a literal each time. Answers are not decoded: a unary call that succeeded has a message, one
that failed has none.
"""

import struct
from collections.abc import Callable

from bench.callers.connection import Done, Transport

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4
WINDOW = (1 << 31) - 1
DEFAULT_WINDOW = 65_535
REFRESH_AFTER = 1 << 24
"""Bytes of answers after which the connection's window is opened again."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def integer(value: int, prefix_bits: int, pattern: int) -> bytes:
    """An HPACK integer whose first byte has `pattern` above its prefix."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes([pattern | value])
    out = bytearray([pattern | limit])
    value -= limit
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text: str) -> bytes:
    """An HPACK string without Huffman coding."""
    data = text.encode()
    return integer(len(data), 7, 0) + data


class HeaderBlocks:
    """The header block of a call: in full for the first call of a connection, by index for those after it."""

    def __init__(self, authority: str, path: str, metadata: dict[str, str]) -> None:
        # (index of the name in the static table or 0, name, value)
        indexed = [
            (4, ":path", path), (1, ":authority", authority), (0, "te", "trailers"),
            (31, "content-type", "application/grpc"), (58, "user-agent", "bench/1"), (0, "grpc-timeout", "30S"),
        ]  # fmt: skip
        static = b"\x83\x86"  # :method POST, :scheme http
        literals = b"".join(b"\x00" + string(name) + string(value) for name, value in metadata.items())
        fields = b"".join(
            integer(name_index, 6, 0x40) + (b"" if name_index else string(name)) + string(value)
            for name_index, name, value in indexed
        )
        self.first = static + fields + literals
        newest = 62
        indices = b"".join(integer(newest + len(indexed) - 1 - at, 7, 0x80) for at in range(len(indexed)))
        self.next = static + indices + literals


class GrpcConnection(Transport):
    """Makes one unary call again and again; any number at a time."""

    def __init__(self, blocks: HeaderBlocks, message: bytes) -> None:
        super().__init__()
        self._blocks = blocks
        self._block = blocks.first
        self._message = b"\x00" + struct.pack(">I", len(message)) + message
        self._waiting: dict[int, Done] = {}
        self._answered: set[int] = set()
        self._stream = 1
        self._received = b""
        self._unacknowledged = 0
        self._take: dict[int, Callable[[int, int, bytes], None]] = {
            DATA: self._data, HEADERS: self._headers, RST_STREAM: self._reset, SETTINGS: self._settings,
            PING: self._ping, GOAWAY: self._going,
        }  # fmt: skip

    def connection_made(self, transport: object) -> None:
        """Opens, with windows that are never in the way."""
        super().connection_made(transport)  # type: ignore[arg-type]
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, WINDOW)
        grow = struct.pack(">I", WINDOW - DEFAULT_WINDOW)
        self._transport.write(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, grow))

    def call(self, done: Done) -> None:
        """Makes the call."""
        if self.lost:
            done("connection lost")
            return
        stream, self._stream = self._stream, self._stream + 2
        self._waiting[stream] = done
        headers = frame(HEADERS, END_HEADERS, stream, self._block)
        self._block = self._blocks.next
        self._transport.write(headers + frame(DATA, END_STREAM, stream, self._message))

    def data_received(self, data: bytes) -> None:
        """Takes the frames that are complete."""
        received = self._received + data if self._received else data
        at, end = 0, len(received)
        while end - at >= 9:
            length = int.from_bytes(received[at : at + 3], "big")
            if end - at < 9 + length:
                break
            take = self._take.get(received[at + 3])
            if take is not None:
                stream = int.from_bytes(received[at + 5 : at + 9], "big")
                take(received[at + 4], stream, received[at + 9 : at + 9 + length])
            at += 9 + length
        self._received = received[at:]

    def fail_all(self, reason: str) -> None:
        """Fails every call that has no answer."""
        for stream in tuple(self._waiting):
            self._end(stream, reason)

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        self._answered.add(stream)
        self._unacknowledged += len(payload)
        if self._unacknowledged > REFRESH_AFTER:
            self._transport.write(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._unacknowledged)))
            self._unacknowledged = 0

    def _headers(self, flags: int, stream: int, payload: bytes) -> None:
        if flags & END_STREAM:
            self._end(stream, "" if stream in self._answered else "refused")

    def _reset(self, flags: int, stream: int, payload: bytes) -> None:
        if payload != b"\0\0\0\0" or stream not in self._answered:  # the server asks for no more of the request
            self._end(stream, "reset")

    def _settings(self, flags: int, stream: int, payload: bytes) -> None:
        if not flags & ACK:
            self._transport.write(frame(SETTINGS, ACK, 0))

    def _ping(self, flags: int, stream: int, payload: bytes) -> None:
        if not flags & ACK:
            self._transport.write(frame(PING, ACK, 0, payload))

    def _going(self, flags: int, stream: int, payload: bytes) -> None:
        self.lost = True

    def _end(self, stream: int, failure: str) -> None:
        self._answered.discard(stream)
        done = self._waiting.pop(stream, None)
        if done is not None:
            done(failure)
