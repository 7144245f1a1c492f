"""`llmplan catalog`: what llmplan knows of hardware, engines and prices, and from where."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmplan.cli import options as o
from llmplan.cli.entries import field_rows, price_rows
from llmplan.cli.listing import counted, detailed, listed
from llmplan.errors import InputError, UnknownNameError, near

if TYPE_CHECKING:
    from llmplan.spec.base import Spec
    from llmplan.spec.catalog import Catalog
    from llmplan.spec.engine import Engine

app = typer.Typer(
    no_args_is_help=True,
    epilog=o.EXIT_CODES,
    help="Show devices, nodes, links, engines and what they run, fits and offers, with sources.",
)


class Kind(StrEnum):
    """What the catalog holds."""

    gpus = "gpus"
    nodes = "nodes"
    links = "links"
    engines = "engines"
    support = "support"
    fits = "fits"
    offers = "offers"


@app.command("list", epilog=o.EXIT_CODES)
def list_entries(
    kind: Annotated[Kind, typer.Argument(help="What to list; support: which engine runs which models.")] = Kind.gpus,
    gpu: Annotated[str | None, typer.Option("--gpu", help="Offers, nodes and support of this GPU only.")] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="Support by this engine only.")] = None,
    family: Annotated[str | None, typer.Option("--family", help="Support of this model family only.")] = None,
    architecture: Annotated[
        str | None, typer.Option("--architecture", help="GPUs of this architecture only, such as hopper.")
    ] = None,
    fmt: o.FormatOption = o.OutputFormat.table,
    as_json: o.JsonOption = False,
    wide: o.WideOption = False,
    catalog: o.CatalogOption = None,
) -> None:
    """List the entries of one kind."""
    if gpu and kind in (Kind.links, Kind.engines):
        raise InputError(f"--gpu {gpu}: {kind.value} belong to no GPU; leave it out")
    for option, given in (("--engine", engine), ("--family", family)):
        if given and kind is not Kind.support:
            raise InputError(f"{option} {given}: only support is listed by it; leave it out")
    if architecture and kind is not Kind.gpus:
        raise InputError(f"--architecture {architecture}: only GPUs have one; leave it out, or list gpus")
    opened, fmt = o.opened_catalog(catalog), o.OutputFormat.json if as_json else fmt
    if kind is Kind.support:
        rows = _support(opened, gpu, engine, family)
        if not rows:
            o.told(False, _unsupported(opened, gpu, engine, family))
        title = f"{counted(len(rows), 'model family', 'model families')}, by the version that runs them"
        listed(rows, fmt, title, wide=wide)
        return
    wanted = opened.gpu(gpu).name if gpu else None
    rows = [row for row in _ROWS[kind](opened) if wanted is None or row.get("gpu") == wanted]
    if architecture:
        known = {str(row["architecture"]) for row in rows}
        rows = [row for row in rows if row["architecture"] == architecture.lower()]
        if not rows:
            raise UnknownNameError(f"--architecture {architecture}: no such architecture; {near(architecture, known)}")
    title = counted(len(rows), kind.value.removesuffix("s"))
    listed(rows, fmt, title, _SPARED.get(kind, ()), _NOTES.get(kind, ""), wide=wide)


def _support(catalog: Catalog, gpu: str | None, engine: str | None, family: str | None) -> list[dict[str, Any]]:
    """Return a row a model family: the version of each engine that runs it, on some GPU or on one."""
    names = [catalog.engine(engine).name] if engine else catalog.names("engines")
    engines = [catalog.engine(name) for name in names]
    architecture = catalog.gpu(gpu).architecture if gpu else None
    families = sorted({name for one in engines for name in one.models})
    if family and family not in families:
        none = f"engine {names[0]} does not run it" if engine else "no engine runs it"
        raise UnknownNameError(f"--family {family}: {none}; {near(family, families)}".rstrip("; "))

    def version(one: Engine, name: str) -> str | None:
        able = one.architectures_of(name)
        if not able or (architecture and architecture not in able):
            return None
        return one.models[name].since or one.version

    rows = [{"family": name, **{one.name: version(one, name) for one in engines}} for name in families]
    return [row for row in rows if family in (None, row["family"]) and any(row[one.name] for one in engines)]


def _unsupported(catalog: Catalog, gpu: str | None, engine: str | None, family: str | None) -> str:
    """Return why no engine runs anything of what was asked for."""
    whose = f"engine {catalog.engine(engine).name}" if engine else "no engine of the catalog"
    verb = "does not run" if engine else "runs"
    if gpu is None:
        return f"{whose} {verb} {family or 'any model'}"
    device = catalog.gpu(gpu)
    lists = [name for name in catalog.names("engines") if device.architecture in catalog.engine(name).support]
    if family and (catalog.engine(engine).name in lists if engine else lists):
        return f"{whose} {verb} {family} on the architecture {device.architecture} ({device.name})"
    listing = "does not list" if engine else "lists"
    said = f"{whose} {listing} the architecture {device.architecture} ({device.name})"
    if engine and lists:
        return f"{said}; {' and '.join(lists)} {'do' if len(lists) > 1 else 'does'}"
    return f"{said}; describe an engine of your own to plan with it (docs/extend.md)"


def _gpus(catalog: Catalog) -> list[dict[str, Any]]:
    from llmplan.kernel_library import library_of

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
                "basis": library_of(catalog).basis(gpu),
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
    return [
        {
            "gpu": one.gpu,
            "kernels": len(one.kernels),
            "operators": len({kernel.operator for kernel in one.kernels}),
            "fitted": one.fitted.isoformat(),
            "source": one.source,
        }
        for one in catalog.kernels()
    ]


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
    as_json: o.JsonOption = False,
    wide: o.WideOption = False,
    catalog: o.CatalogOption = None,
) -> None:
    """Show one entry, with the source of each value."""
    opened = o.opened_catalog(catalog)
    entry = _found(opened, name)
    rows = [*field_rows(entry), *price_rows(entry, opened)]
    shown_as = o.OutputFormat.json if as_json else fmt
    detailed(entry.model_dump(mode="json"), shown_as, str(getattr(entry, "name", name)), rows, wide=wide)


def _found(catalog: Catalog, name: str) -> Spec:
    for get in (catalog.gpu, catalog.node, catalog.link, catalog.engine):
        with suppress(UnknownNameError):
            found: Spec = get(name)
            return found
    _check_uncounted(catalog, name)
    for kind in ("gpus", "nodes", "engines"):
        reason = catalog.refusal(kind, name)
        if reason:
            raise UnknownNameError(reason)
    known = [n for kind in ("gpus", "nodes", "links", "engines") for n in catalog.names(kind)]
    advice = near(name, known) or "llmplan catalog list shows what there is"
    raise UnknownNameError(f"no entry {name!r} in the catalog; {advice}")


def _check_uncounted(catalog: Catalog, name: str) -> None:
    """Refuse a GPU with a number before or behind it: an entry is a single device."""
    from llmplan.spec.deployment import gpu_and_count

    try:
        gpu, count = gpu_and_count(name)
    except InputError:
        return
    if count is None:
        return
    reason = catalog.refusal("gpus", gpu)
    if reason:
        raise UnknownNameError(reason)
    with suppress(UnknownNameError):
        gpu = catalog.gpu(gpu).name
        raise InputError(f"no entry {name!r} in the catalog: an entry is one device; name {gpu}")
