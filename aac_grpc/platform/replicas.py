"""How many instances of each service run, and what their processes are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aac_grpc.common.ports import GRPC_PORTS, MAX_REPLICAS


@dataclass(frozen=True, slots=True)
class Instance:
    """One process of a service."""

    service: str
    number: int
    """From 1."""

    @property
    def name(self) -> str:
        """Of the process: the first instance's is the service's own."""
        return self.service if self.number == 1 else f"{self.service}-{self.number}"


def instances_of(service: str, replicas: Mapping[str, int]) -> tuple[Instance, ...]:
    """The instances of a service; one where nothing is said."""
    return tuple(Instance(service, number) for number in range(1, replicas.get(service, 1) + 1))


def parse_replicas(given: Iterable[str]) -> dict[str, int]:
    """Reads how many instances are wanted: a number for all services, `service=number` for one; the last word counts.

    Raises:
        ValueError: It is neither, there is no such service, or the number is out of range.
    """
    every, single = 1, dict[str, int]()
    for text in given:
        service, mark, number = text.rpartition("=")
        if mark and service not in GRPC_PORTS:
            raise ValueError(f"there is no service {service!r}; there are {', '.join(GRPC_PORTS)}")
        if not number.isdecimal() or not 1 <= int(number) <= MAX_REPLICAS:
            raise ValueError(
                f"{text!r} is not a number of instances; write 1 to {MAX_REPLICAS}, or such as trading-engine=2"
            )
        if mark:
            single[service] = int(number)
        else:
            every = int(number)
    return {service: single.get(service, every) for service in GRPC_PORTS}
