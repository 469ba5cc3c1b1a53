"""The table of bad input: what is sent, and which refusal it must get."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aac.analytics.v1.analytics_pb2 import ComputeIndicatorsRequest, IndicatorSpec
from aac.auth.v1 import auth_pb2
from aac.gateway.v1 import gateway_pb2
from aac.marketdata.v1 import marketdata_pb2
from aac.risk.v1 import risk_pb2
from aac.trading.v1 import trading_pb2
from aac.type.v1.money_pb2 import Money
from aac.type.v1.page_pb2 import PageRequest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

AUTH = "/aac.auth.v1.AuthService/"
TRADING = "/aac.trading.v1.TradingService/"
MARKET = "/aac.marketdata.v1.MarketDataService/"
RISK = "/aac.risk.v1.RiskService/"
ANALYTICS = "/aac.analytics.v1.AnalyticsService/"
GATEWAY = "/aac.gateway.v1.GatewayService/"


@dataclass(frozen=True)
class World:
    """What there is when bad input comes."""

    venue: str
    account: str
    """The trader's."""
    other_account: str
    """Of another trader."""
    order_id: str
    """An open order of the trader's."""
    client_order_id: str
    """Its client key."""
    other_order_id: str
    """An order of the other trader's."""
    used_request_id: str
    """Request id under which the trader has amended and cancelled."""
    tokens: Mapping[str, str]
    """By caller: trader, other, viewer, admin; and damaged ones."""
    api_keys: Mapping[str, str] = field(default_factory=dict)
    """Wrong ones, by what is wrong."""


Make = Callable[[World], Message | bytes]


@dataclass(frozen=True)
class Bad:
    """One bad input."""

    name: str
    method: str
    request: Make
    expected: str
    """Status code and reason."""
    fields: tuple[str, ...] = ()
    """Every field at fault."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Facts that ErrorInfo must hold."""
    caller: str = "trader"
    """Whose token is sent; empty for none."""
    api_key: str = ""
    """Which wrong API key is sent."""

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


FIELDS = "INVALID_ARGUMENT INVALID_FIELDS"
NOT_FOUND = "NOT_FOUND NOT_FOUND"
KEY_REUSED = "ALREADY_EXISTS KEY_REUSED"
SCOPE = "PERMISSION_DENIED MISSING_SCOPE"
FOREIGN = "PERMISSION_DENIED FOREIGN_ACCOUNT"
UNAUTHENTICATED = "UNAUTHENTICATED "


def place(world: World, **fields: Any) -> trading_pb2.PlaceOrderRequest:
    """A good order, but for what is given."""
    good: dict[str, Any] = {
        "venue": world.venue,
        "client_order_id": "bad-input",
        "symbol": "GOOG",
        "side": 1,
        "type": 1,
        "quantity": "10",
        "price": "570.12",
    }
    return trading_pb2.PlaceOrderRequest(**{**good, **fields})


def bad_order(name: str, fields: str, **given: Any) -> Bad:
    """An order with faulty fields."""
    return Bad(name, TRADING + "PlaceOrder", lambda world: place(world, **given), FIELDS, tuple(fields.split()))


