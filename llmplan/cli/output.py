"""Prints an answer in the format asked for, writes it to a file, and ends with the right code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from llmplan.cli.options import SUFFIXES, OutputFormat, colored, table_width, told, written

if TYPE_CHECKING:
    from llmplan.report.currency import Currency
    from llmplan.spec.plan import Answer

CODES = {"infeasible": 4, "slo_not_confirmed": 4, "gap_not_reached": 6}
WARNED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Printing:
    """How the user wants to see an answer."""

    format: OutputFormat
    json: bool
    output: str | None
    explain: bool
    wide: bool
    quiet: bool
    no_color: bool
    currency: Currency
    warn_as_error: bool
    exit_zero: bool


def shown(answer: Answer, wanted: Printing) -> None:
    """Print an answer, write it, and raise Exit with its code."""
    kind = "json" if wanted.json else wanted.format.value
    answer = _with_currency(answer, wanted.currency)
    text = rendered(answer, kind, wanted, colored(wanted.no_color))
    if wanted.output is not None:
        other = SUFFIXES[Path(wanted.output).suffix]
        written(wanted.output, rendered(answer, other, wanted, False))
        told(wanted.quiet, f"wrote {wanted.output}")
    typer.echo(text, nl=False, color=colored(wanted.no_color))
    code = CODES.get(answer.status, 0)
    if code == 0 and answer.warnings and wanted.warn_as_error:
        code = WARNED
    raise typer.Exit(0 if wanted.exit_zero else code)


def _with_currency(answer: Answer, currency: Currency) -> Answer:
    """Return the answer with the currency of its tables noted."""
    noted = {"display_currency": currency.code, "display_per_usd": currency.per_usd}
    return answer.model_copy(update={"provenance": answer.provenance.model_copy(update=noted)})


def rendered(answer: Answer, kind: str, wanted: Printing, color: bool) -> str:
    """Return an answer as text of one format."""
    from llmplan.report import render
    from llmplan.report.sections import sections_of

    if kind == "json":
        return render.as_json(answer.document())
    if kind == "yaml":
        return render.as_yaml(answer.document())
    if kind == "csv":
        return render.as_csv(render.pool_rows(answer))
    sections = sections_of(answer, wanted.explain, wanted.wide, wanted.currency)
    if kind == "markdown":
        return render.as_markdown(sections)
    return render.as_table(sections, table_width(wanted.wide), color)
