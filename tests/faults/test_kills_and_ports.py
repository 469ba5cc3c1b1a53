"""A service that was killed gets its port again, whatever connects to what meanwhile."""

import socket
import struct

import pytest

from aac_grpc.backends.ports import held, is_free, unused_port

IP_LOCAL_PORT_RANGE = 51
"""Of Linux since 6.3: from which local ports one socket takes its own."""


def test_no_outgoing_connection_takes_a_held_port_and_a_server_does() -> None:
    port = next(port for port in iter(unused_port, None) if is_free(port + 1))
    with held([port]), socket.create_server(("127.0.0.1", 0), backlog=64) as elsewhere:
        with socket.create_server(("127.0.0.1", port)):
            pass  # a server, as it starts for the first time
        taken = []
        for _ in range(2):  # of the two ports that it may take, one is held
            connection = socket.socket()
            try:
                connection.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("I", port + 1 << 16 | port))
            except OSError:
                pytest.skip("this kernel can't be told which local ports to take")
            try:
                connection.connect(elsewhere.getsockname())
            except OSError:
                connection.close()
                continue
            taken.append(connection)
        assert [connection.getsockname()[1] for connection in taken] == [port + 1]
        with socket.create_server(("127.0.0.1", port)):
            pass  # and as it is started again
        for connection in taken:
            connection.close()


def test_a_held_port_still_refuses_a_second_server() -> None:
    port = unused_port()
    with (
        held([port]),
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(OSError, match="in use"),
        socket.create_server(("127.0.0.1", port)),
    ):
        pass
