"""`llmplan prices`: what nodes cost, and prices of one's own."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from llmplan.cli import options as o
from llmplan.cli.output import WARNED
from llmplan.errors import InputError

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
    from llmplan.price_list import Wanted, document, missing, priced
    from llmplan.report import render
    from llmplan.report.price_sections import price_sections

    wanted = Wanted(
        gpus=_named(gpu),
        providers=_named(provider),
        regions=_named(region),
        nodes=_named(node),
        markets=tuple(one.value for one in market or ()),
        max_usd_per_gpu_hour=_positive(max_usd_per_gpu_hour),
    )
    as_of, shown_in, opened = o.as_of(max_price_age), o.shown_currency(currency), o.opened_catalog(catalog)
    rows = priced(opened, wanted, as_of)
    warnings = as_of.warnings(row.offer for row in rows)
    if not rows:
        o.told(quiet, missing(opened, wanted, as_of))
    for warning in warnings:
        o.told(quiet, f"warning    {warning}")
    width, color = o.table_width(wide), o.colored(no_color)
    sections = list(price_sections(rows, shown_in, width, explain))
    kind = o.OutputFormat.json if as_json else fmt
    typer.echo(render.as_kind(kind.value, document(rows), sections, width, color), nl=False, color=color)
    raise typer.Exit(WARNED if warnings and warn_as_error else 0)


def _named(texts: list[str] | None) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts or () for name in text.split(",") if name.strip())


def _positive(usd: float | None) -> float | None:
    if usd is not None and not 0 < usd < float("inf"):
        raise InputError(f"--max-usd-per-gpu-hour {usd:g}: want more than 0 USD")
    return usd
