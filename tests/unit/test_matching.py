"""The book: price-time priority, checked against a matcher that is obviously right."""

import csv
import gzip
import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aac_grpc.domain.matching import Book
from aac_grpc.domain.orders import RestingOrder, Side
from tests.support.recordings import shared
from tests.unit.market import BUY, SELL
from tests.unit.reference_matcher import ReferenceBook


class Pair:
    """The book and the reference, given the same flow."""

    def __init__(self) -> None:
        self.book: Book[RestingOrder] = Book()
        self.reference = ReferenceBook()
        self.orders: dict[str, RestingOrder] = {}

    def enter(self, order_id: str, side: Side, price: int, quantity: int, rests: bool = True) -> None:
        """Trades an order on both, compares the fills, and rests what is left."""
        expected, left = self.reference.take(side, price, quantity)
        fills = [(fill.maker.order_id, fill.price, fill.quantity) for fill in self.book.match(side, price, quantity)]
        assert fills == expected
        assert sum(lots for _, _, lots in fills) + left == quantity
        if left and rests:
            self.reference.add(order_id, side, price, left)
            self.orders[order_id] = RestingOrder(order_id, side, price, left)
            self.book.add(self.orders[order_id])

    def cancel(self, order_id: str) -> None:
        """Cancels on both; the order may be gone on both."""
        order = self.orders.get(order_id)
        rests = order is not None and order.level is not None
        assert self.reference.cancel(order_id) == rests
        if order is not None and rests:
            self.book.cancel(order)

    def reduce(self, order_id: str, quantity: int) -> None:
        """Takes lots off an order on both, all of them if it has fewer."""
        order, resting = self.orders.get(order_id), self.reference.find(order_id)
        if order is None or resting is None:
            return
        quantity = min(quantity, order.leaves)
        self.book.reduce(order, quantity)
        resting.leaves -= quantity
        if not resting.leaves:
            self.reference.cancel(order_id)

    def check(self) -> None:
        """Compares the books and every invariant of a level."""
        for side in Side:
            levels = self.book.levels(side)
            assert levels == self.reference.levels(side)
            in_priority = sorted(
                (order for order in self.reference.orders if order.side is side),
                key=lambda order: (-order.price if order.side is BUY else order.price, order.arrival),
            )
            assert [order.order_id for order in self.book.orders(side)] == [order.order_id for order in in_priority]
        bid, ask = self.book.best_bid(), self.book.best_ask()
        assert bid is None or ask is None or bid[0] < ask[0], "the book is crossed"


@dataclass(frozen=True)
class Step:
    """One step of a random flow; `target` picks among the orders entered so far."""

    kind: str
    side: Side
    price: int
    quantity: int
    target: int


steps = st.builds(
    Step,
    kind=st.sampled_from(["enter", "enter", "enter", "take", "cancel", "reduce"]),
    side=st.sampled_from(list(Side)),
    price=st.integers(1, 12),
    quantity=st.integers(1, 20),
    target=st.integers(0, 10**6),
)


def play(pair: Pair, flow: list[Step], check_each: bool = True) -> None:
    """Plays a flow on both books."""
    for number, step in enumerate(flow):
        target = f"o{step.target % (number + 1)}"
        if step.kind in ("enter", "take"):
            pair.enter(f"o{number}", step.side, step.price, step.quantity, rests=step.kind == "enter")
        elif step.kind == "cancel":
            pair.cancel(target)
        else:
            pair.reduce(target, step.quantity)
        if check_each:
            pair.check()
    pair.check()


