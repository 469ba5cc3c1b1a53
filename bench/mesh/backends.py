"""Real backends for a bench, on the callers' core."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from aac_grpc.backends.embedded import EmbeddedBackends
from aac_grpc.backends.state import StateDirectory
from bench import cores
from bench.installation import folder_for_all, free_offset


@asynccontextmanager
async def backends(*variables: str) -> AsyncIterator[Mapping[str, str]]:
    """PostgreSQL, Valkey or Kafka: those whose URLs are asked for, by the names of their variables."""
    with folder_for_all() as folder:
        async with AsyncExitStack() as stack:
            embedded = EmbeddedBackends(StateDirectory(folder / "state"), free_offset(), variables=variables)
            with cores.starting_on(cores.CALLERS):
                await stack.enter_async_context(embedded)
            yield embedded.urls
