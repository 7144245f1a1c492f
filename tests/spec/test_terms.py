"""What an hour of a node costs, from what was paid for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llmplan.errors import InputError
from llmplan.spec.catalog import Catalog
from llmplan.spec.hardware import PriceSheet
from llmplan.spec.messages import read_as
from llmplan.spec.terms import Owned, Quote, Reservation, terms_of, usd_per_hour_of
from llmplan.spec.workload import OfferFilter
from llmplan.spec.yaml_files import read_yaml

SHEET = """\
provider: mine
snapshot: 2026-11-01
source: by hand
offers:
  p5.48xlarge:
    us-east-1:
      on_demand: 55.04 USD/h
      spot: {usd_per_hour: 17 USD/h, highest_usd_per_hour: 55 USD/h, zones: 7}
      reserved: {upfront_usd: 8760 USD, usd_per_hour: 20 USD/h, term_s: 1 year, available: 10}
      owned: {capex_usd: 87600 USD, life_s: 1 year, power_w: 10 kW, pue: 1.5, electricity_usd_per_kwh: 0.2 USD/kWh}
"""


def owned(**changes: str | float) -> Owned:
    facts = {"capex_usd": "87600 USD", "life_s": "10 years", "power_w": "0 W", "electricity_usd_per_kwh": "0 USD/kWh"}
    return Owned.model_validate({**facts, **changes})


def sheet(text: str = SHEET) -> PriceSheet:
    return read_as(PriceSheet, read_yaml(text, "mine.yaml"))


def test_a_machine_is_paid_off_over_the_hours_of_its_life() -> None:
    assert usd_per_hour_of(owned()) == pytest.approx(1.0)
    assert usd_per_hour_of(owned(residual_usd="43800 USD")) == pytest.approx(0.5)


def test_each_part_of_owning_has_its_formula() -> None:
    parts = owned(
        maintenance_per_year=0.1,
        power_w="10 kW",
        pue=1.5,
        electricity_usd_per_kwh="0.2 USD/kWh",
        hosting_usd_per_hour="730 USD/month",
    ).parts()
    assert parts == pytest.approx({"capital": 1.0, "maintenance": 1.0, "electricity": 3.0, "hosting": 1.0})


@given(st.floats(0.001, 1), st.integers(1, 30), st.floats(0, 1))
def test_with_interest_the_payments_are_worth_what_was_paid(interest: float, years: int, left: float) -> None:
    """Discounted to today, the monthly payments and the residual value are the price of the machine."""
    machine = owned(interest_per_year=interest, life_s=f"{years} years", residual_usd=f"{87600 * left} USD")
    payment = machine.parts()["capital"] * 730
    rate = interest / 12
    worth = sum(payment / (1 + rate) ** month for month in range(1, 12 * years + 1))
    assert worth + 87600 * left / (1 + rate) ** (12 * years) == pytest.approx(87600)


@given(st.floats(0, 1e-4))
def test_little_interest_costs_little(interest: float) -> None:
    assert usd_per_hour_of(owned(interest_per_year=interest)) == pytest.approx(1.0, rel=10 * interest + 1e-15)


@given(st.floats(0, 1), st.floats(730, 100 * 8760), st.floats(0, 1))
def test_capital_costs_at_least_its_interest_and_more_by_at_least_what_is_lost(
    interest: float, hours: float, left: float
) -> None:
    """At every edge of interest and life; what is lost is paid off, and interest is due on all of the rest."""
    machine = owned(interest_per_year=interest, life_s=f"{hours} h", residual_usd=f"{87600 * left} USD")
    least = (machine.capex_usd - machine.residual_usd) / hours
    most = least + 87600 * interest / 8760
    assert least * (1 - 1e-9) <= machine.parts()["capital"] <= most * (1 + 1e-9)


@pytest.mark.parametrize("interest", [0, 5e-324, 1e-300, 1e-18, 1e-15, 1e-12, 1e-9])
def test_interest_that_is_next_to_none_costs_nothing(interest: float) -> None:
    for life, usd in (("1 h", 87600), ("1 year", 10), ("100 years", 0.1)):
        assert usd_per_hour_of(owned(interest_per_year=interest, life_s=life)) == pytest.approx(usd, rel=1e-6)


def test_a_life_without_an_end_costs_its_interest() -> None:
    machine = owned(interest_per_year=1.0, life_s="100 years")
    assert usd_per_hour_of(machine) == pytest.approx(87600 / 8760)


@given(st.sampled_from(["capex_usd", "hosting_usd_per_hour", "power_w"]), st.floats(1, 10))
def test_an_hour_never_costs_less_when_a_part_costs_more(part: str, factor: float) -> None:
    base = owned(power_w="1 kW", electricity_usd_per_kwh="1 USD/kWh", hosting_usd_per_hour="1 USD/h")
    dearer = base.model_copy(update={part: getattr(base, part) * factor})
    assert usd_per_hour_of(dearer) >= usd_per_hour_of(base)


def test_a_reservation_is_paid_over_its_term() -> None:
    terms = Reservation.model_validate({"upfront_usd": "8760 USD", "term_s": "1 year", "usd_per_hour": "20 USD/h"})
    assert terms.parts() == pytest.approx({"upfront": 1.0, "hourly": 20.0})


def test_a_sheet_holds_prices_and_the_terms_they_follow_from() -> None:
    found = sheet()
    rows = {market: usd for _, _, market, usd in found.rows()}
    assert rows == pytest.approx({"on_demand": 55.04, "spot": 17.0, "reserved": 21.0, "owned": 13.0})
    kinds = {market: type(found.terms("p5.48xlarge", "us-east-1", market)) for market in rows}
    assert kinds == {"on_demand": Quote, "spot": Quote, "reserved": Reservation, "owned": Owned}
    assert found.terms("p5.48xlarge", "us-east-1", "reserved").available == 10
    assert terms_of(3.0).available is None


def test_a_day_may_be_unknown() -> None:
    assert sheet(SHEET.replace("2026-11-01", "null")).snapshot is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("55.04 USD/h", "55.04", "mine.yaml:7: offers.p5.48xlarge.us-east-1.on_demand: 55.04 has no unit"),
        (
            "highest_usd_per_hour: 55",
            "highest_usd_per_hour: 5",
            "mine.yaml:8: .*1.spot: highest_usd_per_hour: less",
        ),
        ("55.04 USD/h", "1e308 USD/h", "mine.yaml:7: .*1.on_demand: an hour comes to 1e.308 USD; want 1,000,000 USD"),
        ("highest_usd_per_hour: 55", "highest_usd_per_hour: 1e9", "mine.yaml:8: .*1.spot: an hour comes to 1e.09 USD"),
        ("upfront_usd: 8760 USD", "upfront_usd: 1e308 USD", "mine.yaml:9: .*1.reserved: an hour comes to 1.*e.304"),
        ("power_w: 10 kW", "power_w: 1e300 kW", "mine.yaml:10: .*1.owned: an hour comes to 3e.299 USD"),
        ("pue: 1.5", "pue: 1e308", "mine.yaml:10: .*1.owned: an hour comes to inf USD"),
        ("term_s: 1 year", "term_s: 0 s", "mine.yaml:9: offers.p5.48xlarge.us-east-1.reserved: term_s: 0 years"),
        ("life_s: 1 year", "life_s: 0 s", "mine.yaml:10: .*1.owned: life_s: 0 years is out of range"),
        ("life_s: 1 year", "life_s: 101 years", "mine.yaml:10: .*1.owned: life_s: 101 years is out of range"),
        ("pue: 1.5", "pue: 0.5", "mine.yaml:10: .*owned.pue: 0.5 is out of range; want 1"),
        ("pue: 1.5", "pie: 1.5", "mine.yaml:10: .*owned.pie: no such field"),
        ("power_w: 10 kW, ", "", "mine.yaml:10: .*owned.power_w: missing"),
        ("available: 10", "available: -1", "mine.yaml:9: .*available: -1 is out of range"),
        ("pue: 1.5", "residual_usd: 90000 USD", "mine.yaml:10: .*residual_usd: more than capex_usd"),
    ],
)
def test_terms_that_are_wrong_name_line_and_key(old: str, new: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        sheet(SHEET.replace(old, new))


def test_a_machine_takes_power() -> None:
    with pytest.raises(ValidationError, match="power_w"):
        Owned.model_validate({"capex_usd": "1 USD", "life_s": "1 year", "electricity_usd_per_kwh": "0 USD/kWh"})


# ---- what is shipped ----

SHIPPED = Catalog()


def test_what_is_on_offer_unasked_is_listed_by_nobody_but_the_user() -> None:
    """Else a default question would be planned on machines that are not there (decision 10)."""
    assert {market for sheet in SHIPPED.prices for _, _, market, _ in sheet.rows()} <= {"on_demand", "spot"}
    assert OfferFilter().markets == ("on_demand", "reserved", "owned")


def test_owning_takes_what_such_machines_take() -> None:
    owning = SHIPPED.owning
    for name, watts in owning.all_in_w.items():
        assert 1.4 < watts / (SHIPPED.gpu(name).tdp_w or 1) < 2.0
    assert set(owning.estimates) == set(owning.all_in_w)
    for estimate in owning.estimates.values():
        assert 0.5 < estimate.hyperscaler_usd_per_hour < estimate.neocloud_usd_per_hour < 3
    assert set(owning.sources) == set(type(owning).model_fields) - {"sources"}
