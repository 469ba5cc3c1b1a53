"""Who is there, in memory: what lists and watches are answered from, also while the database is away."""

import asyncio
from collections.abc import Sequence

from aac.registry.v1 import registry_pb2
from aac.registry.v1.registry_pb2 import WatchInstancesResponse
from aac.type.v1.stream_pb2 import TOPIC_INSTANCES

from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common.clock import Clock
from aac_grpc.common.streams import StateTopic, frame
from aac_grpc.common.types import from_timestamp, to_timestamp
from aac_grpc.registry.leases import Instance, Leases, Report, Snapshot

_ALL = ""
_INSTANCES = WatchInstancesResponse.INSTANCES_FIELD_NUMBER


class Membership:
    """The last snapshot, and a topic of it for each service that is watched."""

    def __init__(self, leases: Leases, clock: Clock, lease_s: float, poll_s: float) -> None:
        """Begins with nobody.

        Args:
            leases: The source.
            clock: Tells how long the source was out of reach.
            lease_s: Seconds of one lease.
            poll_s: Seconds between looks at what other registries changed.
        """
        self._leases = leases
        self._clock = clock
        self._lease_s = lease_s
        self._poll_s = poll_s
        self._snapshot = Snapshot(0, 0)
        self._topics: dict[str, StateTopic] = {}

    async def list(self, service: str = _ALL) -> Sequence[Instance]:
        """Who is there with the leases of this moment; the last that is known while the database is away."""
        try:
            snapshot = await self._leases.snapshot()
        except DependencyUnavailable:
            snapshot = self._snapshot
        return _of(snapshot, service)

    def topic(self, service: str = _ALL) -> StateTopic:
        """The instances of a service, or of all, as a topic."""
        topic = self._topics.get(service)
        if topic is None:
            topic = StateTopic(TOPIC_INSTANCES, service, epoch=self._snapshot.epoch)
            self._topics[service] = topic
            topic.publish(self._snapshot.sequence, _frames(_of(self._snapshot, service)))
        return topic

    async def refresh(self) -> None:
        """Reads who is there if that has changed, and tells those who watch."""
        known = self._snapshot
        if await self._leases.sequence() == (known.epoch, known.sequence):
            return
        self._snapshot = current = await self._leases.snapshot()
        for service, topic in self._topics.items():
            if _places(known, service) != _places(current, service):
                topic.publish(current.sequence, _frames(_of(current, service)))

    async def follow(self) -> None:
        """Follows what other registries change; runs until it is cancelled."""
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self.refresh()
            except DependencyUnavailable:
                continue

    async def sweep(self) -> None:
        """Removes who did not renew; runs until it is cancelled.

        At the start, and after the database was away for half a lease, nobody is removed before one more lease:
        that nobody renewed is then our fault.
        """
        swept_at: float | None = None
        while True:
            try:
                if swept_at is None or self._clock.monotonic() - swept_at > self._lease_s / 2:
                    await self._leases.extend_all()
                else:
                    await self._leases.remove_expired()
                swept_at = self._clock.monotonic()
            except DependencyUnavailable:
                pass
            await asyncio.sleep(self._lease_s / 4)


def to_instance(instance: Instance) -> registry_pb2.Instance:
    """Writes an instance."""
    return registry_pb2.Instance(
        instance_id=instance.instance_id,
        service=instance.service,
        address=instance.address,
        admin_address=instance.admin_address,
        version=instance.version,
        workers=instance.workers,
        registered_at=to_timestamp(instance.registered_at),
        lease_expires_at=to_timestamp(instance.lease_expires_at),
        serving=instance.serving,  # type: ignore[arg-type]  # an enum's number
        breakers=[
            registry_pb2.Breaker(target=one["target"], state=one["state"], since=to_timestamp(one["since_ns"]))
            for one in instance.breakers
        ],
        renewed_at=to_timestamp(instance.renewed_at),
    )


def to_report(said: registry_pb2.Instance | registry_pb2.HeartbeatRequest) -> Report:
    """Reads what an instance says of itself."""
    return Report(
        said.serving,
        [{"target": one.target, "state": one.state, "since_ns": from_timestamp(one.since)} for one in said.breakers],
    )


def _of(snapshot: Snapshot, service: str) -> Sequence[Instance]:
    return [instance for instance in snapshot.instances if service in (_ALL, instance.service)]


def _places(snapshot: Snapshot, service: str) -> set[tuple[str, str]]:
    return {(instance.instance_id, instance.address) for instance in _of(snapshot, service)}


def _frames(instances: Sequence[Instance]) -> list[bytes]:
    return [frame(_INSTANCES, to_instance(instance).SerializeToString()) for instance in instances]
