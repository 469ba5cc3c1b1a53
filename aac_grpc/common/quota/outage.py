"""When Redis does not answer in time, budgets are kept in the process until it does again."""

import structlog

from aac_grpc.common import metrics

PROBE_EVERY_S = 0.25
"""While Redis is away it is asked again this often, by whoever is charged, who does not wait for the answer."""
FORGIVEN_AFTER_S = 1.0
"""What was spent in a shorter outage is settled with Redis. In a longer one each instance granted a whole budget."""

_log = structlog.get_logger("quota")


class Outage:
    """The outage that lasts, or the last one.

    Attributes:
        number: Counts outages; 0 before the first.
        lasts: It is not over.
    """

    def __init__(self) -> None:
        self.number = 0
        self.lasts = False
        self._began_at = self._ended_at = self._probed_at = 0.0
        self._show()

    def begin(self, now: float, reason: str) -> None:
        """Redis did not answer, or not in time."""
        self._probed_at = now
        if self.lasts:
            return
        self.number += 1
        self.lasts, self._began_at = True, now
        self._show()
        _log.warning("budgets are kept in this process", reason=reason)

    def end(self, now: float) -> None:
        """Redis answered in time."""
        if not self.lasts:
            return
        self.lasts, self._ended_at = False, now
        self._show()
        _log.info("budgets are shared again", outage_s=round(now - self._began_at, 3))

    def probe_is_due(self, now: float) -> bool:
        """Redis should be asked again; says so once in a while."""
        if now - self._probed_at < PROBE_EVERY_S:
            return False
        self._probed_at = now
        return True

    def forgives(self, number: int, now: float) -> bool:
        """Whether what was spent in the nth outage need not be settled."""
        if number == 0:
            return False
        ended_at = now if self.lasts else self._ended_at
        return number != self.number or ended_at - self._began_at > FORGIVEN_AFTER_S

    def _show(self) -> None:
        metrics.QUOTA_SOURCE.labels("redis").set(not self.lasts)
        metrics.QUOTA_SOURCE.labels("local").set(self.lasts)
