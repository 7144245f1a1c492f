"""A table of prices becomes a catalog folder of the user's: a sheet for each provider, a file for each new node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from llmplan.errors import InputError, UnknownNameError, near
from llmplan.foreign_prices import GPUHUNT, SKYPILOT, gpuhunt_rows, skypilot_rows
from llmplan.freshness import AsOf
from llmplan.price_list import Priced
from llmplan.price_rows import Asked, Change, Entry, Read
from llmplan.quotes import own_rows
from llmplan.spec.base import Spec, promised_unit
from llmplan.spec.catalog import Catalog
from llmplan.spec.hardware import Market, Node, Offer, PriceSheet
from llmplan.spec.price_cells import read_table
from llmplan.spec.terms import Owned, Quote, Reservation, Terms, terms_of, usd_per_hour_of
from llmplan.units import HOURS_PER_MONTH, SECONDS_PER_HOUR, write

Key = tuple[str, str, Market]
"""Node, region, market."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What a table became."""

    sheets: tuple[PriceSheet, ...]
    nodes: tuple[Node, ...]
    """Those that the catalog lacked."""
    read: Read
    notes: tuple[str, ...]

    def priced(self, catalog: Catalog, as_of: AsOf) -> list[Priced]:
        """Return the prices of all sheets with their age."""
        nodes = {node.name: node for node in self.nodes}
        rows = []
        for sheet in self.sheets:
            for name, region, market, usd in sheet.rows():
                node, terms = nodes.get(name) or catalog.node(name), sheet.terms(name, region, market)
                offer = Offer.model_construct(
                    name=f"{sheet.provider}/{node.name}/{region}/{market}",
                    node=node,
                    region=region,
                    market=market,
                    usd_per_hour=usd,
                    snapshot=sheet.snapshot,
                    available=terms.available,
                    highest_usd_per_hour=getattr(terms, "highest_usd_per_hour", None),
                )
                rows.append(Priced.of(offer, terms, sheet.source, as_of))
        return sorted(rows, key=lambda row: (row.usd_per_gpu_hour, row.offer.name))

    def files(self) -> dict[str, dict[str, Any]]:
        """Return the files of the catalog folder, by path."""
        found = {f"hardware/prices/{sheet.provider}.yaml": sheet_document(sheet) for sheet in self.sheets}
        return found | {f"hardware/nodes/{node.name}.yaml": spec_document(node) for node in self.nodes}


def imported(text: str, where: str, catalog: Catalog, asked: Asked, usd_per_unit: Mapping[str, float]) -> Imported:
    """Return the prices of a table: one of ours, of SkyPilot's catalog or of gpuhunt, as its header says.

    Raises
    ------
    LlmplanError
        The table cannot be read, or no row of it can be used.
    """
    table = read_table(text, where, usd_per_unit)
    columns = set(table.columns)
    if columns & {"InstanceType", "AcceleratorName"}:
        _check_columns(columns, SKYPILOT, where, "a table of SkyPilot")
        read = skypilot_rows(table, catalog, asked)
    elif columns & {"instance_name", "gpu_name"}:
        _check_columns(columns, GPUHUNT, where, "a table of gpuhunt")
        read = gpuhunt_rows(table, catalog, asked)
    else:
        read = own_rows(table, catalog, asked)
    if not read.entries and not read.changes:
        most = sorted(read.skipped.items(), key=lambda pair: -len(pair[1]))
        reasons = ", ".join(f"{len(lines)} {reason}" for reason, lines in most[:3])
        raise InputError(f"{where}: no row can be used: {reasons}{', …' if len(most) > 3 else ''}")
    return _assembled(read, catalog, asked.tag)


def _check_columns(columns: set[str], wanted: frozenset[str], where: str, kind: str) -> None:
    missing = sorted(wanted - columns)
    if missing:
        raise InputError(f"{where}: no column {missing[0]!r}, which {kind} has")


