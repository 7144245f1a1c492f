"""Prices of one's own in the columns of llmplan: quotes, reservations, owned machines, discounts and quotas."""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose

from llmplan.errors import InputError, UnknownNameError, near
from llmplan.price_rows import ANYWHERE, Asked, Change, Entry, Nodes, Read, provider_of, slug
from llmplan.spec.catalog import Catalog
from llmplan.spec.hardware import Market, Node
from llmplan.spec.price_cells import Cells, Table
from llmplan.spec.terms import Owned, Quote, Reservation, Terms, check_span, checked
from llmplan.support import MARKETS
from llmplan.units import HOURS_PER_MONTH, MONTHS_PER_YEAR, SECONDS_PER_HOUR, WATTS_PER_KW, parse

WHO = ("provider", "node", "region", "market", "snapshot", "source", "note", "available")
HOST = ("gpu", "gpus", "vcpus", "dram_gib", "dram_bytes", "nic_gbit_per_s")
PRICES = ("price_per_hour", "price_per_gpu_hour", "usd_per_hour", "usd_per_gpu_hour")
TERM = ("upfront", "term_months")
OWNED = ("capex", "life_years", "residual", "interest_percent_per_year", "maintenance_percent_per_year")
RUNNING = ("power_kw", "pue", "electricity_per_kwh", "hosting_per_month")
OTHERS = ("currency", "discount_percent", "highest_usd_per_hour", "age_days")
COLUMNS = (*WHO, *HOST, *PRICES, *TERM, *OWNED, *RUNNING, *OTHERS)
"""`age_days` is in what `prices list` writes; the day says as much."""


def own_rows(table: Table, catalog: Catalog, asked: Asked) -> Read:
    """Return what a table in our own columns says.

    Raises
    ------
    InputError
        A column is unknown, or a cell is missing or wrong: nothing of one's own is passed over.
    """
    for name in table.columns:
        if name not in COLUMNS:
            advice = near(name, COLUMNS) or "the columns are in docs/methods/prices.md"
            raise InputError(f"{table.where}: no column {name!r} is read; {advice}")
    nodes = Nodes(catalog=catalog, tag=asked.tag)
    entries, changes = [], []
    defaults: dict[str, None] = {}
    for cells in table.rows:
        if cells.has(*PRICES, "capex", "upfront"):
            entries.append(_entry(cells, nodes, asked, defaults))
        else:
            changes.append(_change(cells, asked))
    return Read(entries=tuple(entries), changes=tuple(changes), defaults=tuple(defaults))


def _entry(cells: Cells, nodes: Nodes, asked: Asked, defaults: dict[str, None]) -> Entry:
    provider = provider_of(cells, asked)
    node = _node(cells, nodes, provider)
    if cells.has(*OWNED, *RUNNING):
        terms: Terms = _owned(cells, node, nodes.catalog, defaults)
    elif cells.has(*TERM):
        terms = _reservation(cells, node)
    else:
        terms = _quote(cells, node)
    try:
        checked(terms)
    except ValueError as error:
        raise InputError(f"{cells.place}: {error}") from None
    return Entry(
        cells=cells,
        provider=provider,
        node=node,
        region=_region(cells) or ANYWHERE,
        market=_market(cells, terms),
        terms=terms,
        snapshot=asked.day(cells),
    )


def _region(cells: Cells) -> str | None:
    region = cells.text("region")
    if "/" in region or "*" in region:
        raise cells.wrong("region", f"{region!r} is no name; want one without / and *, or nothing")
    return region or None


def _market(cells: Cells, terms: Terms) -> Market:
    """Return the market of a row, which its terms decide when they are those of one market only."""
    sure: Market | None = (
        "owned" if isinstance(terms, Owned) else "reserved" if isinstance(terms, Reservation) else None
    )
    said = _said_market(cells)
    if sure is not None and said not in (None, sure):
        raise cells.wrong("market", f"{said} does not go with these terms; want {sure}, or nothing")
    return sure or said or "on_demand"


