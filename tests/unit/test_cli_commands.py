"""The command line without a platform: help, usage, errors, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer.main
from aac.event.v1.event_pb2 import Event

from aac_grpc.cli import output
from aac_grpc.cli.app import COMMANDS, build, run
from aac_grpc.cli.events import event_line
from aac_grpc.cli.failures import explain
from aac_grpc.cli.live import Tape
from aac_grpc.cli.market import parse_interval
from aac_grpc.cli.orders import print_reasons
from aac_grpc.cli.up import parse_speed
from aac_grpc.client.connection import cause_of
from aac_grpc.client.errors import AacError, InvalidField, NotFound, PermissionDenied, Unauthenticated, Unavailable
from aac_grpc.client.models import Quote, RejectReason
from aac_grpc.client.updates import QuoteUpdate


def command(*arguments: str) -> tuple[int, str, str]:
    """Runs `aac` as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "aac_grpc.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def all_commands() -> dict[str, Any]:
    """Every command and subcommand by its words."""
    found: dict[str, Any] = {}
    for name in COMMANDS:
        made: Any = typer.main.get_command(build(name))
        one = made.commands[name]
        for inner, sub in getattr(one, "commands", {"": one}).items():
            found[f"{name} {inner}".strip()] = sub
    return found


ALL = all_commands()
SHAPE = {"code", "reason", "message", "fields", "metadata", "remedy", "retry_after", "request_id"}


def test_help_names_every_command_and_imports_none_of_them() -> None:
    program = (
        "import sys; from aac_grpc.cli.app import run\n"
        "try: run(['--help'])\n"
        "except SystemExit: print('imported', *sorted({'grpc', 'psycopg', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    for name in COMMANDS:
        assert f" {name} " in done.stdout
    assert done.stdout.rstrip().endswith("imported")


@pytest.mark.parametrize("words", [words for words in ALL if words != "serve"])
def test_every_command_prints_json_where_it_is_asked_to(words: str) -> None:
    assert "--json" in [option for parameter in ALL[words].params for option in parameter.opts]


@pytest.mark.parametrize("words", list(ALL))
def test_every_command_and_every_option_says_what_it_does(words: str) -> None:
    assert ALL[words].help, words
    for parameter in ALL[words].params:
        assert getattr(parameter, "help", None), f"{words}: {parameter.name}"


def test_wrong_usage_ends_with_two() -> None:
    assert command("quote", "--nope")[0] == 2
    assert command("nope")[0] == 2


def test_a_number_that_is_none_is_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        run(["order", "place", "buy", "ten", "GOOG", "--target", "127.0.0.1:1"])
    assert ended.value.code == 2


def test_nobody_there_is_a_sentence_and_ends_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("AAC_STATE_DIR", str(tmp_path / "state"))
    code, _, said = command("status", "--json")
    assert (code, said) == (1, "")


def test_an_error_names_its_fields_and_the_request(capsys: pytest.CaptureFixture[str]) -> None:
    error = InvalidField("price", "is not a multiple of the tick size 0.01")
    error.request_id = "abc123"
    assert explain(error, as_json=False) == 1
    said = capsys.readouterr().err
    assert "✗ Invalid price" in said
    assert "price: is not a multiple of the tick size 0.01" in said
    assert "request id abc123" in said


def test_an_error_for_programs_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(InvalidField("price", "is off tick"), as_json=True) == 1
    error = json.loads(capsys.readouterr().err)["error"]
    assert set(error) == SHAPE
    assert (error["code"], error["reason"]) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert error["fields"] == [{"field": "price", "description": "is off tick"}]


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(KeyError):
        explain(KeyError("bug"), as_json=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("quote", "--nope"),
        ("order", "place", "buy", "-5", "GOOG"),
        ("order", "place", "buy", "1", "GOOG", "--tif", "day"),
        ("quote", "GOOG", "--target", "localhost"),
        ("restart",),
        ("up", "--day", "/nowhere"),
        ("login",),
    ],
)
def test_every_error_for_programs_has_the_same_shape(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AAC_STATE_DIR", str(tmp_path / "state"))
    code, printed, said = command(*arguments, "--json")
    assert (code in (1, 2), printed) == (True, "")
    assert set(json.loads(said)["error"]) == SHAPE


def test_backends_that_can_not_be_reached_are_told_by_variable_and_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AAC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:s3cret@127.0.0.1:1/aac")
    monkeypatch.setenv("REDIS_URL", "redis://:s3cret@nobody.invalid:6379/0")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1,127.0.0.1:2")
    for detach in ((), ("--detach",)):
        code, printed, said = command("up", "--json", *detach)
        assert (code, printed) == (1, "")
        error = json.loads(said)["error"]
        refused = "can't be reached: connection refused: nobody listens there"
        assert {one["field"]: one["description"] for one in error["fields"]} == {
            "DATABASE_URL": f"127.0.0.1:1 {refused}",
            "REDIS_URL": "nobody.invalid:6379 can't be reached: the name of the host is not known",
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:1, 127.0.0.1:2 {refused}",
        }
        assert "s3cret" not in said
        assert "mend DATABASE_URL and REDIS_URL" in error["remedy"]
        assert "starts PostgreSQL and Valkey and Kafka itself" in error["remedy"]
    assert list((tmp_path / "state" / "logs").iterdir()) == []


@pytest.mark.parametrize("target", ["localhost", "http://127.0.0.1:50050", "127.0.0.1:99999", ":50050", "a:1,b"])
def test_a_target_that_is_no_address_is_refused_before_anything_is_called(target: str) -> None:
    code, _, said = command("quote", "GOOG", "--target", target)
    assert code == 2
    assert "is not host:port" in said
    assert "127.0.0.1:50050" in said


@pytest.mark.parametrize("arguments", [("quote", "--nope"), ("order", "place", "buy"), ("trades", "GOOG", "-n", "0")])
def test_wrong_usage_is_json_for_programs_too(arguments: tuple[str, ...]) -> None:
    code, printed, said = command(*arguments, "--json")
    assert (code, printed) == (2, "")
    error = json.loads(said)["error"]
    assert error["reason"] == "WrongUsage"
    assert error["message"]


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (NotFound("instrument", "main/NOPE"), "aac instruments"),
        (InvalidField("symbols[0]", "there is no instrument 'NOPE' in venue 'main'"), "aac instruments"),
        (NotFound("order", "main-1"), "aac order list"),
        (PermissionDenied("lacks mesh:read", reason="MISSING_SCOPE"), "--as admin"),
        (Unavailable("nobody answers"), "aac status"),
        (Unauthenticated("the session has ended", reason="REVOKED_TOKEN"), "aac login USER"),
        (PermissionDenied("not yours", reason="FOREIGN_ACCOUNT"), "leave --account out"),
        (NotFound("venue", "nope"), "leave --venue out"),
    ],
)
def test_an_error_says_what_to_do(error: AacError, remedy: str, capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        explain(error, as_json=as_json)
        assert remedy in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("hold", "1"), "'hold' is not a side; there are buy, sell"),
        (("buy", "ten"), "quantity: 'ten' is not a quantity\n  write a number"),
        (("buy", "NaN"), "quantity: 'NaN' is not a quantity\n  write a number"),
        (
            ("buy", "-5"),
            "quantity: -5 is not above zero\n  a quantity is above zero whatever the side: to sell, say `sell`",
        ),
        (("--price", "570", "sell", "-0.5"), "quantity: -0.5 is not above zero"),
        (("buy", "0"), "quantity: 0 is not above zero"),
        (("buy", "1", "--price", "x"), "price: 'x' is not a price\n  write a number"),
        (("buy", "1", "--price", "-5"), "price: -5 is not above zero\n  a limit price is above zero"),
        (("buy", "1", "-p", "0.0"), "price: 0.0 is not above zero"),
        (("buy", "1", "--tif", "day"), "'day' is not a time in force; there are gtc, ioc, fok"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_by_what_is_wrong_with_it(
    arguments: tuple[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["order", "place", *arguments, "GOOG", "--target", "127.0.0.1:1", "--api-key", "aac_x"])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_rejection_tells_the_limit_and_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output.console, "file", sys.stdout)
    print_reasons((RejectReason("PRICE_BAND", "the price is too far", Decimal("57.5"), Decimal("430.25")),))
    assert capsys.readouterr().out == "PRICE_BAND the price is too far (limit 57.5, actual 430.25)\n"


def test_a_quote_is_printed_where_what_is_shown_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output.console, "file", sys.stdout)
    tape = Tape()
    for sequence, (symbol, bid) in enumerate([("ACME", 99), ("ACME", 99), ("INITECH", 99), ("ACME", 98), ("ACME", 99)]):
        price = Decimal(bid)
        quote = Quote("main", symbol, price, Decimal(5), None, None, price + sequence, Decimal(1), sequence, None)
        tape.print(QuoteUpdate("main", symbol, quote))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == ["ACME 5 @ 99 | -", "INITECH 5 @ 99 | -", "ACME 5 @ 98 | -", "ACME 5 @ 99 | -"]


