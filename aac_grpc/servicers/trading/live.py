"""What a venue's writer has in memory: the domain's venue, and users' live orders as rows."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from aac_grpc.client.errors import NotFound
from aac_grpc.domain.instruments import Instrument
from aac_grpc.domain.venue import Venue
from aac_grpc.servicers.trading.encoding import EventEncoder
from aac_grpc.servicers.trading.rows import OrderRow


@dataclass(frozen=True, slots=True)
class OrderReference:
    """Names an order of an account by one of its two ids; the other is empty.

    Raises:
        NotFound: No order can have such an id.
    """

    account_id: str
    order_id: str
    client_order_id: str

    def __post_init__(self) -> None:
        if "\0" in self.order_id + self.client_order_id:
            # PostgreSQL could not even look for it.
            raise NotFound("order", str(self))

    def matches(self, row: OrderRow) -> bool:
        """Tells whether it names this order."""
        if row.account_id != self.account_id:
            return False
        return row.order_id == self.order_id or row.client_order_id == self.client_order_id

    def __str__(self) -> str:
        return self.order_id or self.client_order_id


class LiveOrders:
    """Users' live orders, and those that ended in the last batch.

    These stay for one batch more: a request that looked for one in the database may have looked too early.
    """

    def __init__(self, rows: Iterable[OrderRow] = ()) -> None:
        self._by_id: dict[str, OrderRow] = {}
        self._by_client_id: dict[tuple[str, str], OrderRow] = {}
        self._done: list[OrderRow] = []
        for row in rows:
            self.put(row)

    def put(self, row: OrderRow) -> None:
        """Makes a row the latest of its order."""
        self._by_id[row.order_id] = row
        self._by_client_id[row.account_id, row.client_order_id] = row

    def get(self, order_id: str) -> OrderRow | None:
        """Returns an order by the venue's id."""
        return self._by_id.get(order_id)

    def __getitem__(self, order_id: str) -> OrderRow:
        return self._by_id[order_id]

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, reference: OrderReference) -> OrderRow | None:
        """Returns an account's order by either id."""
        if reference.order_id:
            row = self._by_id.get(reference.order_id)
        else:
            row = self._by_client_id.get((reference.account_id, reference.client_order_id))
        return row if row is not None and row.account_id == reference.account_id else None

    def retire(self, done: list[OrderRow]) -> None:
        """Ends a batch: drops what ended in the one before it."""
        for row in self._done:
            del self._by_id[row.order_id]
            del self._by_client_id[row.account_id, row.client_order_id]
        self._done = done


@dataclass(slots=True)
class LiveVenue:
    """A venue as of its last batch, which may not be committed yet: nothing of it may leave before that."""

    venue_id: int
    venue: Venue
    batch: int
    """Number of the last batch."""
    chain: bytes
    """Hash over all events up to the last batch."""
    orders: LiveOrders
    accounts: dict[str, bool]
    """Account ids, and whether they are FLOW accounts."""
    order_sequences: dict[str, int]
    """Number of the last event of users' orders, by account."""
    encoder: EventEncoder = field(init=False)

    def __post_init__(self) -> None:
        self.encoder = EventEncoder(self.accounts, self.orders)

    @property
    def name(self) -> str:
        """The venue's id."""
        return self.venue.venue_id

    def instrument(self, symbol: str) -> Instrument | None:
        """Returns a listed instrument, or None."""
        market = self.venue.market(symbol)
        return None if market is None else market.instrument