def credentials() -> Iterator[Bad]:
    """Who calls is not known, or not right."""
    for caller, reason in {
        "": "UNAUTHENTICATED",
        "garbage": "INVALID_TOKEN",
        "empty": "INVALID_TOKEN",
        "damaged": "INVALID_TOKEN",
        "by_a_stranger": "INVALID_TOKEN",
        "by_nobody": "INVALID_TOKEN",
        "of_another_issuer": "INVALID_TOKEN",
        "expired": "EXPIRED_TOKEN",
    }.items():
        name = f"token {caller or 'missing'}".replace("_", " ")
        yield Bad(name, TRADING + "PlaceOrder", place, UNAUTHENTICATED + reason, caller=caller)
        yield Bad(f"{name} on a stream", TRADING + "WatchOrders", watch, UNAUTHENTICATED + reason, caller=caller)
        yield Bad(f"{name} at the gateway itself", GATEWAY + "GetOverview", overview, UNAUTHENTICATED + reason,
                  caller=caller)  # fmt: skip
    for key, reason in {"garbage": "WRONG_CREDENTIALS", "revoked": "REVOKED_TOKEN"}.items():
        yield Bad(f"API key {key}", TRADING + "PlaceOrder", place, UNAUTHENTICATED + reason, caller="", api_key=key)
        yield Bad(f"API key {key} at the gateway itself", GATEWAY + "GetOverview", overview, UNAUTHENTICATED + reason,
                  caller="", api_key=key)  # fmt: skip
    wrong = UNAUTHENTICATED + "WRONG_CREDENTIALS"
    login = AUTH + "Login"
    yield Bad("login with a wrong password", login, lambda world: auth_pb2.LoginRequest(
        username="admin", password="not it"), wrong, caller="")  # fmt: skip
    yield Bad("login of nobody", login, lambda world: auth_pb2.LoginRequest(
        username="nobody-at-all", password="not it"), wrong, caller="")  # fmt: skip
    yield Bad("login without a word", login, lambda world: auth_pb2.LoginRequest(), FIELDS,
              ("username", "password"), caller="")  # fmt: skip
    yield Bad("refresh with garbage", AUTH + "Refresh", lambda world: auth_pb2.RefreshRequest(
        refresh_token="garbage", request_id="x"), UNAUTHENTICATED + "INVALID_TOKEN", caller="")  # fmt: skip


def rights() -> Iterator[Bad]:
    """The caller is known, and may not."""
    scope = {"scope": "orders:write"}
    yield Bad("viewer places an order", TRADING + "PlaceOrder", place, SCOPE, metadata=scope, caller="viewer")
    yield Bad("trader makes a user", AUTH + "CreateUser", lambda world: auth_pb2.CreateUserRequest(), SCOPE,
              metadata={"scope": "auth:admin"})  # fmt: skip
    yield Bad("trader sets limits", RISK + "SetLimits", lambda world: risk_pb2.SetLimitsRequest(
        account_id=world.account), SCOPE, metadata={"scope": "risk:write"})  # fmt: skip
    yield Bad("trader watches domain events", GATEWAY + "WatchEvents", lambda world: gateway_pb2.WatchEventsRequest(),
              SCOPE, metadata={"scope": "events:read"})  # fmt: skip
    yield Bad("trader opens an account", TRADING + "OpenAccount", lambda world: trading_pb2.OpenAccountRequest(
        venue=world.venue, account_id=world.account, cash=Money(currency="USD", amount="1")), SCOPE)  # fmt: skip
    for account in ("other", "no"):

        def named(world: World, account: str = account) -> str:
            return world.other_account if account == "other" else "no-such-account"

        for method, make in {
            TRADING + "PlaceOrder": lambda world, named=named: place(world, account_id=named(world)),
            TRADING + "CancelOrder": lambda world, named=named: cancel(world, account_id=named(world)),
            TRADING + "GetAccount": lambda world, named=named: trading_pb2.GetAccountRequest(
                venue=world.venue, account_id=named(world)),
            TRADING + "ListExecutions": lambda world, named=named: trading_pb2.ListExecutionsRequest(
                venue=world.venue, account_id=named(world)),
            TRADING + "WatchOrders": lambda world, named=named: watch(world, account_id=named(world)),
            GATEWAY + "GetOverview": lambda world, named=named: overview(world, account_id=named(world)),
            RISK + "GetExposure": lambda world, named=named: risk_pb2.GetExposureRequest(
                venue=world.venue, account_id=named(world)),
        }.items():  # fmt: skip
            yield Bad(f"account of {account}body by {method.rpartition('/')[2]}", method, make, FOREIGN)