def _said_market(cells: Cells) -> Market | None:
    text = cells.text("market")
    if text and text not in MARKETS:
        raise cells.wrong("market", f"{text!r} is not known here; {near(text, MARKETS)}")
    return MARKETS[MARKETS.index(text)] if text else None


def _node(cells: Cells, nodes: Nodes, provider: str) -> Node:
    """Return the node that a row names, or the new one that it describes."""
    gpus = cells.count("gpus")
    gpu = _gpu(cells, nodes.catalog)
    name = cells.text("node") or (f"{provider}-{gpus}x{gpu}" if gpu and gpus else "")
    if not slug(name):
        raise InputError(f"{cells.place}: node: missing; name one, or give gpu and gpus")
    known = nodes.known(name)
    if known is None:
        if gpu is None or gpus is None:
            advice = near(name, nodes.catalog.names("nodes"))
            said = f"no node {name!r} in the catalog"
            raise cells.wrong("node", f"{said}; {advice or 'of a new one give gpu and gpus'}")
        known = nodes.taken(name)
        if known is None:
            return nodes.add(name, provider, gpu, gpus, _host(cells))
    if (gpu or known.gpu, gpus or known.gpus) != (known.gpu, known.gpus):
        has = f"{known.name} has {known.gpus} {known.gpu}"
        row = f"{gpus or known.gpus} {gpu or known.gpu}"
        raise cells.wrong("gpu", f"{has}, this row says {row}; give the node another name")
    return known


def _gpu(cells: Cells, catalog: Catalog) -> str | None:
    if not cells.has("gpu"):
        return None
    try:
        return catalog.gpu(cells.text("gpu")).name
    except UnknownNameError as error:
        raise UnknownNameError(f"{cells.place}: gpu: {error}") from None


def _host(cells: Cells) -> Mapping[str, float | None]:
    dram = parse(f"{cells.number('dram_gib')} GiB", "B") if cells.has("dram_gib") else None
    nic = parse(f"{cells.number('nic_gbit_per_s')} Gb/s", "B/s") if cells.has("nic_gbit_per_s") else None
    return {
        "vcpus": cells.count("vcpus"),
        "dram_bytes": cells.number("dram_bytes") if cells.has("dram_bytes") else dram,
        "nic_bytes_per_s": nic,
    }


def _price(cells: Cells, node: Node) -> float:
    """Return the price of the node, which may be said of the node or of one GPU. [USD/h]"""
    code = cells.text("currency", "USD").upper()
    found: dict[str, float] = {}
    for column in PRICES:
        if cells.has(column):
            if column.startswith("usd") and code != "USD":
                raise cells.wrong(column, f"is in USD, this row in {code}; want {column.replace('usd', 'price')}")
            found[column] = cells.usd(column) * (node.gpus if "gpu" in column else 1)
    prices = list(found.values())
    if any(not isclose(price, prices[0], rel_tol=1e-3, abs_tol=1e-6) for price in prices):
        said = " and ".join(f"{name} {cells.text(name)}" for name in found)
        raise InputError(f"{cells.place}: {said} are not one price of {node.gpus} GPUs; keep one")
    return prices[0] if prices else 0.0


def _quote(cells: Cells, node: Node) -> Quote:
    listed, discount = _price(cells, node), cells.share("discount_percent")
    said = f"{listed:g} USD/h less {100 * discount:g} %" if discount else ""
    highest = cells.number("highest_usd_per_hour") if cells.has("highest_usd_per_hour") else None
    if highest is not None and round(highest, 6) < round(listed, 6):
        raise cells.wrong("highest_usd_per_hour", f"is less than the price, {listed:g}; want that of the dearest zone")
    quote = Quote.model_construct(
        usd_per_hour=listed,
        highest_usd_per_hour=highest,
        available=cells.count("available", least=0),
        note=_note(cells, said),
    )
    return quote.less(discount)


def _note(cells: Cells, *said: str) -> str:
    """Return what stays with a price: the rate it was converted at, and the row's own words."""
    code = cells.text("currency", "USD").upper()
    rate = f"1 {code} = {cells.usd_per_unit[code]:g} USD" if code != "USD" else ""
    return "; ".join(text for text in (*said, rate, cells.text("note")) if text)


