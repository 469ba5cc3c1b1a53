"""L1: a process's own memory, with a time to live and least-recently-used eviction."""

from collections import OrderedDict
from time import monotonic
from typing import Final

from aac_grpc.common.cache.values import Value


class Missing:
    """Stands for "not in memory", as None is a value."""


MISSING: Final = Missing()


class Memory:
    """At most `limit` values."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, tuple[Value, float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str, max_age: float) -> Value | Missing:
        """The value, unless its time is over or it is older than `max_age` seconds."""
        entry = self._entries.get(key)
        if entry is None:
            return MISSING
        value, stored_at, expires_at = entry
        now = monotonic()
        if now >= expires_at or now - stored_at > max_age:
            del self._entries[key]
            return MISSING
        self._entries.move_to_end(key)
        return value

    def put(self, key: str, value: Value, ttl: float) -> None:
        """Keeps a value for `ttl` seconds; the least recently used one makes room."""
        now = monotonic()
        self._entries[key] = value, now, now + ttl
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def drop(self, key: str) -> None:
        """Forgets a value."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()
