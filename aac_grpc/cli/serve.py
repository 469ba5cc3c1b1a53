"""One process of the platform: `python -m aac_grpc.cli.serve NAME`, as `aac serve NAME` but faster to start."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aac_grpc.common.settings import ServiceSettings

SERVICES = {
    "api-gateway": "aac_grpc.servicers.gateway",
    "auth-service": "aac_grpc.servicers.auth",
    "market-data": "aac_grpc.servicers.market_data",
    "trading-engine": "aac_grpc.servicers.trading",
    "risk-management": "aac_grpc.servicers.risk",
    "analytics": "aac_grpc.servicers.analytics",
    "registry": "aac_grpc.registry",
}
"""Packages that hold a service's composition."""
FEED = "feed"


def settings_classes() -> list[type[ServiceSettings]]:
    """Imports what every process of the platform is told by its environment."""
    from aac_grpc.feeds.runner import FeedSettings

    return [*(importlib.import_module(package).service.settings for package in SERVICES.values()), FeedSettings]


def run(name: str) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        ValueError: There is no such service.
    """
    if name == FEED:
        from aac_grpc.feeds.runner import run as run_feed

        run_feed()
        return
    if name not in SERVICES:
        raise ValueError(f"there is no service {name!r}; there are {', '.join((*SERVICES, FEED))}")
    from aac_grpc.common.server import Server

    Server(importlib.import_module(SERVICES[name]).service).run()


if __name__ == "__main__":
    run(sys.argv[1])
