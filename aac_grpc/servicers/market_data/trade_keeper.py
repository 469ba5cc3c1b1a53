"""Writes a venue's trades to PostgreSQL behind its markets, how far they are written, and their minute candles."""

import asyncio

import structlog

from aac_grpc.client.errors import AacError
from aac_grpc.servicers.market_data.candle_repository import MINUTE_NS
from aac_grpc.servicers.market_data.repository import TradeRow, TradesRepository
from aac_grpc.servicers.market_data.venue import VenueMarkets

KEEP_AT_ONCE = 5_000
"""Trades that wait at most; then the markets wait."""
CHECKPOINT_INTERVAL_S = 5.0
"""How often a venue without trades writes how far it was followed."""
RETRY_S = 0.5

_log = structlog.get_logger(__name__)


class TradeKeeper:
    """What is written of one venue's markets, and what is not yet.

    Attributes:
        markets: Whose trades.
    """

    def __init__(self, markets: VenueMarkets, trades: TradesRepository, checkpoint: int) -> None:
        """Goes on from what was written before.

        Args:
            markets: Whose trades; all after the checkpoint will go through it.
            trades: Where they are kept.
            checkpoint: Sequence of the venue's last event whose trades are there.
        """
        self.markets = markets
        self._trades = trades
        self._unkept: list[TradeRow] = []
        self._kept_sequence = checkpoint
        self._kept_at = 0.0
        self._keeping = asyncio.Lock()
        self._minutes: dict[str, int] = {}
        """The minute of each instrument's last kept trade."""
        self._to_roll_up: dict[str, None] = dict.fromkeys(markets.instruments)
        """Instruments whose minutes are over, perhaps; at first all, for what was kept before."""

    async def keep(self, *, at_rest: bool = False) -> None:
        """Writes the trades that are not kept yet.

        Args:
            at_rest: Write how far the venue was followed now and then, also where there were no trades.

        Raises:
            DependencyUnavailable: PostgreSQL is away; they are kept by a later call.
        """
        markets = self.markets
        async with self._keeping:
            self._unkept.extend(markets.take_kept())
            sequence, now = markets.sequence, asyncio.get_running_loop().time()
            due = at_rest and sequence > self._kept_sequence and now - self._kept_at >= CHECKPOINT_INTERVAL_S
            if self._unkept or due:
                await self._trades.keep(markets.venue, markets.epoch, sequence, self._unkept)
                self._note_minutes()
                self._unkept = []
                self._kept_sequence, self._kept_at = sequence, now

    async def roll_up(self) -> None:
        """Rolls up minutes of one instrument, if any are over: a bounded step of what there is to do.

        Raises:
            DependencyUnavailable: PostgreSQL is away; a later call does it.
        """
        if (symbol := next(iter(self._to_roll_up), None)) is None:
            return
        del self._to_roll_up[symbol]
        more = True
        try:
            more = await self._trades.candles.roll_up(self.markets.venue, self.markets.epoch, symbol)
        finally:
            if more:
                self._to_roll_up[symbol] = None

    def _note_minutes(self) -> None:
        for trade in self._unkept:
            minute = trade.executed_ns // MINUTE_NS
            if self._minutes.get(trade.symbol) != minute:
                self._minutes[trade.symbol] = minute
                self._to_roll_up[trade.symbol] = None

    async def keep_up(self) -> None:
        """Returns when no more than `KEEP_AT_ONCE` trades wait to be written."""
        while len(self._unkept) + len(self.markets.to_keep) >= KEEP_AT_ONCE:
            try:
                await self.keep()
            except AacError as error:
                _log.warning("trades can't be kept", venue=self.markets.venue, error=str(error))
                await asyncio.sleep(RETRY_S)
