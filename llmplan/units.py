"""Text with a unit ↔ a float in base units, the only two places where units are converted.

`parse` reads what people write (``80 GiB``, ``400 Gb/s``, ``6.98 USD/h``), `write` prints the shortest text that
`parse` reads back as exactly the same float. QuantiPhy reads the number and its SI prefix; its defaults are fenced
(binary prefixes on, only the prefixes P T G M k m µ n p, only the units of `UNITS`).
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any

UNITS: dict[str, tuple[str, float]] = {
    "B": ("B", 1.0),
    "b": ("B", 1 / 8),
    "B/s": ("B/s", 1.0),
    "b/s": ("B/s", 1 / 8),
    "FLOP": ("FLOP", 1.0),
    "OP": ("FLOP", 1.0),
    "FLOP/s": ("FLOP/s", 1.0),
    "OP/s": ("FLOP/s", 1.0),
    "s": ("s", 1.0),
    "min": ("s", 60.0),
    "h": ("s", 3600.0),
    "day": ("s", 86400.0),
    "month": ("s", 2628000.0),
    "months": ("s", 2628000.0),
    "year": ("s", 31536000.0),
    "years": ("s", 31536000.0),
    "Hz": ("Hz", 1.0),
    "W": ("W", 1.0),
    "J": ("J", 1.0),
    "USD/h": ("USD/h", 1.0),
    "USD/month": ("USD/h", 1 / 730),
    "USD": ("USD", 1.0),
    "USD/kWh": ("USD/kWh", 1.0),
    "gCO2e/kWh": ("gCO2e/kWh", 1.0),
    "requests/s": ("requests/s", 1.0),
    "requests/min": ("requests/s", 1 / 60),
    "requests/h": ("requests/s", 1 / 3600),
    "tokens/s": ("tokens/s", 1.0),
}
"""Each unit people may write: the base unit it is of, and its size in that base unit.

A month is 730 h, a year 12 months.
"""

BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi")
DECIMAL = ("n", "u", "m", "", "k", "M", "G", "T", "P")
PREFIXED = frozenset({"B", "b", "B/s", "b/s", "FLOP", "OP", "FLOP/s", "OP/s", "s", "Hz", "W", "J"})
"""Units that take a prefix. Minutes, money and counts do not."""

HOURS_PER_MONTH = 730.0
MONTHS_PER_YEAR = 12.0
SECONDS_PER_HOUR = 3600.0
WATTS_PER_KW = 1000.0
BYTES_PER_GIB = 2.0**30
TOKENS_PER_MTOK = 1e6
PICOSECONDS_PER_S = 1e12

_SHAPE = re.compile(r"\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?)\s*([A-Za-zµμ%/0-9]+)\s*\Z")


class UnitError(ValueError):
    """A quantity that cannot be read, in words for the person who wrote it."""


@cache
def _reader() -> Any:
    from quantiphy import Quantity

    class Reader(Quantity):
        """QuantiPhy with its prefixes fenced in; a subclass, so that nobody else's settings change."""

    Reader.set_prefs(input_sf="PTGMkmunp", output_sf="PTGMkmunp")
    return Reader


@lru_cache(maxsize=4096)
def parse(text: str, unit: str) -> float:
    """Return the number that `text` means, in the base unit `unit`.

    Parameters
    ----------
    text : str
        A number, a space or none, and a unit of `UNITS` with or without prefix.
    unit : str
        The base unit wanted, such as ``B`` or ``requests/s``.

    Raises
    ------
    UnitError
        The text is no quantity, is not finite or negative, or is of another unit.
    """
    shape = _SHAPE.match(text)
    if shape is None:
        raise UnitError(f"{text!r} is not a quantity in {unit}")
    digits, suffix = shape.groups()
    if digits.startswith("-"):
        raise UnitError(f"{text!r} is negative")
    if suffix in UNITS:
        number, name = float(digits), suffix
    else:
        number, name = _prefixed(text, digits, suffix, unit)
    base, size = UNITS[name]
    if base != unit:
        raise UnitError(f"{text!r} is in {base}, but {unit} is wanted here")
    value = number * size if size >= 1 else number / (1 / size)
    if not math.isfinite(value):
        raise UnitError(f"{text!r} is too large")
    return value


def _prefixed(text: str, digits: str, suffix: str, unit: str) -> tuple[float, str]:
    """Read a suffix that is not a bare unit: an SI or binary prefix and a unit that takes one."""
    name = next((u for u in sorted(PREFIXED, key=len, reverse=True) if suffix.endswith(u)), None)
    prefix = suffix[: -len(name)] if name else ""
    allowed = {*DECIMAL, "µ", "μ", "p", *(BINARY if name and UNITS[name][0] in ("B", "B/s") else ())}
    if name is None or prefix not in allowed:
        raise UnitError(f"{text!r} has no unit that llmplan knows; {unit} is wanted here")
    plain = format(Decimal(digits), "f")  # QuantiPhy reads no exponent before a prefix
    quantity = _reader()(f"{plain} {suffix.replace('µ', 'u').replace('μ', 'u')}", binary=True)
    if quantity.units != name:
        raise UnitError(f"{text!r} has no unit that llmplan knows; {unit} is wanted here")
    return float(quantity), name


def write(value: float, unit: str) -> str:
    """Return the shortest text that `parse` reads back as exactly `value` in `unit`.

    Raises
    ------
    UnitError
        `value` is negative or not finite, or `unit` is no base unit.
    """
    if unit not in UNITS or UNITS[unit] != (unit, 1.0):
        raise UnitError(f"{unit!r} is not a base unit")
    if not math.isfinite(value) or value < 0:
        raise UnitError(f"{value!r} {unit} cannot be written")
    texts = [f"{_shortest(value)} {unit}"]
    if unit in PREFIXED and value:
        scales = {prefix: 10.0 ** (3 * k - 9) for k, prefix in enumerate(DECIMAL)}
        if unit == "B":
            scales |= {prefix: 2.0 ** (10 * (k + 1)) for k, prefix in enumerate(BINARY)}
        scaled = {prefix: value / scale for prefix, scale in scales.items()}
        texts += [f"{_shortest(x)} {prefix}{unit}" for prefix, x in scaled.items() if math.isfinite(x)]
    exact = [text for text in texts if parse(text, unit) == value]
    return min(exact, key=lambda text: (len(text), text))


def brief(value: float, unit: str) -> str:
    """Return a quantity for people: three digits in a handy prefix (`123 ms`, `79.2 GiB`, `3.35 TB/s`)."""
    if not math.isfinite(value) or value == 0:
        return f"{value:.3g} {unit}"
    if unit == "B":
        power = max(0, min(len(BINARY), int(math.log(abs(value), 1024))))
        scale, prefix = 1024.0**power, ("", *BINARY)[power]
    elif unit in PREFIXED:
        value = float(f"{value:.3g}")  # so that 999.9 ms is 1.00 s
        exponent = min(max(math.floor(math.log10(abs(value)) / 3 + 1e-9), -3), 5)
        scale, prefix = 10.0 ** (3 * exponent), DECIMAL[exponent + 3]
    else:
        scale, prefix = 1.0, ""
    return f"{significant(value / scale)} {prefix}{unit}"


def significant(number: float, digits: int = 3) -> str:
    """Return a number with so many significant digits and no exponent."""
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(number))))
    return f"{round(number, places):,.{places}f}"


def _shortest(number: float) -> str:
    text = repr(float(number))
    return text.removesuffix(".0")