@given(st.lists(steps, max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_flow_trades_and_rests_as_the_reference_matcher_says(flow: list[Step]) -> None:
    play(Pair(), flow)


def random_flow(seed: int, length: int, prices: int = 40) -> list[Step]:
    """Draws a flow whose book stays at some hundred orders."""
    draw = random.Random(seed)
    kinds = ["enter"] * 50 + ["take"] * 12 + ["cancel"] * 34 + ["reduce"] * 4
    recent = 200
    return [
        Step(
            kind=draw.choice(kinds),
            side=draw.choice((BUY, SELL)),
            price=draw.randint(1, prices),
            quantity=draw.randint(1, 50),
            target=max(0, number - draw.randint(1, recent)),
        )
        for number in range(length)
    ]


def test_a_long_random_flow_agrees_with_the_reference_matcher() -> None:
    for seed in range(4):
        play(Pair(), random_flow(seed, 1500), check_each=False)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_million_operations_agree_with_the_reference_matcher() -> None:
    for seed in range(100):
        play(Pair(), random_flow(1000 + seed, 10_000), check_each=False)


@given(
    st.lists(steps, max_size=40),
    st.sampled_from(list(Side)),
    st.one_of(st.none(), st.integers(1, 12)),
    st.integers(1, 60),
)
@settings(max_examples=100, deadline=None)
def test_what_is_available_and_what_it_costs_is_what_a_taker_would_trade(
    flow: list[Step], side: Side, limit: int | None, quantity: int
) -> None:
    pair = Pair()
    play(pair, flow, check_each=False)
    assert pair.book.available(side, limit, quantity) == (pair.reference.available(side, limit) >= quantity)
    cost = pair.book.cost(side, quantity)
    assert cost == sum(fill.price * fill.quantity for fill in pair.book.match(side, None, quantity))


def book_of(*orders: tuple[str, Side, int, int]) -> tuple[Book[RestingOrder], dict[str, RestingOrder]]:
    """Returns a book with orders, and the orders by id."""
    book: Book[RestingOrder] = Book()
    resting = {order[0]: RestingOrder(*order) for order in orders}
    for order in resting.values():
        book.add(order)
    return book, resting


def test_the_book_is_consistent_after_each_single_fill() -> None:
    book, _ = book_of(("a", SELL, 10, 5), ("b", SELL, 10, 3), ("c", SELL, 11, 4))
    tops = [book.best_ask() for _ in book.match(BUY, 11, 9)]
    assert tops == [(10, 3), (11, 4), (11, 3)]


def test_a_reduced_order_keeps_its_place_and_an_emptied_one_leaves() -> None:
    book, orders = book_of(("a", SELL, 10, 5), ("b", SELL, 10, 3))
    book.reduce(orders["a"], 4)
    assert [fill.maker.order_id for fill in book.match(BUY, None, 2)] == ["a", "b"]
    book.reduce(orders["b"], 2)
    assert book.best_ask() is None
    assert orders["b"].level is None


def test_an_order_that_does_not_rest_cannot_be_cancelled_or_reduced() -> None:
    book, orders = book_of(("a", SELL, 10, 5))
    book.cancel(orders["a"])
    for change in (lambda: book.cancel(orders["a"]), lambda: book.reduce(orders["a"], 1)):
        with pytest.raises(ValueError):
            change()


def test_an_order_cannot_be_reduced_by_more_than_it_has() -> None:
    book, orders = book_of(("a", SELL, 10, 5))
    with pytest.raises(ValueError):
        book.reduce(orders["a"], 6)
    assert book.levels(SELL) == [(10, 5, 1)]


def test_levels_are_given_best_first_and_no_more_than_asked_for() -> None:
    book, _ = book_of(("a", BUY, 9, 1), ("b", BUY, 11, 2), ("c", BUY, 10, 3), ("d", BUY, 10, 4))
    assert book.levels(BUY) == [(11, 2, 1), (10, 7, 2), (9, 1, 1)]
    assert book.levels(BUY, 2) == [(11, 2, 1), (10, 7, 2)]
    assert book.levels(BUY, 0) == []
    assert book.levels(SELL, 3) == []


def test_the_recorded_google_morning_is_reproduced_fill_by_fill() -> None:
    """525 takes with their makers in order, and the top five of the book at 19,876 rows."""
    with gzip.open(shared("data/lobster/GOOG10_20k_book5.csv.gz"), "rt") as file:
        recorded = {row["row"]: row for row in csv.DictReader(file)}
    book: Book[RestingOrder] = Book()
    orders: dict[str, RestingOrder] = {}
    takes = checks = 0
    with gzip.open(shared("data/lobster/GOOG10_20k.csv.gz"), "rt") as file:
        for line in csv.DictReader(file):
            command, order_id = line["cmd"], line["order_id"]
            if command == "CHECK":
                assert five(book) == five_recorded(recorded[line["row"]]), line
                checks += 1
                continue
            if command == "CANCEL":
                book.cancel(orders.pop(order_id))
                continue
            quantity = int(line["qty"])
            if command == "REDUCE":
                book.reduce(orders[order_id], quantity)
                continue
            side, price = Side.BUY if line["side"] == "B" else Side.SELL, int(line["price"])
            fills = [(fill.maker.order_id, fill.quantity, fill.price) for fill in book.match(side, price, quantity)]
            if command != "NEW":
                makers = "|".join(f"{maker}:{lots}@{at}" for maker, lots, at in fills)
                assert makers == line["expect"], line
                takes += 1
            left = quantity - sum(lots for _, lots, _ in fills)
            if command != "TAKE" and left:
                orders[order_id] = RestingOrder(order_id, side, price, left)
                book.add(orders[order_id])
    assert (takes, checks) == (525, 19_876)


def five(book: Book[RestingOrder]) -> list[list[tuple[int, int]]]:
    """Returns the top five (price, lots) of each side."""
    return [[(price, lots) for price, lots, _ in book.levels(side, 5)] for side in (SELL, BUY)]


def five_recorded(row: dict[str, str]) -> list[list[tuple[int, int]]]:
    """Returns a recorded row's top five in the same shape."""
    return [[(int(row[f"{side}_px{n}"]), int(row[f"{side}_qty{n}"])) for n in range(1, 6)] for side in ("ask", "bid")]
