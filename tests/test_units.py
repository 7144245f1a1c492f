from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmplan.units import BINARY, DECIMAL, PREFIXED, UNITS, UnitError, brief, parse, significant, write

BASE_UNITS = sorted({base for base, _ in UNITS.values()})

ROWS = [
    ("3 B", "B", 3.0),
    ("8 b", "B", 1.0),
    ("3 B/s", "B/s", 3.0),
    ("8 b/s", "B/s", 1.0),
    ("3 FLOP", "FLOP", 3.0),
    ("3 OP", "FLOP", 3.0),
    ("3 FLOP/s", "FLOP/s", 3.0),
    ("3 OP/s", "FLOP/s", 3.0),
    ("3 s", "s", 3.0),
    ("1 min", "s", 60.0),
    ("2 h", "s", 7200.0),
    ("1 day", "s", 86400.0),
    ("1 month", "s", 730 * 3600.0),
    ("12 months", "s", 31536000.0),
    ("1 year", "s", 12 * 730 * 3600.0),
    ("3 years", "s", 94608000.0),
    ("3 Hz", "Hz", 3.0),
    ("3 W", "W", 3.0),
    ("3 J", "J", 3.0),
    ("6.98 USD/h", "USD/h", 6.98),
    ("730 USD/month", "USD/h", 1.0),
    ("280000 USD", "USD", 280000.0),
    ("0.14 USD/kWh", "USD/kWh", 0.14),
    ("400 gCO2e/kWh", "gCO2e/kWh", 400.0),
    ("24 requests/s", "requests/s", 24.0),
    ("90 requests/min", "requests/s", 1.5),
    ("1800 requests/h", "requests/s", 0.5),
    ("7 tokens/s", "tokens/s", 7.0),
]


@pytest.mark.parametrize(("text", "unit", "value"), ROWS)
def test_each_unit_has_its_size(text, unit, value):
    assert parse(text, unit) == value


def test_no_unit_is_left_out_of_the_table_above():
    assert {text.split()[1] for text, _, _ in ROWS} == set(UNITS)
    assert all(UNITS[text.split()[1]][0] == unit for text, unit, _ in ROWS)


FIVES = {
    "n": 5e-9,
    "u": 5e-6,
    "m": 5e-3,
    "": 5.0,
    "k": 5e3,
    "M": 5e6,
    "G": 5e9,
    "T": 5e12,
    "P": 5e15,
    "Ki": 5120.0,
    "Mi": 5242880.0,
    "Gi": 5368709120.0,
    "Ti": 5497558138880.0,
    "Pi": 5629499534213120.0,
}


def test_no_prefix_is_left_out_of_the_table_above():
    assert set(FIVES) == {*DECIMAL, *BINARY}


@pytest.mark.parametrize("prefix", DECIMAL)
@pytest.mark.parametrize("unit", sorted(PREFIXED))
def test_each_decimal_prefix_has_its_size(unit, prefix):
    base, size = UNITS[unit]
    assert parse(f"5 {prefix}{unit}", base) == FIVES[prefix] * size


@pytest.mark.parametrize("prefix", BINARY)
@pytest.mark.parametrize("unit", ["B", "b", "B/s", "b/s"])
def test_each_binary_prefix_has_its_size(unit, prefix):
    base, size = UNITS[unit]
    assert parse(f"5 {prefix}{unit}", base) == FIVES[prefix] * size


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("80 GiB", "B", 85899345920.0),
        ("80GiB", "B", 85899345920.0),
        ("  80   GiB ", "B", 85899345920.0),
        ("3.35 TB/s", "B/s", 3.35e12),
        ("400 Gb/s", "B/s", 5e10),
        ("989.4 TFLOP/s", "FLOP/s", 989.4e12),
        ("1.98 GHz", "Hz", 1.98e9),
        ("50 us", "s", 50e-6),
        ("3 ps", "s", 3e-12),
        ("1e3 GiB", "B", 1073741824000.0),
        ("2.5e-1 s", "s", 0.25),
        (".5 s", "s", 0.5),
        ("5. s", "s", 5.0),
        ("+5 s", "s", 5.0),
        ("0 B", "B", 0.0),
        ("1 kB", "B", 1000.0),
        ("1 ms", "s", 0.001),
        ("1 Ms", "s", 1e6),
    ],
)
def test_what_people_write_is_read(text, unit, value):
    assert parse(text, unit) == value


def test_a_minute_is_no_milli_inch_and_a_rate_no_ronto():
    assert parse("1 min", "s") == 60
    assert parse("10 requests/s", "requests/s") == 10


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        *((f"5 {suffix}", "B") for suffix in ("kiB", "gib", "GIB", "KB", "gB", "EB", "fB", "EiB", "iB", "GiBs")),
        ("5 KiW", "W"),
        ("5 Kis", "s"),
        ("5 GiFLOP", "FLOP"),
        ("5 MiHz", "Hz"),
        ("5 kmin", "s"),
        ("5 mh", "s"),
        ("5 Mday", "s"),
        ("5 MUSD/h", "USD/h"),
        ("5 kUSD/month", "USD/h"),
        ("5 krequests/s", "requests/s"),
        ("5 ktokens/s", "tokens/s"),
        ("5 Requests/s", "requests/s"),
        ("5 parsec", "s"),
        ("5 /s", "requests/s"),
        ("5 %", "s"),
    ],
)
def test_a_unit_that_is_not_in_the_table_is_refused(text, unit):
    with pytest.raises(UnitError, match="has no unit that llmplan knows"):
        parse(text, unit)


