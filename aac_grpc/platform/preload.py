"""Importing this imports all that the service processes and the feeder import, for the fork server."""

from __future__ import annotations

import encodings.idna
import importlib
import pkgutil

import aac
import redis.asyncio
import uvloop
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2

import aac_grpc.common
import aac_grpc.feeds
import aac_grpc.registry
import aac_grpc.servicers
from aac_grpc.common.contract import infrastructure_policy, platform_contract
from aac_grpc.common.interceptors.validate import Validation
from aac_grpc.common.reflection import ALPHA, V1, v1_file
from aac_grpc.common.settings import ServiceSettings

for _package in (aac, aac_grpc.common, aac_grpc.servicers, aac_grpc.registry, aac_grpc.feeds):
    for _module in pkgutil.walk_packages(_package.__path__, f"{_package.__name__}."):
        importlib.import_module(_module.name)

# The compiler of field rules keeps what it has compiled, and copies all descriptors whenever it meets a new file: it
# meets them all here, those of what every process serves too.
v1_file()
_rules = Validation()
for _policy in platform_contract():
    _rules.for_method(_policy)
for _name in (health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, V1, ALPHA):
    for _method in descriptor_pool.Default().FindServiceByName(_name).methods:
        _rules.for_method(infrastructure_policy(_method))

# What runs for the first time adapts itself to what it meets, and would do so in a copy of each process's own.
ServiceSettings(environment="development")

__all__ = ("encodings", "redis", "uvloop")
"""Imported where they are first used, elsewhere."""
