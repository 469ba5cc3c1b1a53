"""`python -m tests.integration.worker_service`: a service whose answers tell which process gave them."""

import os
from typing import Any

from aac_grpc.common.server import Server, Service
from aac_grpc.common.settings import ServiceSettings
from tests.support.ping import PingServicer, Response

NAME = "analytics"


class Telling(PingServicer):
    """Says its process id."""

    async def Anonymous(self, request: Any, context: Any) -> Any:
        """Answers at once."""
        return Response(count=os.getpid())


service = Service(NAME, ServiceSettings, lambda resources: [Telling()], stateless=True)

if __name__ == "__main__":
    Server(service).run()
