"""`python -m bench.ancestor.separate NAME`: a service of ours as if it carried a base of its own.

The same program, except for what a shared base saves: everything of the base and every contract is imported whether
the service uses it or not, and clients of PostgreSQL, Redis (with a cache) and Kafka are opened by each, as the
ancestor's application base did. What was needed to start is not given back.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Sequence

import aac

import aac_grpc.common.server
from aac_grpc.cli.serve import SERVICES
from aac_grpc.common.resources import Resources
from aac_grpc.common.server import Server, Service
from aac_grpc.common.servicer import Servicer


def import_everything() -> None:
    """Imports the whole base and all contracts."""
    for package in (aac_grpc.common, aac):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def with_everything(service: Service) -> Service:
    """The service, on resources that are all opened."""

    async def build(resources: Resources) -> Sequence[Servicer]:
        # Making them is enough: the server opens what was made.
        assert all((resources.database, resources.redis, resources.cache, resources.events))
        built = service.build(resources)
        return await built if inspect.isawaitable(built) else built

    return dataclasses.replace(service, build=build)


if __name__ == "__main__":
    import_everything()
    aac_grpc.common.server.settle = lambda: None  # type: ignore[attr-defined]
    Server(with_everything(importlib.import_module(SERVICES[sys.argv[1]]).service)).run()
