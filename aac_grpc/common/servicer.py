"""The class that every servicer inherits, beside the generated one."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import grpc

Context: TypeAlias = Any
"""A handler's second argument, grpc.aio's ServicerContext: its type parameters differ by method and help nobody."""

Stream: TypeAlias = Any
"""What a streaming handler yields: response messages, or `Encoded` frames of them."""


class Servicer:
    """One gRPC service (or several) of a process: RPC to domain and back, nothing else.

    A subclass inherits the generated servicer classes as well; those tell the base which methods it serves.
    A handler is an `async def` (unary response), an async generator, or an `async def` that calls `context.write`.
    It returns, yields or writes response messages, or `Encoded` ones. Before it runs, the base has authenticated and
    authorized the caller (scope and, on every message, account), charged its budget, checked the field rules and set
    the deadline; `current_call()` tells about it. What it raises (`aac_grpc.client.errors`) becomes status and details.

    Streaming handlers that want to say goodbye at shutdown register with `current_call().on_drain`.
    """

    async def start(self) -> None:
        """Called once before the server takes calls: load state, spawn tasks (`resources.tasks`)."""

    def forwards(self) -> Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]:
        """Methods by path that this process hands on to the service that serves them, as the gateway does.

        Their handlers take and give bytes (no deserializer, no serializer) and set the status, details and trailers
        themselves. The base only counts, logs and recovers around them: the other service judges caller and request.
        """
        return {}

    async def drain(self) -> None:
        """Called when the server begins to shut down, while calls still arrive: give away what others can do.

        The server goes on when it returns, after `drain_grace_s` at the latest.
        """

    async def stop(self) -> None:
        """Called once after the last call ended and before resources close: write down what must not be lost."""