def orders() -> Iterator[Bad]:
    """Orders that can't be read as orders."""
    yield bad_order("price off tick", "price", price="570.123")
    yield bad_order("quantity off lot", "quantity", quantity="0.5")
    yield bad_order("price off tick and quantity off lot", "quantity price", quantity="0.5", price="570.123")
    for text in ("-5", "0", "1e3", "1E3", "10.0", "10.", "+5", "05", " 5", "5 ", "NaN", "Infinity", "1,000", "0x10",
                 "\u0661", "", "1" * 19, "0.0000000001"):  # fmt: skip
        yield bad_order(f"quantity {text!r}", "quantity", quantity=text)
    for text in ("-570.12", "570.10", "5.7e2", "0", "570.12.1"):
        yield bad_order(f"price {text!r}", "price", price=text)
    yield bad_order("limit order without a price", "price", price="")
    yield bad_order("market order with a price", "price", type=2)
    yield bad_order("market order that rests", "time_in_force", type=2, price="", time_in_force=1)
    yield bad_order("side of nothing", "side", side=0)
    yield bad_order("side that is none", "side", side=7)
    yield bad_order("time in force that is none", "time_in_force", time_in_force=9)
    yield bad_order("client key missing", "client_order_id", client_order_id="")
    yield bad_order("client key with spaces", "client_order_id", client_order_id="a b")
    yield bad_order("client key too long", "client_order_id", client_order_id="k" * 65)
    yield bad_order("symbol that is not listed", "symbol", symbol="NOPE")
    yield bad_order("everything wrong at once", "venue client_order_id symbol side time_in_force quantity price",
                    venue="!", client_order_id="", symbol="", side=9, time_in_force=9, quantity="-1",
                    price="1e5")  # fmt: skip
    amend, cancels = TRADING + "AmendOrder", TRADING + "CancelOrder"
    yield Bad("amend of no order", amend, lambda world: trading_pb2.AmendOrderRequest(
        venue=world.venue, price="1", request_id="x"), FIELDS, ("id",))  # fmt: skip
    yield Bad("amend of nothing", amend, lambda world: change(world, price=""), FIELDS, ("price",))
    yield Bad("amend off tick and off lot", amend, lambda world: change(world, price="1.001", open_quantity="0.1"),
              FIELDS, ("price", "open_quantity"))  # fmt: skip
    yield Bad("cancel without a key", cancels, lambda world: cancel(world, request_id=""), FIELDS, ("request_id",))


def unknown() -> Iterator[Bad]:
    """What is asked for is not there."""
    for name in ("PlaceOrder", "WatchOrders", "GetOrder", "ListOrders", "GetAccount"):
        make: Make = {
            "PlaceOrder": lambda world: place(world, venue="no-such-venue"),
            "WatchOrders": lambda world: watch(world, venue="no-such-venue"),
            "GetOrder": lambda world: trading_pb2.GetOrderRequest(venue="no-such-venue", order_id="x"),
            "ListOrders": lambda world: trading_pb2.ListOrdersRequest(venue="no-such-venue"),
            "GetAccount": lambda world: trading_pb2.GetAccountRequest(venue="no-such-venue"),
        }[name]
        yield Bad(f"unknown venue by {name}", TRADING + name, make, NOT_FOUND, metadata={"kind": "venue"})
    for name in ("GetBook", "GetInstrument", "ListTrades"):
        request = getattr(marketdata_pb2, f"{name}Request")
        yield Bad(f"unknown venue by {name}", MARKET + name, lambda world, request=request: request(
            venue="no-such-venue", symbol="GOOG"), NOT_FOUND, metadata={"kind": "venue"})  # fmt: skip
        yield Bad(f"unknown symbol by {name}", MARKET + name, lambda world, request=request: request(
            venue=world.venue, symbol="NOPE"), NOT_FOUND, metadata={"kind": "instrument"})  # fmt: skip
    yield Bad("unknown symbols by GetQuotes", MARKET + "GetQuotes", lambda world: marketdata_pb2.GetQuotesRequest(
        venue=world.venue, symbols=["GOOG", "NOPE", "NADA"]), FIELDS, ("symbols[1]", "symbols[2]"))  # fmt: skip
    yield Bad("unknown symbol by ComputeIndicators", ANALYTICS + "ComputeIndicators", lambda world: indicators(
        world, symbol="NOPE"), NOT_FOUND, metadata={"kind": "instrument"})  # fmt: skip
    for whose in ("nobody", "another"):

        def order_id(world: World, whose: str = whose) -> str:
            return world.other_order_id if whose == "another" else "no-such-order"

        for name, request in {
            "GetOrder": lambda world, find=order_id: trading_pb2.GetOrderRequest(
                venue=world.venue, order_id=find(world)),
            "AmendOrder": lambda world, find=order_id: change(world, order_id=find(world)),
            "CancelOrder": lambda world, find=order_id: cancel(world, order_id=find(world)),
        }.items():  # fmt: skip
            yield Bad(f"order of {whose} by {name}", TRADING + name, request, NOT_FOUND, metadata={"kind": "order"})
    yield Bad("API key of nobody", AUTH + "RevokeApiKey", lambda world: auth_pb2.RevokeApiKeyRequest(key_id="nope"),
              NOT_FOUND)  # fmt: skip


