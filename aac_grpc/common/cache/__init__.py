"""Two-level cache: memory (L1) over Redis (L2), over the source."""

from aac_grpc.common.cache.levels import Cache, Loader
from aac_grpc.common.cache.values import Json, Value

__all__ = ["Cache", "Json", "Loader", "Value"]
