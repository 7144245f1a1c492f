"""Prices as sections of short rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from llmplan.report.currency import Currency
from llmplan.report.sections import Section
from llmplan.units import brief

if TYPE_CHECKING:
    from llmplan.price_list import Priced

ROOMY = 120
"""Columns from which the host and the day of a price have columns of their own."""
SPOT = "spot is not firm: interruptions and how much there is are not known; with a range, zones of the region differ"


def price_sections(rows: Sequence[Priced], currency: Currency, width: int, explain: bool) -> Iterator[Section]:
    """Yield the prices, how composed ones come about, and where they are from."""
    yield _prices(rows, currency, width >= ROOMY)
    if explain:
        yield _composed(rows, currency)
    if rows:
        yield _sources(rows)
    if currency.note:
        yield Section(lines=(currency.note,))


def _prices(rows: Sequence[Priced], currency: Currency, roomy: bool) -> Section:
    header = [f"{currency.code}/GPU-h", "GPUs", "rent", "region", "market", f"{currency.code}/h"]
    header += ["vCPUs", "RAM", "nodes", "price of", "days old"] if roomy else []
    cells = [(*_price(row, currency), *(_host(row) if roomy else ())) for row in rows]
    return Section(
        title=f"{len(rows)} price{'' if len(rows) == 1 else 's'}",
        header=tuple(header),
        rows=tuple(cells),
        right=frozenset({0, 5, 6, 7, 8, 10}),
        wrap=frozenset({1, 2, 3}),
        after=(SPOT,) if any(row.offer.market == "spot" for row in rows) else (),
    )


def _price(row: Priced, currency: Currency) -> tuple[str, ...]:
    offer = row.offer
    hour = currency.amount(offer.usd_per_hour)
    if offer.highest_usd_per_hour is not None:
        hour += f" - {currency.amount(offer.highest_usd_per_hour)}"
    gpus = f"{offer.node.gpus} {offer.node.gpu}"
    rent = f"{offer.provider} {offer.node.name}"
    return currency.amount(row.usd_per_gpu_hour), gpus, rent, offer.region, offer.market, hour


def _host(row: Priced) -> tuple[str, ...]:
    node, day = row.offer.node, row.offer.snapshot
    return (
        str(node.vcpus or "-"),
        brief(node.dram_bytes, "B") if node.dram_bytes else "-",
        "any" if row.offer.available is None else str(row.offer.available),
        day.isoformat() if day else "unknown",
        "-" if row.age_days is None else str(row.age_days),
    )


def _composed(rows: Sequence[Priced], currency: Currency) -> Section:
    """Return how prices come about that are more than one number."""
    cells = []
    for row in rows:
        parts = {name: usd for name, usd in row.parts.items() if usd}
        said = " + ".join(f"{name} {currency.amount(usd)}" for name, usd in parts.items())
        if len(row.parts) > 1 or row.note:
            cells.append((row.offer.name, f"{said if len(row.parts) > 1 else ''} {row.note}".strip()))
    return Section(
        title="How composed" if cells else "", header=("offer", "of an hour"), rows=tuple(cells), wrap=frozenset({0, 1})
    )


def _sources(rows: Sequence[Priced]) -> Section:
    """Return the day, age and source of each provider's prices."""
    told = {}
    for row in rows:
        day, age = row.offer.snapshot, row.age_days
        told[row.offer.provider] = (day.isoformat() if day else "unknown", "-" if age is None else str(age), row.source)
    return Section(
        header=("prices of", "day", "days old", "source"),
        rows=tuple((name, *told[name]) for name in sorted(told)),
        right=frozenset({2}),
        wrap=frozenset({3}),
    )
