"""HTTP/1.1 with keep-alive: one call at a time on a connection."""

from bench.callers.connection import Done, Transport

END_OF_HEADERS = b"\r\n\r\n"
LENGTH = b"content-length:"
OK = b"HTTP/1.1 200"


class Http1Connection(Transport):
    """Sends the same request each time."""

    def __init__(self, request: bytes) -> None:
        super().__init__()
        self._request = request
        self._done: Done | None = None
        self._received = b""

    def call(self, done: Done) -> None:
        """Makes the call; the one before must have its answer."""
        if self.lost:
            done("connection lost")
            return
        self._done = done
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Takes what came; an answer is complete with as many bytes as its header says."""
        received = self._received = self._received + data if self._received else data
        headers_end = received.find(END_OF_HEADERS)
        if headers_end < 0:
            return
        head = received[:headers_end].lower()
        at = head.find(LENGTH)
        length = int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(received) < headers_end + len(END_OF_HEADERS) + length:
            return
        self._received = b""
        done, self._done = self._done, None
        if done is not None:
            done("" if received.startswith(OK) else received[9:12].decode())

    def fail_all(self, reason: str) -> None:
        """Fails the call that has no answer."""
        done, self._done = self._done, None
        if done is not None:
            done(reason)


def request_bytes(address: str, path: str, headers: dict[str, str]) -> bytes:
    """A GET request."""
    lines = [f"GET {path} HTTP/1.1", f"host: {address}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
