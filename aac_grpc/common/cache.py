"""Two-level cache: memory (L1) over Redis (L2), over the source."""

from collections.abc import Awaitable, Callable
from typing import Any

Json = None | bool | int | float | str | list[Any] | dict[str, Any]
Value = bytes | Json
Loader = Callable[[], Awaitable[Value]]


class Cache:
    """Looks a key up in memory, then in Redis, then at its source, which is asked once however many wait.

    Values are bytes or JSON; treat them as immutable, they are shared. A loader's None means "there is none" and is
    cached too (for `negative_ttl`). With Redis away the source is used, and that is counted.
    """

    async def get_or_load(self, key: str, loader: Loader, *, ttl: float = 60.0, negative_ttl: float = 5.0) -> Value:
        """The value of `key`.

        Args:
            key: Unique in the service, such as "limits:main/acc-1".
            loader: Asks the source; None means that there is no such thing.
            ttl: Seconds in memory; in Redis an hour at most.
            negative_ttl: Seconds for which None is believed.
        """
        raise NotImplementedError

    async def invalidate(self, *keys: str) -> None:
        """Forgets keys here, in Redis and in every other instance. Call it after the change was committed."""
        raise NotImplementedError
