"""What a fork server imports for `tests.support.forked`."""

import aac_grpc.common.settings

__all__ = ("aac_grpc",)
