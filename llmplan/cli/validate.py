"""`llmplan validate`: predictions beside measured times."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmplan.cli import options as o
from llmplan.cli.listing import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmplan.kernel_scores import Score

GATE_FAILED = 3
SPARED = ("kernel", "basis", "roofline", "WAPE", "bias")
"""Columns that a narrow terminal goes without, the first named first."""

app = typer.Typer(no_args_is_help=True, epilog=o.EXIT_CODES, help="Score predictions against measured times.")


class Hidden(StrEnum):
    """What is hidden from the predictions."""

    gpu = "gpu"
    family = "family"


@app.command("kernels", epilog=o.EXIT_CODES)
def kernels(
    data: Annotated[
        str | None, typer.Option("--data", metavar="DIR", help="Folder of measured rows; default: the shipped ones.")
    ] = None,
    fmt: o.FormatOption = o.OutputFormat.table,
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="Write the JSON there.")] = None,
    rows: Annotated[
        str | None, typer.Option("--rows", metavar="FILE.csv", help="Write one line for each scored row.")
    ] = None,
    hide: Annotated[
        Hidden | None,
        typer.Option("--hide", help="Predict each GPU as if it (or its architecture) had not been measured."),
    ] = None,
    max_mape: Annotated[
        float | None, typer.Option("--max-mape", metavar="PERCENT", help="Exit 3 where left-out rows miss by more.")
    ] = None,
    residuals: Annotated[
        bool, typer.Option("--residuals/--no-residuals", help="Add what measured rows nearby say beside the forms.")
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    catalog: o.CatalogOption = None,
    wide: o.WideOption = False,
    quiet: o.QuietOption = False,
) -> None:
    """Score predicted kernel times: by operator, format, GPU and kernel, on rows left out of the fits and on the rest.

    `group`: whole shapes left out of every fit. `point`: single rows left out. `train`: rows the fits may have seen.
    """
    from llmplan.cli.measured import opened_library, read_measured
    from llmplan.kernel_residuals import ResidualLibrary
    from llmplan.kernel_scores import document, predictions, row_table, scores
    from llmplan.report import render

    o.check_output(output, overwrite, suffixes=(".json",))
    o.check_output(rows, overwrite, "--rows", (".csv",))
    opened = o.opened_catalog(catalog)
    measured = read_measured(data, opened)
    nearby = ResidualLibrary(opened.kernel_residuals) if residuals else None
    predicted = list(predictions(measured, opened_library(opened), None if hide is None else hide.value, nearby))
    for note in nearby.notes() if nearby else ():
        o.told(quiet, note)
    scored = scores(predicted)
    told = document(data if data is not None else "shipped", measured, scored)
    if output is not None:
        o.written(output, render.as_json(told))
        o.told(quiet, f"wrote {output}")
    if rows is not None:
        o.written(rows, render.as_csv(row_table(predicted)))
        o.told(quiet, f"wrote {rows}")
    if fmt in (o.OutputFormat.json, o.OutputFormat.yaml, o.OutputFormat.csv):
        shown = told["rows"] if fmt is o.OutputFormat.csv else told
        typer.echo(render.as_kind(fmt.value, shown, [], 0, False), nl=False)
    else:
        refused = ", ".join(f"{count} {reason}" for reason, count in told["coverage"]["refused"].items()) or "none"
        note = f"{told['coverage']['ran']} rows scored; refused: {refused}. Errors in percent of left-out rows."
        title = "MdAPE, P90, WAPE and bias of predicted kernel times"
        listed(_table(scored), fmt, title, SPARED, note, wide=wide, unbroken=("op", "dtype", "gpu"))
    if max_mape is not None and any(s.errors.mape > max_mape for s in scored if s.split != "train"):
        raise typer.Exit(GATE_FAILED)


def _table(scored: Sequence[Score]) -> list[dict[str, Any]]:
    return [
        {
            "op": s.op, "dtype": s.dtype, "gpu": s.gpu, "kernel": s.kernel, "split": s.split, "n": s.errors.n,
            "MdAPE": round(s.errors.mdape), "P90": round(s.errors.p90), "WAPE": round(s.errors.wape),
            "bias": round(s.errors.bias), "basis": s.basis, "roofline": round(s.roofline_mdape),
        }
        for s in scored
        if s.split != "train"
    ]  # fmt: skip
