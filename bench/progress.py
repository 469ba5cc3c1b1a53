"""How far a suite is, for whoever waits: what runs now, and about how long the rest takes."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.report import RESULTS


class SuiteProgress:
    """A bar on a terminal, plain lines elsewhere.

    Attributes:
        took_s: Seconds of each bench that has ended.
    """

    def __init__(self, console: Console, names: Sequence[str], before_s: Mapping[str, float]) -> None:
        """Prepares.

        Args:
            console: Where it is shown.
            names: Of the benches, in the order in which they run.
            before_s: Seconds that each took the last time, where that is known.
        """
        self.took_s: dict[str, float] = {}
        self._names = names
        self._before_s = before_s
        columns = (BarColumn(20), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("starting", total=len(names))
        self._running, self._began_at = "", 0.0

    def __enter__(self) -> "SuiteProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._bar.stop()

    def begin(self, name: str) -> None:
        """A bench begins, and the one before has ended."""
        self._end()
        self._running, self._began_at = name, time.monotonic()
        number = self._names.index(name)
        told = f"{number + 1} of {len(self._names)}: {name}{self._estimate(self._names[number:])}"
        self._bar.update(self._task, completed=number, description=told)
        self.say(f"{told} ...")

    def say(self, text: str) -> None:
        """Prints a line, above the bar where there is one."""
        self._bar.console.print(text, style="dim", markup=False)

    def _end(self) -> None:
        if self._running:
            self.took_s[self._running] = round(time.monotonic() - self._began_at, 1)

    def _estimate(self, left: Sequence[str]) -> str:
        """What the benches took the last time: this one, and all that are left."""
        if not all(name in self._before_s for name in left):
            return ""
        this, rest = self._before_s[left[0]], sum(self._before_s[name] for name in left)
        return f" (took {_duration(this)} last time; all that is left {_duration(rest)})"


def last_took_s(suite: str, folder: Path = RESULTS) -> dict[str, float]:
    """Seconds that each bench of a suite took the last time that it ran here."""
    took: dict[str, float] = {}
    for file in sorted(folder.glob(f"{suite}-*.json")):
        took |= json.loads(file.read_text(encoding="utf-8")).get("took_s", {})
    return took


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
