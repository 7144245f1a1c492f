"""What does a GPU cost, where, on what terms, and how old is that price?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmplan.errors import InputError, UnknownNameError
from llmplan.freshness import AsOf
from llmplan.spec.catalog import Catalog
from llmplan.spec.deployment import gpu_and_count
from llmplan.spec.hardware import Market, Offer
from llmplan.spec.terms import Terms
from llmplan.spec.workload import OfferFilter
from llmplan.support import MARKETS
from llmplan.unpriced import without_price

OPTIONS = {"gpus": "--gpu", "providers": "--provider", "regions": "--region", "nodes": "--node", "markets": "--market"}
"""The option of each field of a filter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which prices to list; nothing given: all."""

    gpus: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    markets: tuple[Market, ...] = ()
    max_usd_per_gpu_hour: float | None = None

    def given(self) -> list[str]:
        """Return the fields that say something."""
        return [name for name in self.__slots__ if getattr(self, name) not in ((), None)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """One price with its age and source."""

    offer: Offer
    age_days: int | None
    source: str
    parts: Mapping[str, float]
    """What the hour is made up of. [USD/h]"""
    note: str

    @classmethod
    def of(cls, offer: Offer, terms: Terms, source: str, as_of: AsOf) -> Priced:
        """Return an offer with the age of its price and what that is made up of."""
        age = as_of.age_days(offer.snapshot)
        return cls(offer=offer, age_days=age, source=source, parts=terms.parts(), note=terms.note)

    @property
    def usd_per_gpu_hour(self) -> float:
        """Price of the node by its GPUs."""
        return self.offer.usd_per_hour / self.offer.node.gpus


def priced(catalog: Catalog, wanted: Wanted, as_of: AsOf) -> list[Priced]:
    """Return the prices that are wanted, those of no plan by default too, the cheapest GPU hour first.

    Raises
    ------
    LlmplanError
        No price has such a name, or a GPU comes with a number.
    """
    sources = {sheet.provider: sheet.source for sheet in catalog.prices}
    rows = []
    for offer, terms in _offers(catalog, wanted):
        row = Priced.of(offer, terms, sources[offer.provider], as_of)
        if wanted.max_usd_per_gpu_hour is None or row.usd_per_gpu_hour <= wanted.max_usd_per_gpu_hour:
            rows.append(row)
    return sorted(rows, key=lambda row: (row.usd_per_gpu_hour, row.offer.name))


def _offers(catalog: Catalog, wanted: Wanted) -> list[tuple[Offer, Terms]]:
    counted = [name for name in wanted.gpus if gpu_and_count(name)[1] is not None]
    if counted:
        raise InputError(f"--gpu {counted[0]}: has a number; want the GPU alone, or a node with --node")
    try:
        return catalog.offers_with_terms(_filter(wanted), everything=True)
    except UnknownNameError as error:
        field, _, said = str(error).partition(": ")
        option = OPTIONS.get(field.removeprefix("offers."))
        raise UnknownNameError(f"{option}: {said}" if option else str(error)) from None


def _filter(wanted: Wanted) -> OfferFilter:
    fields = {name: getattr(wanted, name) for name in OPTIONS}
    return OfferFilter.model_validate({**fields, "markets": wanted.markets or MARKETS})


def document(rows: Iterable[Priced]) -> list[dict[str, Any]]:
    """Return plain rows, numbers in base units; `prices import` reads them back as CSV."""
    return [
        {
            "provider": row.offer.provider,
            "node": row.offer.node.name,
            "gpu": row.offer.node.gpu,
            "gpus": row.offer.node.gpus,
            "vcpus": row.offer.node.vcpus,
            "dram_bytes": row.offer.node.dram_bytes,
            "region": row.offer.region,
            "market": row.offer.market,
            "usd_per_gpu_hour": row.usd_per_gpu_hour,
            "usd_per_hour": row.offer.usd_per_hour,
            "highest_usd_per_hour": row.offer.highest_usd_per_hour,
            "available": row.offer.available,
            "snapshot": row.offer.snapshot.isoformat() if row.offer.snapshot else None,
            "age_days": row.age_days,
            "source": row.source,
            "note": row.note,
        }
        for row in rows
    ]


def remarks(catalog: Catalog, wanted: Wanted, as_of: AsOf, found: int) -> list[str]:
    """Return what a list of `found` prices leaves out, and why it is empty."""
    bare = without_price(wanted.gpus, catalog)
    said = [f"no price for {name} is in the catalog; add yours with llmplan prices import" for name in bare]
    return said if found or said else [_missing(catalog, wanted, as_of)]


def _missing(catalog: Catalog, wanted: Wanted, as_of: AsOf) -> str:
    """Return how many prices there are when one wish is given up."""
    said = []
    for name in wanted.given():
        fewer = {field: getattr(wanted, field) for field in wanted.__slots__ if field != name}
        count = len(priced(catalog, Wanted(**fewer), as_of))
        if count:
            said.append(f"{count} without {OPTIONS.get(name, '--max-usd-per-gpu-hour')}")
    return f"no price is all of that; {', '.join(said) or 'none with any one of these left out'}"