def reused() -> Iterator[Bad]:
    """A client key that holds another request."""
    yield Bad("client order id", TRADING + "PlaceOrder", lambda world: place(
        world, client_order_id=world.client_order_id, quantity="11"), KEY_REUSED)  # fmt: skip
    yield Bad("amend key", TRADING + "AmendOrder", lambda world: change(
        world, request_id=world.used_request_id, price="1"), KEY_REUSED)  # fmt: skip
    yield Bad("cancel key", TRADING + "CancelOrder", lambda world: cancel(
        world, request_id=world.used_request_id), KEY_REUSED)  # fmt: skip
    yield Bad("account opened with other cash", TRADING + "OpenAccount", lambda world: trading_pb2.OpenAccountRequest(
        venue=world.venue, account_id=world.account, cash=Money(currency="USD", amount="7")),
        KEY_REUSED, caller="admin")  # fmt: skip


def lists_and_history() -> Iterator[Bad]:
    """Pages, spans, parameters."""
    for size in (-1, 1001):
        yield Bad(f"page of {size}", TRADING + "ListOrders", lambda world, size=size: trading_pb2.ListOrdersRequest(
            venue=world.venue, page=PageRequest(page_size=size)), FIELDS, ("page.page_size",))  # fmt: skip
    for name in ("ListOrders", "ListExecutions", "ListPositions"):
        request = getattr(trading_pb2, f"{name}Request")
        yield Bad(f"page token that is none by {name}", TRADING + name, lambda world, request=request: request(
            venue=world.venue, page=PageRequest(page_token="bogus!")), FIELDS, ("page.page_token",))  # fmt: skip
    # [1, 2] in base64: well formed, and of no list.
    yield Bad("page token of another list", TRADING + "ListOrders", lambda world: trading_pb2.ListOrdersRequest(
        venue=world.venue, page=PageRequest(page_token="WzEsMl0")), FIELDS, ("page.page_token",))  # fmt: skip
    for text, interval in {
        "no": None,
        "zero": Duration(),
        "half a": Duration(nanos=500_000_000),
        "one and a half": Duration(seconds=1, nanos=500_000_000),
        "a negative": Duration(seconds=-60),
        "a week of": Duration(seconds=604_800),
    }.items():
        yield Bad(f"candles of {text} interval", MARKET + "ListCandles",
                  lambda world, interval=interval: marketdata_pb2.ListCandlesRequest(
                      venue=world.venue, symbol="GOOG", interval=interval), FIELDS, ("interval",))  # fmt: skip
    yield Bad("book too deep", MARKET + "GetBook", lambda world: marketdata_pb2.GetBookRequest(
        venue=world.venue, symbol="GOOG", depth=1001), FIELDS, ("depth",))  # fmt: skip
    yield Bad("quotes of nothing", MARKET + "GetQuotes", lambda world: marketdata_pb2.GetQuotesRequest(
        venue=world.venue), FIELDS, ("symbols",))  # fmt: skip
    yield Bad("quotes of too much", MARKET + "GetQuotes", lambda world: marketdata_pb2.GetQuotesRequest(
        venue=world.venue, symbols=[f"S{number}" for number in range(101)]), FIELDS, ("symbols",))  # fmt: skip
    for name, parameters in {"negative": {"period": -1.0}, "zero": {"period": 0.0}, "NaN": {"period": float("nan")},
                             "infinite": {"period": float("inf")}, "huge": {"period": 1e18},
                             "unknown": {"wavelength": 3.0}}.items():  # fmt: skip
        yield Bad(f"indicator with a parameter that is {name}", ANALYTICS + "ComputeIndicators",
                  lambda world, parameters=parameters: indicators(
                      world, indicators=[IndicatorSpec(kind=1, parameters=parameters)]), FIELDS,
                  ("indicators[0].parameters",))  # fmt: skip
    yield Bad("limits that are none", RISK + "SetLimits", lambda world: risk_pb2.SetLimitsRequest(
        venue=world.venue, account_id=world.account, request_id="x",
        limits=risk_pb2.Limits(price_band="-1", max_position="1e9")), FIELDS,
        ("limits.price_band", "limits.max_position"), caller="admin")  # fmt: skip


