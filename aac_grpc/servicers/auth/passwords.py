"""Passwords as argon2id hashes, computed off the event loop."""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from aac_grpc.common.executor import BoundedExecutor


class Passwords:
    """Hashes passwords and compares them, for unknown users at the same cost as for known ones."""

    def __init__(self, executor: BoundedExecutor, *, memory_kib: int, passes: int, lanes: int) -> None:
        """Sets what one hash costs (RFC 9106: memory m, passes t, lanes p)."""
        self._executor = executor
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=lanes)
        self._nobodys = ""

    async def start(self) -> None:
        """Makes the hash that unknown users are compared with."""
        self._nobodys = await self.hash(secrets.token_urlsafe(32))

    def close(self) -> None:
        """Ends the threads."""
        self._executor.close()

    async def hash(self, password: str) -> str:
        """Returns the hash of a new password, salted, in PHC format."""
        return await self._executor.run(self._hasher.hash, password)

    async def matches(self, password: str, hashed: str | None) -> bool:
        """Tells whether a password is the one behind a hash; None is the hash of a user that there is not."""
        same = await self._executor.run(self._verify, password, hashed or self._nobodys)
        return same and hashed is not None

    def is_outdated(self, hashed: str) -> bool:
        """Tells whether a hash costs other than what is set now, and should be made anew at the next sign-in."""
        return self._hasher.check_needs_rehash(hashed)

    def _verify(self, password: str, hashed: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False
