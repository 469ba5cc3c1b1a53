"""The Python SDK: typed calls and errors, same-key retries, streams that resume. Imports nothing of the server.

    from aac_grpc.client import Client

    with Client("127.0.0.1:50050", username="demo", password=...) as client:
        print(client.quote("GOOG"))
        print(client.place_order("GOOG", "buy", 10, price="570.12").order)

`AsyncClient` is the same for asyncio. Errors are in `aac_grpc.client.errors`.

Names are imported when first used: the server's processes import only parts of this package.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aac_grpc.client.aio import AsyncClient
    from aac_grpc.client.blocking import Client
    from aac_grpc.client.errors import AacError
    from aac_grpc.client.local_book import LocalBook
    from aac_grpc.client.models import OrderState, OrderType, Side, TimeInForce, Topic
    from aac_grpc.client.reconnect import ReconnectPolicy
    from aac_grpc.client.retry import RetryPolicy
    from aac_grpc.client.updates import DepthUpdate, Gap, OrdersUpdate, QuoteUpdate, SubscriptionRefused, TradesUpdate

_MODULES = {
    "AsyncClient": "aio",
    "Client": "blocking",
    "AacError": "errors",
    "LocalBook": "local_book",
    "OrderState": "models",
    "OrderType": "models",
    "Side": "models",
    "TimeInForce": "models",
    "Topic": "models",
    "ReconnectPolicy": "reconnect",
    "RetryPolicy": "retry",
    "DepthUpdate": "updates",
    "Gap": "updates",
    "OrdersUpdate": "updates",
    "QuoteUpdate": "updates",
    "SubscriptionRefused": "updates",
    "TradesUpdate": "updates",
}

__all__ = [
    "AacError",
    "AsyncClient",
    "Client",
    "DepthUpdate",
    "Gap",
    "LocalBook",
    "OrderState",
    "OrderType",
    "OrdersUpdate",
    "QuoteUpdate",
    "ReconnectPolicy",
    "RetryPolicy",
    "Side",
    "SubscriptionRefused",
    "TimeInForce",
    "Topic",
    "TradesUpdate",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
