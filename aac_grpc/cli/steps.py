"""The steps of a start, as people watch them: what is being done, and what is done, with times."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status

_PLAIN_EVERY_S = 5.0


class Steps:
    """Prints a line for each step that is done; on a terminal, below them the one that is being done."""

    def __init__(self, console: Console) -> None:
        """Begins to count the time."""
        self._console = console
        self._began_at = time.monotonic()
        self._status: Status | None = None
        self._said_at = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def finish(self) -> None:
        """Takes the running step off the terminal; the lines stay."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began_at

    def progress(self, step: str, fraction: float | None) -> None:
        """Takes a step that is being done (a share, or None), or that is done (1)."""
        if fraction is not None and fraction >= 1:
            self.done(step)
        elif self._status is not None:
            self._status.update(escape(step) if fraction is None else f"{escape(step)} [dim]{fraction:.0%}[/dim]")
        elif fraction is not None and self.elapsed_s - self._said_at > _PLAIN_EVERY_S:
            self._said_at = self.elapsed_s
            self._console.print(f"  {escape(step)} {fraction:.0%}")

    def done(self, step: str) -> None:
        """Takes a step that is done."""
        self._console.print(f"[green]✓[/green] {escape(step)} [dim]{self.elapsed_s:.1f} s[/dim]", highlight=False)
