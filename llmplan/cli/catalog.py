"""`llmplan catalog`: what llmplan knows of hardware, engines and prices, and from where."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmplan.cli import options as o
from llmplan.cli.listing import detailed, listed
from llmplan.errors import InputError, UnknownNameError, near

if TYPE_CHECKING:
    from llmplan.spec.base import Spec
    from llmplan.spec.catalog import Catalog

app = typer.Typer(
    no_args_is_help=True,
    epilog=o.EXIT_CODES,
    help="Show devices, nodes, links, engines, fits and offers, with sources.",
)


class Kind(StrEnum):
    """What the catalog holds."""

    gpus = "gpus"
    nodes = "nodes"
    links = "links"
    engines = "engines"
    fits = "fits"
    offers = "offers"


@app.command("list", epilog=o.EXIT_CODES)
def list_entries(
    kind: Annotated[Kind, typer.Argument(help="What to list.")] = Kind.gpus,
    gpu: Annotated[str | None, typer.Option("--gpu", help="Offers and nodes of this GPU only.")] = None,
    architecture: Annotated[
        str | None, typer.Option("--architecture", help="GPUs of this architecture only, such as hopper.")
    ] = None,
    fmt: o.FormatOption = o.OutputFormat.table,
    catalog: o.CatalogOption = None,
) -> None:
    """List the entries of one kind."""
    if gpu and kind in (Kind.links, Kind.engines):
        raise InputError(f"--gpu {gpu}: {kind.value} belong to no GPU; leave it out")
    if architecture and kind is not Kind.gpus:
        raise InputError(f"--architecture {architecture}: only GPUs have one; leave it out, or list gpus")
    opened = o.opened_catalog(catalog)
    wanted = opened.gpu(gpu).name if gpu else None
    rows = [row for row in _ROWS[kind](opened) if wanted is None or row.get("gpu") == wanted]
    if architecture:
        known = {str(row["architecture"]) for row in rows}
        rows = [row for row in rows if row["architecture"] == architecture.lower()]
        if not rows:
            raise UnknownNameError(f"--architecture {architecture}: no such architecture; {near(architecture, known)}")
    listed(rows, fmt, f"{len(rows)} {kind.value}", _SPARED.get(kind, ()), _NOTES.get(kind, ""))


def _gpus(catalog: Catalog) -> list[dict[str, Any]]:
    from llmplan.resolve import fits_for

    rows = []
    for name in catalog.names("gpus"):
        gpu = catalog.gpu(name)
        rows.append(
            {
                "gpu": name,
                "architecture": gpu.architecture,
                "status": gpu.status,
                "memory_bytes": gpu.memory_bytes,
                "bandwidth_bytes_per_s": gpu.memory_bytes_per_s,
                "bf16_flop_per_s": gpu.flop_per_s["bf16"],
                "basis": fits_for(gpu, catalog)[1],
            }
        )
    return rows


def _nodes(catalog: Catalog) -> list[dict[str, Any]]:
    rows = []
    for name in catalog.names("nodes"):
        node = catalog.node(name)
        rows.append(
            {
                "node": name,
                "provider": node.provider,
                "gpus": node.gpus,
                "gpu": node.gpu,
                "vcpus": node.vcpus,
                "dram_bytes": node.dram_bytes,
                "network_bytes_per_s": node.nic_bytes_per_s,
            }
        )
    return rows


def _links(catalog: Catalog) -> list[dict[str, Any]]:
    links = [catalog.link(name) for name in catalog.names("links")]
    return [
        {"link": x.name, "kind": x.kind, "rate_bytes_per_s": x.bytes_per_s, "latency_s": x.latency_s} for x in links
    ]


def _engines(catalog: Catalog) -> list[dict[str, Any]]:
    engines = [catalog.engine(name) for name in catalog.names("engines")]
    return [
        {"engine": x.name, "title": x.title, "version": x.version, "architectures": sorted(x.support)} for x in engines
    ]


def _fits(catalog: Catalog) -> list[dict[str, Any]]:
    rows = []
    for name in catalog.names("fits"):
        fits = catalog.fits(name)
        if fits is not None:
            rows.append(
                {
                    "gpu": name,
                    "operators": len(fits.operators),
                    "collectives": len(fits.collectives),
                    "fitted": fits.fitted.isoformat(),
                    "source": fits.source,
                }
            )
    return rows


def _offers(catalog: Catalog) -> list[dict[str, Any]]:
    from llmplan.spec.workload import OfferFilter

    every = OfferFilter.model_validate({"markets": ["on_demand", "reserved", "spot", "owned"]})
    return [
        {
            "offer": offer.name,
            "gpu": offer.node.gpu,
            "gpus": offer.node.gpus,
            "usd_per_hour": offer.usd_per_hour,
            "snapshot": offer.snapshot.isoformat() if offer.snapshot else None,
        }
        for offer in catalog.offers(every, everything=True)
    ]


_ROWS = {
    Kind.gpus: _gpus,
    Kind.nodes: _nodes,
    Kind.links: _links,
    Kind.engines: _engines,
    Kind.fits: _fits,
    Kind.offers: _offers,
}


_SPARED = {
    Kind.gpus: ("architecture", "bf16_flop_per_s"),
    Kind.nodes: ("vcpus", "provider", "dram_bytes"),
    Kind.offers: ("snapshot", "gpus", "gpu"),
}
"""Columns that a narrow terminal goes without."""
_NOTES = {
    Kind.gpus: "calibrated: its kernels were measured; transferred: those of its architecture; datasheet: neither",
    Kind.nodes: "network: of the whole node, one direction",
    Kind.links: "rate: of one device, one direction",
}


@app.command("show", epilog=o.EXIT_CODES)
def show(
    name: Annotated[str, typer.Argument(help="Name or alias of a GPU, node, link or engine.")],
    fmt: o.FormatOption = o.OutputFormat.table,
    catalog: o.CatalogOption = None,
) -> None:
    """Show one entry, with the source of each value."""
    opened = o.opened_catalog(catalog)
    entry = _found(opened, name)
    detailed(entry.model_dump(mode="json"), fmt, str(getattr(entry, "name", name)), _fields(entry))


def _found(catalog: Catalog, name: str) -> Spec:
    for get in (catalog.gpu, catalog.node, catalog.link, catalog.engine):
        with suppress(UnknownNameError):
            found: Spec = get(name)
            return found
    for kind in ("gpus", "nodes", "engines"):
        reason = catalog.refused.reason(kind, name)
        if reason:
            raise UnknownNameError(reason)
    known = [n for kind in ("gpus", "nodes", "links", "engines") for n in catalog.names(kind)]
    advice = near(name, known) or "llmplan catalog list shows what there is"
    raise UnknownNameError(f"no entry {name!r} in the catalog; {advice}")


def _fields(entry: Spec) -> list[tuple[str, str, str]]:
    """Return (field, value, source) rows, quantities with their unit."""
    from llmplan.spec.base import promised_unit
    from llmplan.units import brief

    sources = getattr(entry, "sources", {})
    rows = []
    for field, value in entry:
        if field in ("sources", "name") or value in (None, "", ()):
            continue
        unit = promised_unit(field)
        if unit and isinstance(value, float):
            text = brief(value, unit)
        elif isinstance(value, dict) and unit:
            text = ", ".join(f"{key} {brief(x, unit)}" for key, x in value.items())
        else:
            text = _plain(value)
        source = sources.get(field)
        rows.append((field, text, f"{source.tag} ({source.confidence})" if source else ""))
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, tuple | list | frozenset):
        return ", ".join(sorted(str(v) for v in value))
    if hasattr(value, "model_dump"):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in value if v is not None)
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_plain(v)}" for k, v in value.items())
    return str(value)
