"""What may be cached, and its bytes in Redis: one byte for the kind, then the value."""

import json
from typing import Any, cast

Json = None | bool | int | float | str | list[Any] | dict[str, Any]
Value = bytes | Json


def dump(value: Value) -> bytes:
    """Writes a value."""
    if isinstance(value, bytes):
        return b"b" + value
    return b"j" + json.dumps(value, separators=(",", ":")).encode()


def load(data: bytes) -> Value:
    """Reads what `dump` wrote."""
    if data[:1] == b"b":
        return data[1:]
    return cast(Value, json.loads(data[1:]))