def _reservation(cells: Cells, node: Node) -> Reservation:
    if cells.has("discount_percent"):
        raise cells.wrong("discount_percent", "goes with a price, not with a reservation; put it into the price")
    return Reservation.model_construct(
        upfront_usd=cells.usd("upfront", 0.0),
        usd_per_hour=_price(cells, node),
        term_s=_months(cells, "term_months"),
        available=cells.count("available", least=0),
        note=_note(cells),
    )


def _months(cells: Cells, column: str) -> float:
    months = cells.number(column) * (MONTHS_PER_YEAR if column.endswith("years") else 1)
    seconds = months * HOURS_PER_MONTH * SECONDS_PER_HOUR
    try:
        check_span(column, seconds)
    except ValueError as error:
        raise InputError(f"{cells.place}: {error}") from None
    return seconds


def _owned(cells: Cells, node: Node, catalog: Catalog, defaults: dict[str, None]) -> Owned:
    if cells.has(*PRICES, *TERM, "discount_percent"):
        raise InputError(f"{cells.place}: has a price and capex; a machine is bought or rented, keep one")
    power_w, pue = _power(cells, node, catalog, defaults)
    capex, residual = cells.usd("capex"), cells.usd("residual", 0.0)
    if residual > capex:
        raise cells.wrong("residual", "is more than capex; want what is left of it at the end")
    for column in ("residual", "interest_percent_per_year", "maintenance_percent_per_year", "hosting_per_month"):
        if not cells.has(column):
            defaults[f"{column}: 0"] = None
    return Owned.model_construct(
        capex_usd=capex,
        life_s=_months(cells, "life_years"),
        residual_usd=residual,
        interest_per_year=cells.share("interest_percent_per_year"),
        maintenance_per_year=cells.share("maintenance_percent_per_year"),
        power_w=power_w,
        pue=pue,
        electricity_usd_per_kwh=cells.usd("electricity_per_kwh"),
        hosting_usd_per_hour=cells.usd("hosting_per_month", 0.0) / HOURS_PER_MONTH,
        available=cells.count("available", least=0),
        note=_note(cells),
    )


def _power(cells: Cells, node: Node, catalog: Catalog, defaults: dict[str, None]) -> tuple[float, float]:
    """Return the draw of a node and the PUE on top of it: as given, or estimates that have the cooling in them."""
    owning = catalog.owning
    if cells.has("power_kw"):
        if not cells.has("pue"):
            defaults[f"pue: {owning.pue:g} ({owning.sources['pue'].tag})"] = None
        return cells.number("power_kw") * WATTS_PER_KW, cells.number("pue", owning.pue, least=1)
    if cells.has("pue"):
        raise cells.wrong("pue", "goes with power_kw; without it an all-in draw is taken, cooling included")
    gpu = catalog.gpu(node.gpu)
    one = owning.all_in_w.get(gpu.name, owning.tdp_factor * (gpu.tdp_w or 0.0))
    if one == 0:
        raise cells.wrong("power_kw", f"missing, and nobody says what {gpu.name} draws; give that of the node")
    how = owning.sources["all_in_w"].tag if gpu.name in owning.all_in_w else f"{owning.tdp_factor:g} x TDP"
    defaults[f"power_kw of {node.name}: {node.gpus} x {one / WATTS_PER_KW:g}, all-in ({how})"] = None
    return node.gpus * one, 1.0


def _change(cells: Cells, asked: Asked) -> Change:
    """Return a discount or a count of nodes, of prices that the catalog has."""
    if not cells.has("discount_percent", "available"):
        raise InputError(
            f"{cells.place}: has no price; want price_per_hour, price_per_gpu_hour, upfront or capex "
            "(or discount_percent or available for a price that the catalog has)"
        )
    return Change(
        cells=cells,
        provider=provider_of(cells, asked),
        node=cells.text("node") or "*",
        region=_region(cells),
        market=_said_market(cells) or "on_demand",
        discount=cells.share("discount_percent") if cells.has("discount_percent") else None,
        term_s=_months(cells, "term_months") if cells.has("term_months") else None,
        available=cells.count("available", least=0),
    )
