"""How old the prices of an answer are, and when that is said."""

from __future__ import annotations

from datetime import date

import pytest

from llmplan.errors import InputError
from llmplan.freshness import AsOf, today
from llmplan.spec.catalog import Catalog
from llmplan.spec.hardware import Offer
from llmplan.spec.workload import OfferFilter

DAY = date(2026, 10, 28)
SHIPPED = Catalog().offers(OfferFilter(nodes=("p5.48xlarge",)))[0]


def offer(provider: str, snapshot: date | None) -> Offer:
    return SHIPPED.model_copy(update={"name": f"{provider}/x/y/on_demand", "snapshot": snapshot})


NEW, OLD, UNKNOWN = offer("a", date(2026, 7, 30)), offer("b", date(2026, 7, 20)), offer("c", None)


def test_prices_of_ninety_days_pass_and_older_ones_are_named() -> None:
    assert AsOf(day=DAY).warnings([NEW]) == []
    said = AsOf(day=DAY).warnings([NEW, OLD])
    assert said == ["prices are older than 90 days: b 2026-07-20 (100 days); check them before you decide"]
    assert AsOf(day=DAY, max_age_days=100).warnings([NEW, OLD]) == []


def test_an_unknown_day_is_said() -> None:
    assert AsOf(day=DAY).warnings([UNKNOWN, UNKNOWN]) == ["prices of an unknown day: c"]


def test_the_oldest_price_is_the_age_of_a_plan() -> None:
    assert AsOf(day=DAY).oldest_days([NEW, OLD]) == 100
    assert AsOf(day=DAY).oldest_days([NEW, UNKNOWN]) is None
    assert AsOf(day=DAY).oldest_days([]) is None
    assert AsOf(day=date(2026, 1, 1)).oldest_days([NEW]) == 0


def test_the_day_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMPLAN_TODAY", "2026-12-24")
    assert today() == date(2026, 12, 24)
    monkeypatch.setenv("LLMPLAN_TODAY", "tomorrow")
    with pytest.raises(InputError, match="LLMPLAN_TODAY: 'tomorrow' is no day; write it as 2026-01-31"):
        today()
    monkeypatch.delenv("LLMPLAN_TODAY")
    assert today() >= date(2026, 1, 1)