def test_a_day_that_is_not_there_is_the_fault_of_its_option() -> None:
    code, _, said = command("up", "--day", "/nowhere", "--json")
    error = json.loads(said)["error"]
    assert (code, error["fields"]) == (2, [{"field": "--day", "description": "there is no /nowhere"}])


def test_of_what_grpc_says_about_a_dead_target_the_cause_is_told() -> None:
    raw = "connections to all backends failing; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host"
    assert cause_of(f"{raw}: Connection refused") == "Connection refused"
    assert cause_of("errors resolving x: [field:hostname lookup error:address lookup failed: Not found]") == "Not found"
    assert cause_of("GOAWAY received") == "GOAWAY received"


def test_an_event_takes_a_line_of_80_columns() -> None:
    event = Event(type="aac.trade.executed", key="main/INITECH")
    event.occurred_at.FromMilliseconds(1_772_000_000_123)
    event.trade.symbol, event.trade.quantity, event.trade.price = "INITECH", "1000", "31.465"
    assert len(event_line(event).plain) <= 80 + len("2026-02-25 06:13:20") - len("13:06:41.123")


def test_an_error_never_holds_markup_of_the_servers(capsys: pytest.CaptureFixture[str]) -> None:
    explain(Unavailable("[bold]x[/nope]"), as_json=False)
    assert "[bold]x[/nope]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("1h", timedelta(hours=1)),
        ("1d", timedelta(days=1)),
    ],
)
def test_intervals_are_numbers_with_a_unit(text: str, length: timedelta) -> None:
    assert parse_interval(text) == length


@pytest.mark.parametrize("text", ["", "5", "m", "0s", "-1m", "1.5h", "1w"])
def test_other_intervals_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write 30s"):
        parse_interval(text)


def test_a_speed_is_a_factor_or_max() -> None:
    assert (parse_speed("10"), parse_speed("0.5"), parse_speed("max")) == (10, 0.5, 0)
    for text in ("0", "-1", "fast", ""):
        with pytest.raises(ValueError, match="or max"):
            parse_speed(text)
