"""What a bench is told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


def _silent(text: str) -> None:
    """Says nothing."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run a suite.

    Attributes:
        quick: Short runs.
        only: Benches to run; empty runs all.
        say: Tells a person how far it is.
        begin: Told the name of each bench as it begins.
    """

    quick: bool = False
    only: tuple[str, ...] = ()
    say: Callable[[str], None] = _silent
    begin: Callable[[str], None] = _silent

    def pick(self, whole: T, quick: T) -> T:
        """The amount of work: `quick` in a quick run."""
        return quick if self.quick else whole
