"""Decimal strings as the contracts write them, and their exact scaled integers.

Grammar: `-?(0|[1-9][0-9]*)(\\.[0-9]*[1-9])?` with at most 18 integer and 9 fraction digits, and no "-0". Each
value has exactly one spelling, so equal values are equal strings.
"""

import re
from decimal import Decimal

MAX_INTEGER_DIGITS = 18
MAX_FRACTION_DIGITS = 9
MONEY_SCALE = 8
"""Fraction digits of money inside: one unit is 1e-8 of the currency."""
MAX_MONEY = 10**18
"""Largest money amount of one order or deposit, in units: sums of several still fit 64 bits."""
MAX_ACCOUNT_MONEY = 4 * 10**18
"""Most that an account's cash, and its profit and costs, can ever come to, in units. The journal has 64 bits."""

_CANONICAL = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{0,8}[1-9])?", re.ASCII)


def parse_decimal(text: str) -> Decimal:
    """Reads a decimal string.

    Raises:
        ValueError: The text is not in the grammar; the message names the fault and its remedy.
    """
    if _CANONICAL.fullmatch(text) is None or text == "-0":
        raise ValueError(_fault(text))
    return Decimal(text)


def format_decimal(value: Decimal) -> str:
    """Writes a decimal in its one spelling.

    Raises:
        ValueError: The value is not finite or has more digits than the grammar allows.
    """
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if text == "-0":
        text = "0"
    if _CANONICAL.fullmatch(text) is None:
        raise ValueError(_fault(text))
    return text


def to_scaled(value: Decimal, scale: int) -> int:
    """Returns `value * 10**scale` as an integer.

    Raises:
        ValueError: The value has more than `scale` fraction digits; it is never rounded.
    """
    numerator, denominator = value.as_integer_ratio()
    factor: int = 10**scale
    units, remainder = divmod(numerator * factor, denominator)
    if remainder:
        raise ValueError(f"{value} has more than {scale} fraction digits")
    return units


def format_scaled(units: int, scale: int) -> str:
    """Writes `units * 10**-scale` in its one spelling."""
    sign = "-" if units < 0 else ""
    whole, fraction = divmod(abs(units), 10**scale)
    if not fraction:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:0{scale}d}".rstrip("0")


def parse_money(text: str) -> int:
    """Reads a decimal string as money units of 1e-8.

    Raises:
        ValueError: The text is not in the grammar or finer than 1e-8.
    """
    return to_scaled(parse_decimal(text), MONEY_SCALE)


def format_money(units: int) -> str:
    """Writes money units of 1e-8 as a decimal string."""
    return format_scaled(units, MONEY_SCALE)


def _fault(text: str) -> str:
    """Says in one sentence what is wrong with a text and how to write it."""
    shown = text if len(text) <= 40 else text[:37] + "..."
    digits = text.removeprefix("-")
    whole, point, fraction = digits.partition(".")
    if not text:
        return "an empty string is not a decimal; write 0 for zero"
    if text == "-0" or (digits.strip("0.") == "" and text.startswith("-") and whole):
        return f"'{shown}' is a negative zero; write 0"
    if "e" in digits.lower() and digits[:1].isdigit():
        return f"'{shown}' has an exponent; write all digits"
    if text.startswith("+"):
        return f"'{shown}' has a plus sign; leave it out"
    if not (whole.isascii() and whole.isdigit()) or (
        point and fraction and not (fraction.isascii() and fraction.isdigit())
    ):
        return f"'{shown}' is not a decimal; write digits with an optional sign and one point, such as -12.5"
    if len(whole) > 1 and whole.startswith("0"):
        return f"'{shown}' has leading zeros; leave them out"
    if point and not fraction:
        return f"'{shown}' ends with a point; leave it out"
    if fraction.endswith("0"):
        return f"'{shown}' has trailing zeros; leave them out"
    if len(whole) > MAX_INTEGER_DIGITS:
        return f"'{shown}' has more than {MAX_INTEGER_DIGITS} integer digits; send a smaller value"
    return f"'{shown}' has more than {MAX_FRACTION_DIGITS} fraction digits; send fewer"