@pytest.mark.parametrize(
    "text",
    ["", "5", "5 ", "B", "GiB 5", "nan B", "inf B", "-inf B", "1,000 B", "1_000 B", "0x10 B", "5 B B", "5 $", "1/2 B"],
)
def test_what_is_no_number_with_a_unit_is_refused(text):
    with pytest.raises(UnitError, match="is not a quantity in B"):
        parse(text, "B")


@pytest.mark.parametrize("text", ["-5 B", "-5 GiB", "-1e-9 B"])
def test_a_negative_quantity_is_refused(text):
    with pytest.raises(UnitError, match="is negative"):
        parse(text, "B")


@pytest.mark.parametrize("text", ["1e400 B", "1e308 PB", "1e308 TiB"])
def test_an_endless_quantity_is_refused(text):
    with pytest.raises(UnitError, match="is too large"):
        parse(text, "B")


@pytest.mark.parametrize(
    ("text", "found", "wanted"),
    [
        ("80 TB/s", "B/s", "B"),
        ("80 GiB", "B", "B/s"),
        ("1 h", "s", "USD/h"),
        ("3 FLOP", "FLOP", "FLOP/s"),
        ("3 Hz", "Hz", "s"),
        ("3 tokens/s", "tokens/s", "requests/s"),
        ("700 W", "W", "J"),
    ],
)
def test_another_unit_is_refused_with_both_names(text, found, wanted):
    with pytest.raises(UnitError, match=f"^'{text}' is in {found}, but {wanted} is wanted here$"):
        parse(text, wanted)


@pytest.mark.parametrize("text", ["", "5", "-5 B", "5 kiB", "1e400 B", "5 s"])
def test_every_refusal_is_a_value_error_on_one_line(text):
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as error:
        parse(text, "B")
    assert type(error.value) is UnitError


FINITE = st.floats(min_value=0, max_value=1e290, allow_nan=False, allow_infinity=False)


@settings(deadline=None)  # the first reading imports QuantiPhy
@given(FINITE, st.sampled_from(BASE_UNITS))
def test_what_is_written_is_read_back_exactly(value, unit):
    assert parse(write(value, unit), unit) == value


@settings(deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(sorted(FIVES)))
def test_round_numbers_stay_exact_and_short(count, prefix):
    value = count * FIVES[prefix]
    text = write(value, "B")
    assert parse(text, "B") == value
    assert len(text) <= len(f"{value!r} B")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "B", "0 B"),
        (80 * 2.0**30, "B", "80 GiB"),
        (3.35e12, "B/s", "3.35 TB/s"),
        (1e-6, "s", "1 us"),
        (0.1, "s", "0.1 s"),
        (1.98e9, "Hz", "1.98 GHz"),
        (6.98, "USD/h", "6.98 USD/h"),
        (2.0**30, "B/s", "1073741824 B/s"),
        (123456789.0, "B/s", "123456789 B/s"),
        (24.0, "requests/s", "24 requests/s"),
    ],
)
def test_the_shortest_text_is_written(value, unit, text):
    assert write(value, unit) == text


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_what_no_file_may_hold_is_not_written(value):
    with pytest.raises(UnitError, match="cannot be written"):
        write(value, "B")


@pytest.mark.parametrize("unit", ["b", "GiB", "min", "h", "USD/month", "parsec"])
def test_only_base_units_are_written(unit):
    with pytest.raises(UnitError, match="is not a base unit"):
        write(1.0, unit)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.1234, "s", "123 ms"),
        (79.18 * 2**30, "B", "79.2 GiB"),
        (3.35e12, "B/s", "3.35 TB/s"),
        (989.4e12, "FLOP/s", "989 TFLOP/s"),
        (1e15, "FLOP/s", "1.00 PFLOP/s"),
        (1024.0, "B", "1.00 KiB"),
        (1000.0, "B", "1,000 B"),
        (0.5, "B", "0.500 B"),
        (1e-9, "s", "1.00 ns"),
        (1e-3, "s", "1.00 ms"),
        (12.345, "USD/h", "12.3 USD/h"),
        (12345.6, "requests/s", "12,346 requests/s"),
        (0.00123, "requests/s", "0.00123 requests/s"),
        (0.0, "s", "0 s"),
        (math.inf, "s", "inf s"),
        (-0.5, "s", "-500 ms"),
    ],
)
def test_people_read_three_digits(value, unit, text):
    assert brief(value, unit) == text


@settings(deadline=None)
@given(st.floats(min_value=1e-9, max_value=1e17), st.sampled_from(["B", "B/s", "FLOP/s", "s", "W"]))
def test_three_digits_are_near_the_value(value, unit):
    shown = brief(value, unit).replace(",", "")
    if unit != "B" or value >= 0.1:
        assert parse(shown, unit) == pytest.approx(value, rel=0.006)


@pytest.mark.parametrize(
    ("number", "digits", "text"),
    [(1234.5, 3, "1,234"), (1.005, 2, "1.0"), (0.012345, 3, "0.0123"), (0.0, 3, "0"), (math.inf, 3, "inf")],
)
def test_significant_digits_have_no_exponent(number, digits, text):
    assert significant(number, digits) == text
