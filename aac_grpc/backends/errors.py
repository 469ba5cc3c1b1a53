"""Faults of a machine or of its configuration, told to a person together with the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class BackendError(Exception):
    """Base of the faults that a person can mend; the text says what is wrong and how to mend it."""


class StateError(BackendError):
    """The state directory cannot be used."""


class StateLocked(StateError):
    """Another supervisor holds the state directory.

    Attributes:
        pid: Process id of the holder; 0 when it is not known.
    """

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(
            f"{path} is in use by the supervisor with process id {pid or 'unknown'}; stop it with `aac down`, "
            f"or give this one a directory of its own with AAC_STATE_DIR and ports with --port-offset"
        )
        self.pid = pid


class PortTaken(BackendError):
    """A port that is needed is held by another process."""


class BackendUnusable(BackendError):
    """A backend that the environment names can't be reached, or lets nobody in.

    Attributes:
        fields: What is wrong, by variable; without secrets.
        remedy: What to do about it.
    """

    def __init__(self, faults: Mapping[str, str], remedy: str) -> None:
        super().__init__(f"can't use {', '.join(faults)}")
        self.fields = dict(faults)
        self.remedy = remedy


class ProcessFailed(BackendError):
    """A supervised process did not become ready.

    Attributes:
        name: Name of the process in its specification.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} did not start: {reason}")
        self.name = name


class StopRequested(Exception):
    """A person asked the supervisor to stop while it was still starting."""


class SupervisorUnresponsive(BackendError):
    """A supervisor holds the state directory but does not answer.

    Attributes:
        pid: Process id of the supervisor.
    """

    def __init__(self, pid: int, reason: str) -> None:
        super().__init__(f"the supervisor with process id {pid} does not answer ({reason}); end it with `kill {pid}`")
        self.pid = pid
