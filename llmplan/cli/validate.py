"""`llmplan validate`: predictions beside measured times."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmplan.cli import options as o
from llmplan.cli.listing import listed
from llmplan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmplan.kernel_gates import Judged
    from llmplan.kernel_scores import Score

GATE_FAILED = 3
EXIT_CODES = (
    "Exit codes: 0 answer given, all gates pass · 1 internal error · 2 usage, file or catalog error · 3 a gate fails · "
    "130 interrupted."
)
SPARED = ("basis", "kernel", "roofline")
"""Columns that a narrow terminal goes without, the first named first: errors are never among them."""
INTERVAL = "90 %"
ROOM_FOR_INTERVALS = 100
"""Columns of a terminal below which intervals go as well, before names are folded."""
UNBROKEN = ("gpu", "split", INTERVAL)

app = typer.Typer(no_args_is_help=True, epilog=o.EXIT_CODES, help="Score predictions against measured times.")


class Hidden(StrEnum):
    """What is hidden from the predictions."""

    gpu = "gpu"
    family = "family"


class Split(StrEnum):
    """What a refit does not see."""

    half = "half"
    group = "group"
    gpu = "gpu"


@app.command("kernels", epilog=EXIT_CODES)
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
    calibrate: Annotated[
        int | None,
        typer.Option("--calibrate", metavar="N", help="Hide each GPU but for N rows of each kernel; score the rest."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="K", min=0, max=o.MOST_SEED, help="Which N rows (0).")
    ] = None,
    fit: Annotated[
        Split | None,
        typer.Option("--fit", help="Refit on half of the rows, on all but the left-out shapes, or on other GPUs."),
    ] = None,
    bins: Annotated[bool, typer.Option("--bins", help="Add a table by operator and measured time.")] = False,
    gate: Annotated[
        str | None, typer.Option("--gate", metavar="FILE", help="Exit 3 where a limit in it does not hold.")
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
    With --calibrate and --fit half, `point` is every row that was not drawn.
    """
    from llmplan.cli.measured import read_measured
    from llmplan.cli.scored import Trial, checked_limit, read_gates
    from llmplan.kernel_bins import bin_rows
    from llmplan.kernel_gates import judged
    from llmplan.kernel_library import library_of
    from llmplan.kernel_residuals import ResidualLibrary
    from llmplan.kernel_scores import document, row_table, scores
    from llmplan.report import render

    trial = Trial.of(None if hide is None else hide.value, calibrate, seed, None if fit is None else fit.value)
    checked_limit(max_mape)
    o.check_output(output, overwrite, suffixes=(".json",))
    o.check_output(rows, overwrite, "--rows", (".csv",))
    opened = o.opened_catalog(catalog)
    gates = read_gates(gate, opened)
    measured = read_measured(data, opened)
    nearby = ResidualLibrary(opened.kernel_residuals) if residuals else None
    predicted = list(trial.predicted(measured, library_of(opened), nearby, quiet))
    for note in nearby.notes() if nearby else ():
        o.told(quiet, note)
    scored = scores(predicted)
    told = document(data if data is not None else "shipped", measured, scored)
    verdicts = judged(gates, measured, predicted)
    told |= {"bins": bin_rows(predicted), **trial.told}
    if gate is not None:
        told["gates"] = [one.plain for one in verdicts]
    if output is not None:
        o.written(output, render.as_json(told))
        o.told(quiet, f"wrote {output}")
    if rows is not None:
        o.written(rows, render.as_csv(row_table(predicted)))
        o.told(quiet, f"wrote {rows}")
    _shown(told, scored, fmt, bins, wide)
    if not _held(verdicts, scored, max_mape, quiet):
        raise typer.Exit(GATE_FAILED)
    if not scored:
        raise InputError(f"{data}: no row can be scored; columns, units and names as in validation/kernels")


def _shown(told: Mapping[str, Any], scored: Sequence[Score], fmt: o.OutputFormat, bins: bool, wide: bool) -> None:
    """Print the answer: for machines all of it, for people the rows left out."""
    from llmplan.cli.scored import coverage_line
    from llmplan.report import render

    if fmt in (o.OutputFormat.json, o.OutputFormat.yaml, o.OutputFormat.csv):
        plain = told["bins" if bins else "rows"] if fmt is o.OutputFormat.csv else told
        typer.echo(render.as_kind(fmt.value, plain, [], 0, False), nl=False)
        return
    spared = SPARED if o.table_width(wide) >= ROOM_FOR_INTERVALS else (*SPARED, INTERVAL)
    title = "Errors of predicted kernel times, percent of the measured time, rows left out"
    listed(_table(scored), fmt, title, spared, coverage_line(told), wide=wide, unbroken=UNBROKEN)
    if bins:
        typer.echo("")
        title = "The same by measured time, all formats, GPUs and kernels of an operator"
        listed(_bin_table(told["bins"]), fmt, title, wide=wide, unbroken=("bin", *UNBROKEN))


def _held(verdicts: Sequence[Judged], scored: Sequence[Score], max_mape: float | None, quiet: bool) -> bool:
    """Say on stderr which limits hold and return whether all do."""
    from llmplan.cli.scored import limit_of_all

    said = [(one.passed, one.told) for one in verdicts]
    if max_mape is not None:
        said.append(limit_of_all(scored, max_mape))
    for passed, text in said:
        o.told(quiet and passed, f"{'pass' if passed else 'FAIL'}  {text}")
    return all(passed for passed, _ in said)


def _table(scored: Sequence[Score]) -> list[dict[str, Any]]:
    return [
        {
            "op": s.op, "dtype": s.dtype, "gpu": s.gpu, "kernel": s.kernel, "split": s.split, "n": s.errors.n,
            "MdAPE": round(s.errors.mdape), INTERVAL: _between(s.interval), "P90": round(s.errors.p90),
            "WAPE": round(s.errors.wape), "bias": round(s.errors.bias), "basis": s.basis,
            "roofline": round(s.roofline_mdape),
        }
        for s in scored
        if s.split != "train"
    ]  # fmt: skip


def _bin_table(bins: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "op": b["op"], "bin": b["bin"], "split": b["split"], "n": b["n"], "MdAPE": round(b["mdape"]),
            INTERVAL: _between(None if b["mdape_low"] is None else (b["mdape_low"], b["mdape_high"])),
            "P90": round(b["p90"]), "WAPE": round(b["wape"]), "bias": round(b["bias"]),
        }
        for b in bins
        if b["split"] != "train"
    ]  # fmt: skip


def _between(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.0f}-{interval[1]:.0f}"
