"""Decimals in Python, decimal strings on the wire."""

from __future__ import annotations

from decimal import Decimal

Number = Decimal | int | str
"""What prices and quantities may be given as. Floats are refused: 0.1 is not a tenth in binary."""


def to_wire(value: Number) -> str:
    """Writes a number in the contract's one spelling: no exponent, no trailing zeros, no "-0".

    Raises:
        TypeError: It is a float, or another type.
        ValueError: The text is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, Decimal | int | str):
        raise TypeError(f"give prices and quantities as Decimal, int or str, not {type(value).__name__}")
    try:
        number = Decimal(value)
    except ArithmeticError:
        raise ValueError(f"{value!r} is not a number") from None
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def from_wire(text: str) -> Decimal:
    """Reads a decimal string; an empty one is zero."""
    return Decimal(text or "0")


def from_wire_optional(text: str) -> Decimal | None:
    """Reads a decimal string; an empty one is None."""
    return Decimal(text) if text else None
