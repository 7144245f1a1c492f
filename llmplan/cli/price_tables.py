"""Prices as sections of short rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from llmplan.price_list import document
from llmplan.report.currency import Currency
from llmplan.report.sections import Section
from llmplan.units import brief

if TYPE_CHECKING:
    from llmplan.price_import import Imported
    from llmplan.price_list import Priced

ROOMY = 120
"""Columns from which the host and the day of a price have columns of their own."""
MOST_LINES = 5
"""Lines that are named for each reason, and files of nodes."""
SPOT = "spot is not firm: interruptions and how much there is are not known; with a range, zones of the region differ"


def price_sections(
    rows: Sequence[Priced], currency: Currency, width: int, explain: bool, found: int
) -> Iterator[Section]:
    """Yield the prices, the cheapest of `found`, how composed ones come about, and where they are from."""
    yield _prices(rows, currency, width >= ROOMY, found)
    if explain:
        yield _composed(rows, currency)
    if rows:
        yield _sources(rows)
    if currency.note:
        yield Section(lines=(currency.note,))


def _prices(rows: Sequence[Priced], currency: Currency, roomy: bool, found: int) -> Section:
    header = [f"{currency.code}/GPU-h", "GPUs", "rent", "region", "market", f"{currency.code}/h"]
    header += ["vCPUs", "RAM", "nodes", "price of", "days old"] if roomy else []
    cells = [(*_price(row, currency), *(_host(row) if roomy else ())) for row in rows]
    more = found - len(rows)
    after = [f"{more:,} dearer {'ones are' if more > 1 else 'one is'} not shown; --limit 0 shows all"] if more else []
    after += [SPOT] if any(row.offer.market == "spot" for row in rows) else []
    return Section(
        title=f"{found} price{'' if found == 1 else 's'}" + (f", the cheapest {len(rows)}" if more else ""),
        header=tuple(header),
        rows=tuple(cells),
        right=frozenset({0, 5, 6, 7, 8, 10}),
        wrap=frozenset({1, 2}),
        after=tuple(after),
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
    """Return how prices come about that are the sum of several."""
    cells = []
    for row in rows:
        if len(row.parts) > 1:
            parts = [f"{name} {currency.amount(usd)}" for name, usd in row.parts.items() if usd]
            note = f" ({row.note})" if row.note else ""
            cells.append((row.offer.name, f"{' + '.join(parts) or 'nothing'}{note}"))
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


def import_sections(
    found: Imported, rows: Sequence[Priced], currency: Currency, files: Sequence[tuple[str, str]]
) -> Iterator[Section]:
    """Yield what a table became: prices by provider and market, how they come about, what was passed over, files."""
    yield _summary(rows, currency)
    yield _composed(rows, currency)
    yield _skipped(found)
    yield Section(header=("file", ""), rows=tuple(_told_files(files)), wrap=frozenset({0}))
    if currency.note:
        yield Section(lines=(currency.note,))


def _told_files(files: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield each sheet, and the nodes by their number when there are many."""
    nodes = [file for file in files if "/nodes/" in file[0].replace("\\", "/")]
    yield from (file for file in files if file not in nodes)
    if len(nodes) <= MOST_LINES:
        yield from nodes
    else:
        for state in dict.fromkeys(state for _, state in nodes):
            count = sum(other == state for _, other in nodes)
            yield f"{nodes[0][0].rpartition('nodes')[0]}nodes/… ({count} files)", state


def _summary(rows: Sequence[Priced], currency: Currency) -> Section:
    groups: dict[tuple[str, str], list[Priced]] = {}
    for row in rows:
        groups.setdefault((row.offer.provider, row.offer.market), []).append(row)
    cells = []
    for (provider, market), found in sorted(groups.items()):
        span = " - ".join(dict.fromkeys(currency.amount(row.usd_per_gpu_hour) for row in (found[0], found[-1])))
        nodes, day = {row.offer.node.name for row in found}, found[0].offer.snapshot
        cells.append((provider, market, str(len(found)), str(len(nodes)), span, day.isoformat() if day else "unknown"))
    return Section(
        title=f"{len(rows)} price{'' if len(rows) == 1 else 's'}",
        header=("provider", "market", "prices", "nodes", f"{currency.code}/GPU-h", "price of"),
        rows=tuple(cells),
        right=frozenset({2, 3, 4}),
        wrap=frozenset({0}),
    )


def _skipped(found: Imported) -> Section:
    skipped = sorted(found.read.skipped.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    total = sum(len(lines) for _, lines in skipped)
    return Section(
        title=f"{total} rows passed over" if total else "",
        header=("rows", "why", "lines"),
        rows=tuple((str(len(lines)), why, _lines(lines)) for why, lines in skipped),
        right=frozenset({0}),
        wrap=frozenset({1, 2}),
    )


def _lines(lines: Sequence[int]) -> str:
    return ", ".join(str(line) for line in lines[:MOST_LINES]) + (", …" if len(lines) > MOST_LINES else "")


def import_document(found: Imported, rows: Sequence[Priced], files: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the same as plain data."""
    return {
        "prices": document(rows),
        "new_nodes": [node.name for node in found.nodes],
        "skipped": [{"reason": why, "lines": list(lines)} for why, lines in found.read.skipped.items()],
        "defaults": list(found.read.defaults),
        "notes": list(found.notes),
        "files": [{"file": name, "state": state} for name, state in files],
    }
