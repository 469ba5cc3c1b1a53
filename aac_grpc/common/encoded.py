"""A response that was serialized before the handler yields it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Encoded:
    """Bytes of one response message, written as they are; limits and metrics count its items."""

    data: bytes
    items: int = 1
