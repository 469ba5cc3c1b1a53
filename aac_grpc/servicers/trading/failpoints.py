"""Crash tests: a process that kills or stops itself at a named step, so that a test need not guess the moment."""

import signal
from collections import Counter

BEFORE_COMMIT = "before_commit"
"""A batch was carried out in memory and written; COMMIT was not sent."""
AFTER_COMMIT = "after_commit"
"""A batch is committed; nobody has been told."""
AFTER_ANSWER = "after_answer"
"""A batch's callers have been told; it is not on Kafka yet."""
AFTER_PUBLISH = "after_publish"
"""Events are on Kafka; the relay has not noted it."""

_STOP = ":stop"

STEPS = (BEFORE_COMMIT, AFTER_COMMIT, AFTER_ANSWER, AFTER_PUBLISH)


class Failpoint:
    """Kills the process by SIGKILL, or freezes it by SIGSTOP, when a step is reached for the n-th time."""

    def __init__(self, step: str = "", at: int = 1, number: int = signal.SIGKILL) -> None:
        self._step = step
        self._at = at
        self._signal = number
        self._reached: Counter[str] = Counter()

    @classmethod
    def parse(cls, text: str) -> "Failpoint":
        """Reads "step:n", "step:n:stop", or an empty text for no failpoint.

        Raises:
            ValueError: There is no such step, or n is not a number from 1.
        """
        if not text:
            return cls()
        step, _, at = text.removesuffix(_STOP).partition(":")
        if step not in STEPS or not (at or "1").isdigit() or int(at or 1) < 1:
            raise ValueError(f"a failpoint is one of {', '.join(STEPS)}, a colon and a number from 1, not {text!r}")
        return cls(step, int(at or 1), signal.SIGSTOP if text.endswith(_STOP) else signal.SIGKILL)

    def reach(self, step: str) -> None:
        """Passes a step, or never returns, or only when somebody has woken the process up."""
        if step != self._step:
            return
        self._reached[step] += 1
        if self._reached[step] == self._at:
            signal.raise_signal(self._signal)
