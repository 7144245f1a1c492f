"""An entry of the catalog as rows of text: its fields with their sources, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmplan.spec.hardware import Gpu, Link, Node

if TYPE_CHECKING:
    from llmplan.spec.base import Spec
    from llmplan.spec.catalog import Catalog
    from llmplan.spec.hardware import Offer

FACTS = (Gpu, Link, Node)
"""Entries whose empty fields are facts that nobody published; with a source they say that there is none."""
WHEN_NULL = {"link_domain": "planned as of the GPU, at most the node's"}
"""What is planned with instead of a fact that is not known."""


def price_rows(entry: Spec, catalog: Catalog) -> list[tuple[str, str, str]]:
    """Return (market, price, where and when) rows: the cheapest hour of a node, or of one device, in each market."""
    from llmplan.spec.workload import OfferFilter
    from llmplan.support import MARKETS

    if isinstance(entry, Node):
        wanted = OfferFilter(nodes=(entry.name,), markets=MARKETS)
    elif isinstance(entry, Gpu):
        wanted = OfferFilter(gpus=(entry.name,), markets=MARKETS)
    else:
        return []
    cheapest: dict[str, Offer] = {}
    by_gpu = isinstance(entry, Gpu)
    for offer in sorted(catalog.offers(wanted), key=lambda x: (_usd(x, by_gpu), x.name)):
        cheapest.setdefault(offer.market, offer)
    return [_price(cheapest[market], by_gpu) for market in MARKETS if market in cheapest]


def _usd(offer: Offer, by_gpu: bool) -> float:
    return offer.usd_per_hour / offer.node.gpus if by_gpu else offer.usd_per_hour


def _price(offer: Offer, by_gpu: bool) -> tuple[str, str, str]:
    price = f"{_usd(offer, by_gpu):.2f} USD/{'GPU-h' if by_gpu else 'h'}"
    where = f"{offer.node.name}, {offer.region}" if by_gpu else offer.region
    day = f"price of {offer.snapshot.isoformat()}" if offer.snapshot else "price of an unknown day"
    return f"cheapest {offer.market}", f"{price} ({where})", f"{offer.provider}, {day}"


def field_rows(entry: Spec) -> list[tuple[str, str, str]]:
    """Return (field, value, source) rows, quantities with their unit, parts in rows of their own."""
    sources = getattr(entry, "sources", {})
    rows = []
    for field, value in entry:
        if field in ("sources", "name") or value in ("", ()) or (value is None and not isinstance(entry, FACTS)):
            continue
        source = sources.get(field)
        said = f"{source.tag} ({source.confidence})" if source else WHEN_NULL.get(field, "") if value is None else ""
        if value is None:
            rows.append((field, "none" if source else "not known", said))
            continue
        parts = _parts(value)
        rows.append((field, "" if parts else _text(field, value), said))
        rows += parts
    return rows


def _parts(value: Any) -> list[tuple[str, str, str]]:
    """Return a row for each part of a nested entry, or of a table of such."""
    if hasattr(value, "model_dump"):
        return [(f"  {name}", _text(name, part), "") for name, part in value if part not in (None, "", {})]
    if isinstance(value, dict) and any(hasattr(part, "model_dump") for part in value.values()):
        return [(f"  {name}", _plain(part) or "all", _own_source(part)) for name, part in value.items()]
    return []


def _own_source(part: Any) -> str:
    source = getattr(part, "source", None)
    return f"{source.tag} ({source.confidence})" if source else ""


def _text(field: str, value: Any) -> str:
    from llmplan.spec.base import promised_unit
    from llmplan.units import brief

    unit = promised_unit(field)
    if unit and isinstance(value, float):
        return brief(value, unit)
    if isinstance(value, dict) and unit:
        return ", ".join(f"{key} {brief(x, unit)}" for key, x in value.items())
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, tuple | list | frozenset):
        return ", ".join(sorted(str(v) for v in value))
    if hasattr(value, "model_dump"):
        said = [(k, v) for k, v in value if k in value.model_fields_set and k != "source" and v is not None]
        return "; ".join(f"{k} {_text(k, v)}" for k, v in said)
    if isinstance(value, dict):
        parts = {k: _plain(v) for k, v in value.items()}
        return ", ".join(
            f"{k} ({said})" if said and hasattr(value[k], "model_dump") else _pair(k, said) for k, said in parts.items()
        )
    return str(value)


def _pair(key: str, said: str) -> str:
    return f"{key}: {said}" if said else key
