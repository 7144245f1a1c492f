"""On which terms a node is had: a price with what belongs to it, a reservation, or a machine of one's own.

With n = life in months, i = interest a year / 12, a month of 730 h and a year of 8,760 h, in USD/h:

    capital      (capex - residual/(1 + i)^n) · i / (1 - (1 + i)^-n) / 730        i = 0: (capex - residual)/(730·n)
                 = ((capex - residual) · i / (1 - (1 + i)^-n) + residual · i) / 730, which stays exact for small i
    maintenance  capex · share a year / 8760
    electricity  power [kW] · PUE · price [USD/kWh]
    hosting      as paid
    reservation  upfront / hours of the term + price of the hour

docs/methods/prices.md says what these leave out.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import expm1, log1p
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from llmplan.spec.base import Count, Fraction, Seconds, Source, Spec, Usd, UsdPerHour, UsdPerKwh, Watts
from llmplan.units import HOURS_PER_MONTH, MONTHS_PER_YEAR, SECONDS_PER_HOUR, WATTS_PER_KW

Nodes = Annotated[int, Field(ge=0)]
P = TypeVar("P", bound="float | Quote | Reservation | Owned")

MOST_YEARS = 100.0
"""No machine lives longer, and no contract lasts longer; the shortest is an hour."""
MOST_USD_PER_HOUR = 1e6
"""Of a node: a rack of the dearest GPUs costs a thousandth. Beyond it sums and solvers lose the other prices."""
NONE = 1e-300
"""A share that is paid off in interest of less than this is none."""


def check_span(name: str, seconds: float) -> None:
    """Refuse a life or a term of less than an hour or more than a hundred years.

    Raises
    ------
    ValueError
        In words for the person who wrote it.
    """
    hours = seconds / SECONDS_PER_HOUR
    years = hours / (MONTHS_PER_YEAR * HOURS_PER_MONTH)
    if hours < 1 or years > MOST_YEARS:
        raise ValueError(f"{name}: {years:g} years is out of range; want an hour to {MOST_YEARS:g} years")


def checked(price: P) -> P:
    """Return a price, or the terms it follows from, when an hour costs what an hour of a node may cost.

    Raises
    ------
    ValueError
        In words for the person who wrote it.
    """
    usd = usd_per_hour_of(price)
    highest = getattr(price, "highest_usd_per_hour", None) or 0.0
    if not (usd <= MOST_USD_PER_HOUR and highest <= MOST_USD_PER_HOUR):
        raise ValueError(f"an hour comes to {max(usd, highest):g} USD; want {MOST_USD_PER_HOUR:,.0f} USD or less")
    return price


class Quote(Spec):
    """A price of a node, and what is known beside it."""

    usd_per_hour: UsdPerHour
    """Of the whole node."""
    highest_usd_per_hour: UsdPerHour | None = None
    """In the dearest zone of the region; `usd_per_hour` is that of the cheapest."""
    zones: Count | None = None
    """Zones whose prices were seen."""
    available: Nodes | None = None
    """Nodes that can be had; null: no cap is known."""
    note: str = ""

    @model_validator(mode="after")
    def _rises(self) -> Quote:
        if self.highest_usd_per_hour is not None and self.highest_usd_per_hour < self.usd_per_hour:
            raise ValueError("highest_usd_per_hour: less than usd_per_hour; want the price in the dearest zone")
        return checked(self)

    def parts(self) -> Mapping[str, float]:
        """Return what the hour is made up of. [USD/h]"""
        return {"price": self.usd_per_hour}

    def less(self, discount: float) -> Quote:
        """Return the same with a share taken off in every zone."""
        highest = self.highest_usd_per_hour
        off = {
            "usd_per_hour": round(self.usd_per_hour * (1 - discount), 6),
            "highest_usd_per_hour": None if highest is None else round(highest * (1 - discount), 6),
        }
        return self.model_copy(update=off)


class Reservation(Spec):
    """A node paid for over a term, used or not."""

    upfront_usd: Usd = 0.0
    usd_per_hour: UsdPerHour = 0.0
    """Paid for each hour of the term beside the upfront money."""
    term_s: Seconds
    available: Nodes | None = None
    """Nodes reserved; null: as many as one likes can be had on these terms."""
    note: str = ""

    @model_validator(mode="after")
    def _lasts(self) -> Reservation:
        check_span("term_s", self.term_s)
        return checked(self)

    def parts(self) -> Mapping[str, float]:
        """Return what the hour is made up of. [USD/h]"""
        return {"upfront": self.upfront_usd / (self.term_s / SECONDS_PER_HOUR), "hourly": self.usd_per_hour}


class Owned(Spec):
    """A node that was bought: money of one node, spread over the hours of its life."""

    capex_usd: Usd
    """Paid for the node with its share of racks, switches and installation."""
    life_s: Seconds
    residual_usd: Usd = 0.0
    """What it is sold for at the end."""
    interest_per_year: Fraction = 0.0
    """Cost of the capital."""
    maintenance_per_year: Fraction = 0.0
    """Repairs and support, as a share of `capex_usd`."""
    power_w: Watts
    """Mean draw of the node."""
    pue: float = Field(default=1.0, ge=1)
    """Power of the site over power of the node; 1 when `power_w` has the cooling in it."""
    electricity_usd_per_kwh: UsdPerKwh
    hosting_usd_per_hour: UsdPerHour = 0.0
    """Space and staff of the site for one node, such as 800 USD/month."""
    available: Nodes | None = None
    """Nodes owned; null: more can be bought on these terms."""
    note: str = ""

    @model_validator(mode="after")
    def _lasts(self) -> Owned:
        check_span("life_s", self.life_s)
        if self.residual_usd > self.capex_usd:
            raise ValueError("residual_usd: more than capex_usd; want what is left of it at the end")
        return checked(self)

    def parts(self) -> Mapping[str, float]:
        """Return what the hour is made up of. [USD/h]"""
        hours_per_year = MONTHS_PER_YEAR * HOURS_PER_MONTH
        return {
            "capital": self._capital_usd_per_hour(),
            "maintenance": self.capex_usd * self.maintenance_per_year / hours_per_year,
            "electricity": self.power_w / WATTS_PER_KW * self.pue * self.electricity_usd_per_kwh,
            "hosting": self.hosting_usd_per_hour,
        }

    def _capital_usd_per_hour(self) -> float:
        months = self.life_s / SECONDS_PER_HOUR / HOURS_PER_MONTH
        rate = self.interest_per_year / MONTHS_PER_YEAR
        paid_off = -expm1(-months * log1p(rate))
        share = rate / paid_off if paid_off > NONE else 1 / months
        return ((self.capex_usd - self.residual_usd) * share + self.residual_usd * rate) / HOURS_PER_MONTH


class Estimate(Spec):
    """What an hour of one owned GPU is said to cost."""

    hyperscaler_usd_per_hour: UsdPerHour
    neocloud_usd_per_hour: UsdPerHour


class Owning(Spec):
    """What owning takes where the owner does not say (`hardware/owning.yaml`)."""

    all_in_w: Mapping[str, Watts]
    """Draw of one GPU with its share of host, network and cooling, by GPU."""
    tdp_factor: float = Field(ge=1)
    """The same over the datasheet's power, for other GPUs."""
    pue: float = Field(ge=1)
    """Where the draw of the node is given, and not that of its site."""
    estimates: Mapping[str, Estimate]
    sources: Mapping[str, Source]


Terms = Quote | Reservation | Owned


def _kind(value: object) -> str:
    """Return which terms a value of a sheet is: they differ by what they cannot do without."""
    names = set(value) if isinstance(value, Mapping) else set()
    if isinstance(value, Owned) or names & {"capex_usd", "life_s"}:
        return "owned"
    if isinstance(value, Reservation) or names & {"term_s", "upfront_usd"}:
        return "reserved"
    return "quote" if names or isinstance(value, Quote) else "price"


Price = Annotated[
    Annotated[UsdPerHour, AfterValidator(checked), Tag("price")]
    | Annotated[Quote, Tag("quote")]
    | Annotated[Reservation, Tag("reserved")]
    | Annotated[Owned, Tag("owned")],
    Discriminator(_kind),
]
"""A price of the whole node such as `6.98 USD/h`, or the terms that it follows from."""


def terms_of(price: float | Terms) -> Terms:
    """Return a price with its terms; a bare one has no others."""
    return Quote.model_construct(usd_per_hour=price) if isinstance(price, int | float) else price


def usd_per_hour_of(price: float | Terms) -> float:
    """Return what an hour of the node costs. [USD/h]"""
    return float(price) if isinstance(price, int | float) else sum(price.parts().values())
