"""Buckets in Redis: one script refills and charges a bucket by the server's clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

AWAY = (RedisError, OSError, TimeoutError)

# KEYS[1]: the bucket. ARGV: rate, burst, units to settle (below zero: to give back), units wanted for a lease, costs.
# A key that is not there is a full bucket, so it may go as soon as it would be full. A lease takes an eighth of what is
# there at most: the fewer there are, the fewer lie idle at instances while another one has to refuse.
SCRIPT = """
local rate, burst, settle, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = redis.call('HMGET', KEYS[1], 'units', 'at')
local units = burst
if kept[1] then
  units = math.min(burst, tonumber(kept[1]) + math.max(0, now - tonumber(kept[2])) * rate / 1000000)
end
units = math.min(burst, units - settle)
local allowed = {}
for i = 5, #ARGV do
  local cost = tonumber(ARGV[i])
  if units >= math.min(cost, burst) then
    units = units - cost
    allowed[i - 4] = '1'
  else
    allowed[i - 4] = '0'
  end
end
local lease = math.max(0, math.min(want, units / 8))
units = units - lease
redis.call('HSET', KEYS[1], 'units', string.format('%.17g', units), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((burst - units) / rate * 1000) + 1000))
return {string.format('%.17g', units), string.format('%.17g', lease), table.concat(allowed), string.format('%.0f', now)}
"""
_SHA = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Order:
    """What one bucket is asked for."""

    name: str
    rate: float
    burst: float
    settle: float
    """Units that were spent before; below zero where units come back unused."""
    lease: float
    """Units wanted in advance, beside the charges."""
    costs: Sequence[float]
    """Charges, of which each is allowed or refused by itself, in this order."""

    def command(self) -> tuple[Any, ...]:
        """Arguments of the script."""
        return (1, self.name, self.rate, self.burst, self.settle, self.lease, *self.costs)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a bucket answers."""

    units: float
    """Left in it."""
    lease: float
    """Units given in advance."""
    allowed: Sequence[bool]
    """By charge."""
    at: float
    """The server's time, in seconds."""


def bucket_name(key: str) -> str:
    """Name of a bucket in Redis; the braces put all that belongs to it into one slot of a cluster."""
    return f"aac:quota:{{{key}}}"


class BucketStore:
    """The buckets in Redis."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    async def charge(self, orders: Sequence[Order]) -> list[Reply]:
        """Charges buckets in one round trip.

        Raises:
            RedisError, OSError: Redis is away, or can't do it.
        """
        replies = await self._run("EVALSHA", _SHA, orders)
        missing = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            # Redis has started anew, or has dropped the script: it keeps one that it is sent.
            again = await self._run("EVAL", SCRIPT, [orders[place] for place in missing])
            for place, reply in zip(missing, again, strict=True):
                replies[place] = reply
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return [_read(reply) for reply in replies]

    async def _run(self, command: str, script: str, orders: Sequence[Order]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for order in orders:
            pipeline.execute_command(command, script, *order.command())
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies


def _read(reply: Sequence[bytes]) -> Reply:
    units, lease, allowed, at = reply
    return Reply(float(units), float(lease), [flag == ord("1") for flag in allowed], int(at) / 1e6)
