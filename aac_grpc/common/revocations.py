"""Which tokens hold no more, as this process knows it, and how old that knowledge is."""

import asyncio
from collections.abc import Callable, Iterable

from aac.auth.v1.auth_pb2 import Revocation

from aac_grpc.client.errors import StaleRevocations, Unauthenticated
from aac_grpc.common.call import Principal
from aac_grpc.common.clock import Clock

FIRST_SNAPSHOT_S = 5.0
"""So long after its start a process lets audited calls wait for what was revoked before it refuses them."""
PAUSE_S = 0.05
"""Least time between two looks through all tokens and streams that are known: they take milliseconds."""
FORGET_EVERY_S = 30.0


class Revocations:
    """What was revoked and still matters: sessions and API keys by id, users by generation.

    Whoever feeds it (`RevocationWatch`, or auth-service from its own table) says with `heard` that it is up to date.
    """

    def __init__(self, clock: Clock, stale_after_s: float) -> None:
        """Begins with nothing known.

        Args:
            clock: Wall and monotonic time.
            stale_after_s: Age at which the knowledge is too old for audited methods; infinite where nobody feeds it.
        """
        self._clock = clock
        self._stale_after_s = stale_after_s
        self._credentials: dict[str, float] = {}
        self._users: dict[str, tuple[int, float]] = {}
        self._heard_at = float("-inf")
        self._waits_until = clock.monotonic() + FIRST_SNAPSHOT_S
        self._known = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        self._told_at = self._forgot_at = float("-inf")
        self._telling: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._credentials) + len(self._users)

    @property
    def staleness_s(self) -> float:
        """Seconds since this process knew everything; infinite before the first snapshot."""
        return self._clock.monotonic() - self._heard_at

    @property
    def fresh(self) -> bool:
        """The knowledge is young enough for audited methods."""
        return self.staleness_s <= self._stale_after_s

    def cover(self, principal: Principal) -> bool:
        """Tells whether a principal's token was revoked."""
        if not self._credentials and not self._users:
            return False
        if principal.token_id.partition(".")[0] in self._credentials:
            return True
        user = self._users.get(principal.subject)
        return user is not None and principal.generation < user[0]

    def on_news(self, listener: Callable[[], None]) -> None:
        """Has a function called when something was revoked: at once, and in a storm of revocations each `PAUSE_S`."""
        self._listeners.append(listener)

    def add(self, revocations: Iterable[Revocation]) -> None:
        """Takes what was revoked since."""
        for one in revocations:
            until = one.matters_until.ToNanoseconds() / 1e9
            if one.WhichOneof("credential") == "user_id":
                self._users[one.user_id] = one.generation, until
            else:
                self._credentials[one.session_id or one.api_key_id] = until
        self._forget_ended()
        if self._telling is None and len(self):
            pause = self._told_at + PAUSE_S - self._clock.monotonic()
            if pause <= 0:
                self._tell()
            else:
                self._telling = asyncio.get_running_loop().call_later(pause, self._tell)

    def replace(self, revocations: Iterable[Revocation]) -> None:
        """Takes all that was revoked and still matters."""
        self._credentials.clear()
        self._users.clear()
        self.add(revocations)

    def heard(self, age_s: float = 0.0) -> None:
        """Everything is known that was revoked up to so many seconds ago."""
        self._heard_at = max(self._heard_at, self._clock.monotonic() - age_s)
        self._known.set()

    async def require(self) -> None:
        """Passes where the knowledge is fresh; a process that has just started waits for it.

        Raises:
            StaleRevocations: It is too old, or nothing was ever known.
        """
        if self.fresh:
            return
        patience = self._waits_until - self._clock.monotonic()
        if not self._known.is_set() and patience > 0:
            try:
                async with asyncio.timeout(patience):
                    await self._known.wait()
            except TimeoutError:
                pass
        if not self.fresh:
            raise StaleRevocations(self.staleness_s)

    def _tell(self) -> None:
        self._telling, self._told_at = None, self._clock.monotonic()
        for listener in self._listeners:
            listener()

    def _forget_ended(self) -> None:
        if self._clock.monotonic() - self._forgot_at < FORGET_EVERY_S:
            return
        self._forgot_at, now = self._clock.monotonic(), self._clock.time()
        self._credentials = {name: until for name, until in self._credentials.items() if until > now}
        self._users = {name: (least, until) for name, (least, until) in self._users.items() if until > now}


def revoked() -> Unauthenticated:
    """What a call with a revoked token gets, and a stream whose token is revoked."""
    return Unauthenticated("the credential was revoked", reason="REVOKED_TOKEN")
