"""`llmplan prices`: what nodes cost, and prices of one's own."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmplan.cli import options as o
from llmplan.cli.folders import changed_files, written_together
from llmplan.cli.output import WARNED
from llmplan.errors import InputError

if TYPE_CHECKING:
    from llmplan.price_rows import Asked

MOST_BYTES = 64 * 2**20
"""Tables of whole providers are larger than what people write."""
SHOWN = 100
"""Prices in the table of a terminal, unless --limit says otherwise: more scroll away."""

app = typer.Typer(
    no_args_is_help=True,
    epilog=o.EXIT_CODES,
    help="List prices by GPU, provider, region and market, with age and source; take in prices of your own.",
)


class Market(StrEnum):
    """How a node is had."""

    on_demand = "on_demand"
    reserved = "reserved"
    spot = "spot"
    owned = "owned"


@app.command("list", epilog=o.EXIT_CODES)
def list_prices(
    gpu: Annotated[list[str] | None, typer.Option("--gpu", help="Only these GPUs, by name or alias.")] = None,
    provider: Annotated[list[str] | None, typer.Option("--provider", help="Only these providers.")] = None,
    region: Annotated[list[str] | None, typer.Option("--region", help="Only these regions.")] = None,
    market: Annotated[list[Market] | None, typer.Option("--market", help="Only these markets.")] = None,
    node: Annotated[list[str] | None, typer.Option("--node", help="Only these nodes.")] = None,
    max_usd_per_gpu_hour: Annotated[
        float | None, typer.Option("--max-usd-per-gpu-hour", metavar="USD", help="Only GPU hours up to this price.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", help=f"Only the N cheapest; 0: all ({SHOWN} in a terminal's table)."),
    ] = None,
    fmt: o.FormatOption = o.OutputFormat.table,
    as_json: o.JsonOption = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show how reserved and owned prices come about.")] = False,
    wide: o.WideOption = False,
    catalog: o.CatalogOption = None,
    max_price_age: o.MaxAgeOption = None,
    currency: o.CurrencyOption = None,
    quiet: o.QuietOption = False,
    no_color: o.NoColorOption = False,
    warn_as_error: o.WarnOption = False,
) -> None:
    """List prices of nodes, the cheapest GPU hour first."""
    from llmplan.cli.price_tables import price_sections
    from llmplan.price_list import Wanted, document, priced, remarks
    from llmplan.report import render

    wanted = Wanted(
        gpus=_named(gpu),
        providers=_named(provider),
        regions=_named(region),
        nodes=_named(node),
        markets=tuple(one.value for one in market or ()),
        max_usd_per_gpu_hour=_positive(max_usd_per_gpu_hour),
    )
    kind, color = "json" if as_json else fmt.value, o.colored(no_color)
    most = _most(limit, kind)
    as_of, shown_in, opened = o.as_of(max_price_age), o.shown_currency(currency), o.opened_catalog(catalog)
    every = priced(opened, wanted, as_of)
    warnings = as_of.warnings(row.offer for row in every)
    for warning in warnings:
        o.told(quiet, f"warning    {warning}")
    for remark in () if quiet else remarks(opened, wanted, as_of, len(every)):
        o.told(quiet, f"note       {remark}")
    rows = every[:most]
    width = o.table_width(wide or kind == "markdown")
    people = kind in ("table", "markdown")
    sections = list(price_sections(rows, shown_in, width, explain, len(every))) if people else []
    typer.echo(render.as_kind(kind, document(rows), sections, width, color), nl=False, color=color)
    raise typer.Exit(WARNED if warnings and warn_as_error else 0)


@app.command("import", epilog=o.EXIT_CODES)
def import_prices(
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV in llmplan's, SkyPilot's or gpuhunt's columns.")],
    output_dir: Annotated[
        str | None, typer.Option("--output-dir", metavar="DIR", help="Catalog folder to write; without it a dry run.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of that folder.")] = False,
    provider: Annotated[str | None, typer.Option("--provider", help="Provider of rows that name none.")] = None,
    snapshot: Annotated[
        str | None, typer.Option("--snapshot", metavar="DAY", help="Day of rows that have none; or unknown.")
    ] = None,
    rate: Annotated[
        list[str] | None, typer.Option("--rate", metavar="CODE=USD", help="USD for 1 of a currency: EUR=1.08.")
    ] = None,
    fmt: o.FormatOption = o.OutputFormat.table,
    as_json: o.JsonOption = False,
    wide: o.WideOption = False,
    catalog: o.CatalogOption = None,
    currency: o.CurrencyOption = None,
    quiet: o.QuietOption = False,
    no_color: o.NoColorOption = False,
) -> None:
    """Make a catalog folder of quotes, discounts and owned machines."""
    from llmplan.cli.price_tables import import_document, import_sections
    from llmplan.price_import import imported
    from llmplan.price_list import document
    from llmplan.report import render
    from llmplan.spec.readers import TABLE, read_text

    as_of, shown_in, opened = o.as_of(None), o.shown_currency(currency), o.opened_catalog(catalog)
    rates = dict(o.rate_of(text, "--rate", "EUR=1.08 (USD for 1 EUR)") for text in rate or ())
    text, where = read_text(file, MOST_BYTES, TABLE)
    found = imported(text, where, opened, _asked(provider, snapshot, where), rates)
    texts = {name: f"# Written by llmplan prices import.\n{render.as_yaml(doc)}" for name, doc in found.files().items()}
    files = _written(output_dir, texts, overwrite)
    for said in found.read.defaults:
        o.told(quiet, f"default    {said}")
    for said in found.notes:
        o.told(quiet, f"note       {said}")
    rows = found.priced(opened, as_of)
    sections = list(import_sections(found, rows, shown_in, files))
    kind, width, color = "json" if as_json else fmt.value, o.table_width(wide), o.colored(no_color)
    told = document(rows) if kind == "csv" else import_document(found, rows, files)
    typer.echo(render.as_kind(kind, told, sections, width, color), nl=False, color=color)
    last = f"use it with --catalog {output_dir}" if output_dir else "nothing written; --output-dir DIR writes it"
    o.told(quiet, last)


def _asked(provider: str | None, snapshot: str | None, where: str) -> Asked:
    from llmplan.freshness import day_of
    from llmplan.price_rows import Asked

    day = None if snapshot in (None, "unknown") else day_of(snapshot or "", "--snapshot")
    return Asked(provider=provider, snapshot=day, dated=snapshot is not None, tag=Path(where).name)


def _written(folder: str | None, texts: dict[str, str], overwrite: bool) -> list[tuple[str, str]]:
    """Write all files or none, and return what became of each."""
    if folder is None:
        return [(name, "not written") for name in texts]
    changed = changed_files(folder, texts, overwrite)
    written_together(folder, {name: texts[name] for name in changed})
    return [(str(Path(folder) / name), "written" if name in changed else "as it was") for name in texts]


def _named(texts: list[str] | None) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts or () for name in text.split(",") if name.strip())


def _most(limit: int | None, kind: str) -> int | None:
    """Return how many prices are shown; None: all, which is what a file or another program gets unasked."""
    if limit is not None and limit < 0:
        raise InputError(f"--limit {limit}: want 0 (all) or more")
    if limit is None:
        return SHOWN if kind == "table" and sys.stdout.isatty() else None
    return limit or None


def _positive(usd: float | None) -> float | None:
    if usd is not None and not 0 < usd < float("inf"):
        raise InputError(f"--max-usd-per-gpu-hour {usd:g}: want more than 0 USD")
    return usd
