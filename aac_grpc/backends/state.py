"""The state directory: where an installation keeps its data, secrets, logs and lock."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from aac_grpc.backends.errors import StateError, StateLocked
from aac_grpc.backends.privileges import can_reach
from aac_grpc.backends.spec import User

ENVIRONMENT_VARIABLE = "AAC_STATE_DIR"
_SHARED_ROOT = Path("/var/lib/aac")
_SECRET_BYTES = 24
_LOCK_ATTEMPTS = 5
_LOCK_RETRY_S = 0.02


class StateDirectory:
    """One installation's directory.

    The directory itself may be entered by others, so that PostgreSQL's account reaches its data; what is secret lies
    in files and directories that only the owner can open.
    """

    def __init__(self, path: Path, shared_root: Path = _SHARED_ROOT) -> None:
        """Names a directory; `create` makes it.

        Args:
            path: The directory.
            shared_root: Where data goes that another account must reach when it cannot reach `path`.
        """
        self.path = path.absolute()
        self._shared_root = shared_root

    @classmethod
    def default(cls) -> StateDirectory:
        """The directory that AAC_STATE_DIR names, else `.aac` in AAC_HOME, in the checkout, or in the current one."""
        if named := os.environ.get(ENVIRONMENT_VARIABLE):
            return cls(Path(named).expanduser())
        if home := os.environ.get("AAC_HOME"):
            return cls(Path(home) / ".aac")
        checkout = Path(__file__).resolve().parents[2]
        base = checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()
        return cls(base / ".aac")

    def create(self) -> None:
        """Makes the directory, or checks the one that is there.

        Raises:
            StateError: It cannot be made or written, or it belongs to another account.
        """
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True)
                self.path.chmod(0o755)
                (self.path / ".gitignore").write_text("*\n")
            if fault := self.ownership_fault():
                raise StateError(fault)
            for private in (self.run, self.logs):
                private.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StateError(
                f"cannot use the state directory {self.path}: {error.strerror}; "
                f"set {ENVIRONMENT_VARIABLE} to a directory that you can write"
            ) from error

    def ownership_fault(self) -> str | None:
        """Why this account must not use the directory: files of two owners in it would lock one of them out."""
        if not self.path.exists() or self.path.stat().st_uid == os.geteuid():
            return None
        return (
            f"the state directory {self.path} belongs to the account with id {self.path.stat().st_uid}, not to yours "
            f"({os.geteuid()}); run as that account, or set {ENVIRONMENT_VARIABLE} to another directory"
        )

    @property
    def run(self) -> Path:
        """Lock, socket and process records of the supervisor."""
        return self.path / "run"

    @property
    def logs(self) -> Path:
        """Logs of the supervised processes."""
        return self.path / "logs"

    def log_path(self, name: str) -> Path:
        """Where a process logs."""
        return self.logs / f"{name}.log"

    def private(self, name: str) -> Path:
        """Makes and returns a subdirectory that only the owner can enter."""
        directory = self.path / name
        directory.mkdir(mode=0o700, exist_ok=True)
        return directory

    def reachable(self, name: str, user: User | None) -> Path:
        """Makes and returns a subdirectory that belongs to an account which may be another than ours.

        Where that account cannot reach the state directory, as under a closed home, the data lies in a shared place
        and the subdirectory is a symbolic link to it.
        """
        if user is None:
            return self.private(name)
        directory = self.path / name
        if directory.is_symlink() or not can_reach(directory, user):
            directory = self._elsewhere(name)
        directory.mkdir(mode=0o700, exist_ok=True)
        os.chown(directory, user.uid, user.gid)
        return directory

    def shared(self, name: str) -> Path:
        """Makes and returns a directory outside of the installation, which every account can enter and read.

        Raises:
            StateError: It cannot be made.
        """
        return self._open_directory(self._shared_root / name)

    def secret(self, name: str) -> str:
        """Returns a secret of this installation, made at random the first time and kept in `secrets.json`."""
        path = self.path / "secrets.json"
        with self._exclusive(self.run):
            known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
            if name not in known:
                known[name] = secrets.token_urlsafe(_SECRET_BYTES)
                _write_private(path, json.dumps(known, indent=2) + "\n")
            return known[name]

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the directory for one supervisor.

        Raises:
            StateLocked: Another one holds it.
        """
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _try_lock(descriptor):
                raise StateLocked(self.path, _read_pid(descriptor))
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def holder(self) -> int | None:
        """Process id of the supervisor that holds the directory (0 when not readable); None when nobody does."""
        try:
            descriptor = os.open(self._lock_path, os.O_RDWR)
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise StateError(f"cannot read {self._lock_path}: it belongs to another account") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_pid(descriptor)
        finally:
            os.close(descriptor)
        return None

    @property
    def _lock_path(self) -> Path:
        return self.run / "lock"

    def _elsewhere(self, name: str) -> Path:
        link = self.path / name
        if link.exists() and not link.is_symlink():
            raise StateError(
                f"{link} holds data that its account can no longer reach; open the directories on the way to it "
                f"with `chmod o+x`, or set {ENVIRONMENT_VARIABLE} to another directory"
            )
        if not link.is_symlink():
            digest = hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:16]
            link.symlink_to(self._shared_root / digest / name)
        target = link.readlink()
        self._open_directory(target.parent)
        return target

    def _open_directory(self, directory: Path) -> Path:
        try:
            for made in (self._shared_root, directory):
                made.mkdir(parents=True, exist_ok=True)
                made.chmod(0o755)
        except OSError as error:
            raise StateError(
                f"cannot make {directory}, which other accounts must reach: {error.strerror}; "
                f"set {ENVIRONMENT_VARIABLE} to a directory under one that every account may enter, such as /srv"
            ) from error
        return directory

    @contextlib.contextmanager
    def _exclusive(self, directory: Path) -> Iterator[None]:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Takes the lock; tries for a moment, because `holder` touches it to see whether it is held."""
    for _ in range(_LOCK_ATTEMPTS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_LOCK_RETRY_S)
    return False


def _read_pid(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(fresh, path)