def malformed() -> Iterator[Bad]:
    """Bytes that are no message, and messages that are too large."""
    garbage = "INVALID_ARGUMENT MALFORMED"
    large = "RESOURCE_EXHAUSTED MESSAGE_TOO_LARGE"
    methods = {
        "PlaceOrder": TRADING, "WatchOrders": TRADING, "Stream": MARKET, "GetQuotes": MARKET, "GetLimits": RISK,
        "ComputeIndicators": ANALYTICS, "Login": AUTH, "GetOverview": GATEWAY,
    }  # fmt: skip
    for name, service in methods.items():
        yield Bad(f"garbage to {name}", service + name, lambda world: b"\xff\xff\xff\xff garbage", garbage)
        yield Bad(f"text that is not UTF-8 to {name}", service + name, lambda world: b"\x0a\x02\xc3\x28", garbage)
        yield Bad(f"a large message to {name}", service + name, lambda world: b"\x7a\x80\x80\x80\x01" + bytes(2 << 20),
                  large, metadata={"limit": str(1 << 20), "actual": str((2 << 20) + 5)})  # fmt: skip
    yield Bad("garbage to WatchEvents", GATEWAY + "WatchEvents", lambda world: b"\xff\xff garbage", garbage,
              caller="admin")  # fmt: skip


def change(world: World, **fields: Any) -> trading_pb2.AmendOrderRequest:
    """A good amend, but for what is given."""
    good = {"venue": world.venue, "order_id": world.order_id, "price": "570", "request_id": "bad-input"}
    return trading_pb2.AmendOrderRequest(**{**good, **fields})


def cancel(world: World, **fields: Any) -> trading_pb2.CancelOrderRequest:
    """A good cancel, but for what is given."""
    good = {"venue": world.venue, "order_id": world.order_id, "request_id": "bad-input"}
    return trading_pb2.CancelOrderRequest(**{**good, **fields})


def watch(world: World, **fields: Any) -> trading_pb2.WatchOrdersRequest:
    """A good watch, but for what is given."""
    return trading_pb2.WatchOrdersRequest(**{"venue": world.venue, **fields})


def overview(world: World, **fields: Any) -> gateway_pb2.GetOverviewRequest:
    """A good request of an overview, but for what is given."""
    return gateway_pb2.GetOverviewRequest(**{"venue": world.venue, **fields})


def indicators(world: World, **fields: Any) -> ComputeIndicatorsRequest:
    """A good request of indicators, but for what is given."""
    good: dict[str, Any] = {
        "venue": world.venue,
        "symbol": "GOOG",
        "interval": Duration(seconds=60),
        "indicators": [IndicatorSpec(kind=1)],
    }
    return ComputeIndicatorsRequest(**{**good, **fields})


TABLE = [
    *credentials(), *rights(), *orders(), *unknown(), *reused(), *lists_and_history(), *malformed(),
]  # fmt: skip