def _assembled(read: Read, catalog: Catalog, tag: str) -> Imported:
    shipped = {sheet.provider: sheet for sheet in catalog.prices}
    sheets, notes = [], []
    for provider in sorted({e.provider for e in read.entries} | {c.provider for c in read.changes}):
        entries = [entry for entry in read.entries if entry.provider == provider]
        changes = [change for change in read.changes if change.provider == provider]
        base = _base(changes, shipped) if changes else None
        offers = _changed(base, changes, catalog) if base else {}
        offers |= _merged(entries)
        days = {entry.snapshot for entry in entries} | ({base.snapshot} if base else set())
        sheets.append(_sheet(provider, days, _source(entries, base, tag), offers))
        if len(days) > 1:
            day = sheets[-1].snapshot
            said = f"the sheet has the oldest, {day}" if day else "one is unknown, so the day of the sheet is unknown"
            notes.append(f"{provider}: prices of several days; {said}")
        if provider in shipped and base is None:
            count = len(shipped[provider].rows())
            notes.append(f"{provider}: with this sheet the {count} prices that the catalog has of it are not offered")
        if base is not None:
            notes.append(f"{provider}: {len(changes)} changes to the prices of {base.snapshot or 'an unknown day'}")
    known = set(catalog.names("nodes"))
    new = {entry.node.name: entry.node for entry in read.entries if entry.node.name not in known}
    notes += _estimates(read.entries, catalog)
    return Imported(sheets=tuple(sheets), nodes=tuple(new[name] for name in sorted(new)), read=read, notes=tuple(notes))


def _estimates(entries: Sequence[Entry], catalog: Catalog) -> list[str]:
    """Return what owned GPUs are said to cost, beside what these come to."""
    said: dict[str, None] = {}
    for entry in entries:
        estimate = catalog.owning.estimates.get(entry.node.gpu)
        if isinstance(entry.terms, Owned) and estimate is not None:
            own = usd_per_hour_of(entry.terms) / entry.node.gpus
            span = f"{estimate.hyperscaler_usd_per_hour:g} to {estimate.neocloud_usd_per_hour:g}"
            tag = catalog.owning.sources["estimates"].tag
            said[f"{entry.node.gpu}: {own:.2f} USD/GPU-h; an estimate for owned ones is {span} ({tag})"] = None
    return list(said)


def _base(changes: Sequence[Change], shipped: Mapping[str, PriceSheet]) -> PriceSheet:
    provider, first = changes[0].provider, changes[0].cells
    if provider not in shipped:
        raise first.wrong("provider", f"no prices of {provider!r} to change; {near(provider, shipped)}")
    return shipped[provider]


def _source(entries: Sequence[Entry], base: PriceSheet | None, tag: str) -> str:
    """Return where the prices of a sheet are from."""
    said = list(dict.fromkeys(entry.cells.text("source", tag) for entry in entries))
    return "; ".join([*([f"{base.source}; changed by {tag}"] if base else []), *said])


def _sheet(provider: str, days: Iterable[date | None], source: str, offers: Mapping[Key, float | Terms]) -> PriceSheet:
    known = [day for day in days if day is not None]
    nested: dict[str, dict[str, dict[Market, float | Terms]]] = {}
    for (node, region, market), price in sorted(offers.items(), key=lambda pair: pair[0]):
        nested.setdefault(node, {}).setdefault(region, {})[market] = price
    return PriceSheet.model_construct(
        provider=provider,
        snapshot=min(known) if len(known) == len(list(days)) else None,
        source=source,
        usd_per_hour=nested,
    )


def _merged(entries: Sequence[Entry]) -> dict[Key, float | Terms]:
    """Return one price for each offer: of several zones the lowest, with the highest beside it."""
    rows: dict[Key, list[Entry]] = {}
    for entry in entries:
        rows.setdefault((entry.node.name, entry.region, entry.market), []).append(entry)
    return {key: _one(key, found) for key, found in rows.items()}


def _one(key: Key, entries: Sequence[Entry]) -> float | Terms:
    first = entries[0]
    if len(entries) == 1:
        return first.terms
    if not first.cells.has("AvailabilityZone", "InstanceType", "instance_name"):
        name = "/".join((first.provider, *key))
        raise InputError(f"{entries[1].cells.place}: a second price of {name}, after line {first.cells.line}; keep one")
    prices = [usd_per_hour_of(entry.terms) for entry in entries]
    zones = {entry.cells.text("AvailabilityZone") for entry in entries} - {""}
    spread = max(prices) if max(prices) > min(prices) else None
    return Quote.model_construct(
        usd_per_hour=min(prices), highest_usd_per_hour=spread, zones=len(zones) or None, available=None, note=""
    )


