"""Recorded or simulated flow: opening a run, and its rows."""

from collections.abc import Sequence

from aac.trading.v1 import venue_pb2
from aac.trading.v1.venue_pb2 import FeedOpen, FeedRun

from aac_grpc.client.errors import AacError, InvalidField, NotFound
from aac_grpc.domain import feed
from aac_grpc.domain.commands import AccountKind, AddInstrument, CreateAccount, FeedRows, StartFeed
from aac_grpc.domain.instruments import Instrument
from aac_grpc.domain.orders import Verdict
from aac_grpc.servicers.trading.batch import Batch
from aac_grpc.servicers.trading.command_log import feed_rows_message
from aac_grpc.servicers.trading.live import LiveVenue
from aac_grpc.servicers.trading.pending import Pending
from aac_grpc.servicers.trading.requests import Request
from aac_grpc.servicers.trading.vocabulary import new_instrument


class OpenFeed(Request[FeedRun]):
    """Begins a run, or finds one that began before; lists its instrument and opens its account where they are new."""

    def __init__(self, message: FeedOpen, venue: str) -> None:
        """Reads what flows.

        Raises:
            InvalidField: The instrument is wrong.
        """
        self._message = message
        self._instrument = new_instrument(message.instrument, venue, "open.instrument")

    def run(self, batch: Batch, verdict: Verdict | None) -> FeedRun:
        """Begins the run."""
        message, live = self._message, batch.live
        symbol = self._instrument.symbol
        run = live.venue.feeds.get(message.run_id)
        if run is not None:
            if (run.symbol, run.account_id) != (symbol, message.account_id):
                raise InvalidField("open.run_id", f"run {message.run_id!r} is one of {run.symbol} by {run.account_id}")
            return feed_run(run)
        listed = live.instrument(symbol)
        if listed is not None and not _alike(listed, self._instrument):
            raise InvalidField("open.instrument", f"{symbol!r} is listed with another tick size, lot size or currency")
        if live.accounts.get(message.account_id) is False:
            raise InvalidField("open.account_id", f"account {message.account_id!r} is a user's")
        if listed is None:
            batch.execute(AddInstrument(self._instrument))
        if message.account_id not in live.accounts:
            batch.execute(CreateAccount(message.account_id, self._instrument.currency, AccountKind.FLOW))
        batch.execute(StartFeed(message.run_id, symbol, message.account_id))
        return feed_run(live.venue.feeds[message.run_id])

    def read_answer(self, data: bytes) -> FeedRun:
        """Never kept: a run's id is its key."""
        return FeedRun.FromString(data)


class ApplyRows(Request[FeedRun]):
    """Applies rows of a run; rows that were applied before are skipped.

    Attributes:
        follows: The rows before these, while they are under way. Where they fail these fail too: a run that went on
            behind a gap would take the missing rows for old ones when they come again.
    """

    def __init__(
        self,
        run_id: str,
        messages: Sequence[venue_pb2.FeedRow],
        rows: Sequence[feed.FeedRow],
        follows: Pending | None = None,
    ) -> None:
        """Takes rows in both their shapes."""
        self.follows = follows
        self._run_id = run_id
        self._messages = messages
        self._rows = tuple(rows)

    @property
    def weight(self) -> int:
        """At least 2, which tells it from a user's request."""
        return max(2, len(self._rows))

    def run(self, batch: Batch, verdict: Verdict | None) -> FeedRun:
        """Applies the rows."""
        if self.follows is not None and isinstance(failure := self.follows.failure, AacError):
            raise failure
        if self._run_id not in batch.live.venue.feeds:
            raise NotFound("feed run", self._run_id)
        command = FeedRows(self._run_id, self._rows)
        batch.execute(command, message=feed_rows_message(self._run_id, self._messages))
        return feed_run(batch.live.venue.feeds[self._run_id])

    def read_answer(self, data: bytes) -> FeedRun:
        """Never kept: rows are known by their numbers."""
        return FeedRun.FromString(data)


def feed_run(run: feed.FeedRun) -> FeedRun:
    """Writes how far a run has come."""
    return FeedRun(
        run_id=run.run_id,
        symbol=run.symbol,
        last_row=run.last_row,
        rows=run.rows,
        applied=run.applied,
        diverged=run.diverged,
        resets=run.resets,
        compared=run.compared,
        top_equal=run.top_equal,
    )


def find_run(live: LiveVenue, run_id: str) -> FeedRun:
    """Returns how far a run has come.

    Raises:
        NotFound: There is none such.
    """
    run = live.venue.feeds.get(run_id)
    if run is None:
        raise NotFound("feed run", run_id)
    return feed_run(run)


def _alike(listed: Instrument, wanted: Instrument) -> bool:
    return (listed.tick_size, listed.lot_size, listed.currency) == (
        wanted.tick_size,
        wanted.lot_size,
        wanted.currency,
    )
