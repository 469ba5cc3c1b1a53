"""Structured logs: a JSON object a line on stdout, written by a thread, so that a slow reader never stops the loop."""

import logging
import queue
import sys
import threading
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from aac_grpc.common import metrics
from aac_grpc.common.call import find_call

MAX_WAITING_LINES = 10_000

Event = MutableMapping[str, Any]


# Local variables hold tokens and passwords: they are never written.
_json_exceptions = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
)


class LineWriter:
    """Writes lines on a thread of its own; drops and counts them when the reader does not keep up."""

    def __init__(self, stream: TextIO, *, on_thread: bool = True) -> None:
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_WAITING_LINES)
        self._thread: threading.Thread | None = None
        if on_thread:
            self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
            self._thread.start()

    def write(self, line: str) -> None:
        """Takes one line without waiting."""
        if self._thread is None:
            self._put(line)
            return
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            metrics.LOG_LINES_DROPPED.inc()

    def close(self, timeout_s: float = 2.0) -> None:
        """Writes what waits and ends the thread."""
        if self._thread is None:
            return
        try:
            self._lines.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            self._put(line)

    def _put(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            if self._lines.empty():
                self._stream.flush()
        except (OSError, ValueError):
            # The reader has gone; the process lives on without logs.
            metrics.LOG_LINES_DROPPED.inc()


class _Logger:
    """What structlog hands rendered lines to."""

    def __init__(self, writer: LineWriter) -> None:
        self.msg = self.debug = self.info = self.warning = self.error = self.critical = writer.write


class _Bridge(logging.Handler):
    """Lines of libraries that use the standard logging module."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)


def _add_call(_: Any, __: str, event: Event) -> Event:
    """Names the call in whose service the line is written."""
    call = find_call()
    if call is not None:
        event.setdefault("request_id", call.request_id)
        event.setdefault("method", call.policy.path)
    return event


def _drop_none(_: Any, __: str, event: Event) -> Event:
    return {key: value for key, value in event.items() if value is not None}


def configure(
    service: str, instance: str, *, level: str = "info", json: bool = True, on_thread: bool = True
) -> LineWriter:
    """Sets the process's logging up.

    Args:
        service: Its name, such as "trading-engine".
        instance: Names this process.
        level: Least severe lines to write.
        json: JSON objects, else lines for people.
        on_thread: Lines are written by a thread; else at once, in a process that forks and may have none.

    Returns:
        The writer, to close at the end.
    """
    writer = LineWriter(sys.stdout, on_thread=on_thread)
    number = logging.getLevelName(level.upper())
    # Not the default formatter for people: it prints local variables, and passwords with them.
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    renderer: Any = structlog.processors.JSONRenderer() if json else plain

    def add_process(_: Any, __: str, event: Event) -> Event:
        event["service"], event["instance"] = service, instance
        return event

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            add_process,
            _add_call,
            _drop_none,
            _json_exceptions if json else structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Logger(writer),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Bridge()], level=max(number, logging.WARNING), force=True)
    return writer
