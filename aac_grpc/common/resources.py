"""What a service may use: opened when first asked for, checked and closed by the base."""

from aac_grpc.common.channel import Channels
from aac_grpc.common.clock import Clock, SystemClock
from aac_grpc.common.settings import ServiceSettings


class Resources:
    """The resources of one process. A service that never asks for Redis has no Redis.

    Properties make a resource when first read, unopened; the server opens what was made after `Service.build` returned
    and before servicers start (the database before `build` where the service has migrations), and closes all in
    reverse order after servicers stopped.

    Attributes:
        settings: The process's settings, of the class that the service names.
        service: The service's name, such as "trading-engine".
        clock: Wall and monotonic time.
    """

    def __init__(self, service: str, settings: ServiceSettings) -> None:
        self.service = service
        self.settings = settings
        self.clock: Clock = SystemClock()
        self.channels: Channels = Channels()
