"""Logs: JSON lines that a thread writes."""

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from aac_grpc.common import logs

Output = pytest.CaptureFixture[str]


@pytest.fixture
def output(capsys: Output) -> Iterator[Output]:
    """What the process writes; logging is left as it was found."""
    root = logging.getLogger()
    before = structlog.get_config(), root.handlers[:], root.level
    yield capsys
    structlog.configure(**before[0])
    root.handlers[:] = before[1]
    root.setLevel(before[2])


def lines(output: Output) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.readouterr().out.splitlines()]


def test_each_line_is_an_object_that_names_its_process(output: Output) -> None:
    writer = logs.configure("analytics", "host-1")
    structlog.get_logger().info("started", port=7, nothing=None)
    writer.close()
    (line,) = lines(output)
    assert (line["event"], line["port"], line["level"]) == ("started", 7, "info")
    assert (line["service"], line["instance"]) == ("analytics", "host-1")
    assert "nothing" not in line


def test_less_severe_lines_are_left_out(output: Output) -> None:
    writer = logs.configure("analytics", "host-1", level="warning")
    structlog.get_logger().info("chatter")
    structlog.get_logger().warning("trouble")
    writer.close()
    assert [line["event"] for line in lines(output)] == ["trouble"]


def test_an_exceptions_local_variables_are_never_written(output: Output) -> None:
    writer = logs.configure("analytics", "host-1")

    def sign_in(password: str) -> None:
        raise ValueError("no")

    try:
        sign_in("hunter2")
    except ValueError:
        structlog.get_logger().exception("failed")
    writer.close()
    (line,) = lines(output)
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert "hunter2" not in json.dumps(line)


def test_lines_of_libraries_come_out_alike(output: Output) -> None:
    writer = logs.configure("analytics", "host-1")
    logging.getLogger("some.library").warning("careful: %s", "thin ice")
    writer.close()
    assert [(line["event"], line["level"]) for line in lines(output)] == [("careful: thin ice", "warning")]


def test_a_reader_that_stops_does_not_stop_the_process() -> None:
    released = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            released.wait(10)
            return super().write(text)

    stream = Stuck()
    writer = logs.LineWriter(stream)
    for number in range(logs.MAX_WAITING_LINES + 100):
        writer.write(str(number))
    released.set()
    writer.close()
    written = stream.getvalue().splitlines()
    assert logs.MAX_WAITING_LINES <= len(written) < logs.MAX_WAITING_LINES + 100
    assert written[:3] == ["0", "1", "2"]


def test_a_reader_that_has_gone_does_not_end_the_writer() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    writer = logs.LineWriter(Gone())
    writer.write("lost")
    writer.close()
