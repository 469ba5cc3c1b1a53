"""Importing this imports all that the service processes and the feeder import, for the fork server."""

from __future__ import annotations

import encodings.idna
import importlib
import pkgutil

import aac
import redis.asyncio
import uvloop

import aac_grpc.common
import aac_grpc.feeds
import aac_grpc.registry
import aac_grpc.servicers

for _package in (aac, aac_grpc.common, aac_grpc.servicers, aac_grpc.registry, aac_grpc.feeds):
    for _module in pkgutil.walk_packages(_package.__path__, f"{_package.__name__}."):
        importlib.import_module(_module.name)

__all__ = ("encodings", "redis", "uvloop")
"""Imported where they are first used, elsewhere."""