def _changed(base: PriceSheet, changes: Sequence[Change], catalog: Catalog) -> dict[Key, float | Terms]:
    """Return the prices of a sheet with discounts and counts; a row that names a node goes before one for all.

    What the narrower row leaves open stays as the wider one has it; commitments of different lengths are not mixed.
    """
    offers: dict[Key, float | Terms] = {
        (_name(node, base, catalog), region, market): price
        for node, regions in base.usd_per_hour.items()
        for region, markets in regions.items()
        for market, price in markets.items()
    }
    listed = dict(offers)
    made: dict[Key, tuple[Key, Change]] = {}
    for change in sorted(changes, key=lambda c: (c.node != "*", c.region is not None)):
        node = None if change.node == "*" else _named(change, catalog)
        found = [
            key
            for key in listed
            if key[2] == change.market and node in (None, key[0]) and change.region in (None, key[1])
        ]
        if not found:
            what = f"{change.market} price of {change.node} in {change.region or 'any region'}"
            raise change.cells.wrong("node", f"{base.provider} has no {what} to change (llmplan prices list)")
        for key in found:
            target: Key = (key[0], key[1], "reserved") if change.term_s else key
            origin, wider = made.get(target, (key, change))
            alike = origin == key and wider.term_s == change.term_s
            made[target] = key, change.over(wider) if alike else change
    return offers | {target: _less(terms_of(listed[key]), change) for target, (key, change) in made.items()}


def _name(node: str, base: PriceSheet, catalog: Catalog) -> str:
    """Return the catalog's name of a node, which a sheet may call by another."""
    try:
        return catalog.node(node).name
    except UnknownNameError as error:
        raise InputError(f"prices of {base.provider}: offers.{node}: {error}") from None


def _named(change: Change, catalog: Catalog) -> str:
    try:
        return catalog.node(change.node).name
    except UnknownNameError as error:
        raise change.cells.wrong("node", str(error)) from None


def _less(terms: Terms, change: Change) -> Terms:
    """Return terms with a discount, or a commitment at one, and the count of nodes that it holds for."""
    listed, discount = usd_per_hour_of(terms), change.discount or 0.0
    note = f"{listed:g} USD/h less {100 * discount:g} %" if discount else ""
    if change.term_s:
        usd = round(listed * (1 - discount), 6)
        return Reservation.model_construct(
            upfront_usd=0.0, usd_per_hour=usd, term_s=change.term_s, available=change.available, note=note
        )
    available = terms.available if change.available is None else change.available
    if isinstance(terms, Quote):
        return terms.less(discount).model_copy(update={"available": available, "note": note or terms.note})
    if discount:
        raise change.cells.wrong("discount_percent", "goes with a price, not with a reservation or an owned machine")
    return terms.model_copy(update={"available": available})


def sheet_document(sheet: PriceSheet) -> dict[str, Any]:
    """Return a sheet as people write it."""
    offers = {
        node: {
            region: {market: _price_document(price) for market, price in markets.items()}
            for region, markets in regions.items()
        }
        for node, regions in sheet.usd_per_hour.items()
    }
    return {"provider": sheet.provider, "snapshot": sheet.snapshot, "source": sheet.source, "offers": offers}


def _price_document(price: float | Terms) -> Any:
    terms = terms_of(price)
    document = spec_document(terms)
    return document["usd_per_hour"] if document.keys() == {"usd_per_hour"} else document


def spec_document(entry: Spec) -> dict[str, Any]:
    """Return an entry as people write it: quantities with their unit, nothing that is left at its default."""
    document: dict[str, Any] = {}
    for name, field in type(entry).model_fields.items():
        value = getattr(entry, name, field.default)
        if value != field.default or field.is_required():
            document[name] = _written(name, value)
    return document


def _written(name: str, value: Any) -> Any:
    unit = promised_unit(name)
    if isinstance(value, float) and unit == "s":
        return f"{value / SECONDS_PER_HOUR / HOURS_PER_MONTH:.12g} months"
    if isinstance(value, float) and unit:
        return write(round(value, 6), unit)
    if isinstance(value, Mapping):
        return {key: inner.model_dump() if isinstance(inner, Spec) else inner for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value
