"""`llmplan estimate`: what a plan, or a fixed deployment, does in steady state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from llmplan.cli import options as o
from llmplan.cli.output import Printing, shown

if TYPE_CHECKING:
    from llmplan.freshness import AsOf
    from llmplan.spec.plan import Answer

EPILOG = o.EXIT_CODES


def estimate(
    question: Annotated[
        str, typer.Argument(metavar="WORKLOAD|PLAN", help="Workload with a fixed deployment, or a plan; - is stdin.")
    ] = "llmplan.yaml",
    gpu: Annotated[str | None, typer.Option("--gpu", help="deployment.gpu, such as 4xh100-sxm.")] = None,
    fmt: o.FormatOption = o.OutputFormat.table,
    as_json: o.JsonOption = False,
    output: o.OutputOption = None,
    overwrite: o.OverwriteOption = False,
    sets: o.SetOption = None,
    explain: o.ExplainOption = False,
    wide: o.WideOption = False,
    catalog: o.CatalogOption = None,
    max_price_age: o.MaxAgeOption = None,
    currency: o.CurrencyOption = None,
    quiet: o.QuietOption = False,
    verbose: o.VerboseOption = False,
    no_color: o.NoColorOption = False,
    warn_as_error: o.WarnOption = False,
    exit_zero: o.ZeroOption = False,
) -> None:
    """Predict latency, capacity, memory and cost of a configuration."""
    del verbose
    o.check_output(output, overwrite)
    shown_in = o.shown_currency(currency)
    answer = _answer(question, sets or [], gpu, catalog, o.as_of(max_price_age))
    for default in answer.provenance.defaults:
        o.told(quiet, f"default    {default}")
    shown(
        answer,
        Printing(
            format=fmt,
            json=as_json,
            output=output,
            explain=explain,
            wide=wide,
            quiet=quiet,
            no_color=no_color,
            currency=shown_in,
            warn_as_error=warn_as_error,
            exit_zero=exit_zero,
        ),
    )


def _answer(question: str, sets: list[str], gpu: str | None, catalog: list[str] | None, as_of: AsOf) -> Answer:
    from llmplan.estimate import estimate_plan, estimate_workload
    from llmplan.spec.readers import read_question
    from llmplan.support import check_names, check_supported

    asked = read_question(question, sets, {} if gpu is None else {"deployment.gpu": (f"--gpu {gpu}", gpu)})
    opened = o.opened_catalog(catalog)
    if asked.answer is not None:
        return estimate_plan(asked.answer, opened, where=asked.where, as_of=as_of)
    check_names(asked.fleet, opened, asked.where, asked.place)
    check_supported(asked.fleet, asked.where, asked.place)
    return estimate_workload(asked.fleet, opened, where=asked.where, origins=asked.origins, as_of=as_of)
