"""`llmplan recommend`: the cheapest plan that keeps every bound."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from llmplan.cli import options as o
from llmplan.cli.output import Printing, shown
from llmplan.errors import InputError

if TYPE_CHECKING:
    from llmplan.freshness import AsOf
    from llmplan.settle import Options
    from llmplan.spec.plan import Answer
    from llmplan.spec.readers import Asked

EPILOG = o.EXIT_CODES


class Method(StrEnum):
    """Which problem is solved."""

    mix = "mix"
    melange = "melange"


def recommend(
    workload: Annotated[str, typer.Argument(help="Workload or fleet file; - is standard input.")] = "llmplan.yaml",
    gpu: Annotated[list[str] | None, typer.Option("--gpu", help="Only these GPUs (offers.gpus).")] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="FILE", help="Measured table that replaces the model.")
    ] = None,
    method: Annotated[Method, typer.Option("--method", help="melange: the published slice form.")] = Method.mix,
    slice_factor: Annotated[int | None, typer.Option("--slice-factor", help="Slices a bucket (melange; 8).")] = None,
    allow_lossy: Annotated[bool, typer.Option("--allow-lossy", help="Also try fp8 and int4 weights, fp8 KV.")] = False,
    gap: Annotated[str, typer.Option("--gap", help="Distance to the bound at which to stop.")] = "0.5%",
    time_limit: Annotated[
        str | None, typer.Option("--time-limit", help="Stop each solve after so long (30 s); plans then vary.")
    ] = None,
    top: Annotated[int, typer.Option("--top", help="Single-GPU-type plans to show.")] = 12,
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
    """Find the cheapest plan that serves a workload within its SLO."""
    del verbose
    begun = time.perf_counter()
    o.check_output(output, overwrite)
    shown_in = o.shown_currency(currency)
    chosen = _options(profile, method, slice_factor, allow_lossy, gap, time_limit, top)
    as_of = o.as_of(max_price_age)
    answer = _answer(_asked(workload, sets or [], gpu or [], chosen), catalog, chosen, as_of, quiet)
    _closing(answer, time.perf_counter() - begun, quiet)
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


def _asked(workload: str, sets: list[str], gpus: list[str], chosen: Options) -> Asked:
    from llmplan.spec.deployment import gpu_and_count
    from llmplan.spec.readers import read_question
    from llmplan.support import check_searched

    names = [name.strip() for text in gpus for name in text.split(",")]
    given = {"offers.gpus": (f"--gpu {','.join(names)}", [gpu_and_count(name)[0] for name in names])} if names else {}
    asked = read_question(workload, sets, given)
    check_searched(asked.fleet, chosen.slice_factor is not None, asked.where, asked.place)
    return asked


def _answer(asked: Asked, catalog: list[str] | None, chosen: Options, as_of: AsOf, quiet: bool) -> Answer:
    from llmplan.recommend import recommend_plan
    from llmplan.support import check_names, check_supported

    opened = o.opened_catalog(catalog)
    if not chosen.profile:
        check_names(asked.fleet, opened, asked.where, asked.place)
        check_supported(asked.fleet, asked.where, asked.place)
    return recommend_plan(
        asked.fleet,
        opened,
        chosen,
        where=asked.where,
        origins=asked.origins,
        progress=lambda stage, said: o.told(quiet, f"{stage:<11}{said}"),
        as_of=as_of,
    )


def _options(
    profile: str | None,
    method: Method,
    slice_factor: int | None,
    allow_lossy: bool,
    gap: str,
    time_limit: str | None,
    top: int,
) -> Options:
    """Check the options against each other and return them as the search wants them."""
    from llmplan.settle import Options
    from llmplan.spec.readers import read_profile
    from llmplan.units import UnitError, parse

    if method is Method.melange and profile is None:
        raise InputError("--method melange: solves a measured table; give it with --profile")
    if slice_factor is not None and method is not Method.melange:
        raise InputError("--slice-factor: belongs to --method melange")
    if slice_factor is not None and slice_factor < 1:
        raise InputError(f"--slice-factor {slice_factor}: want 1 or more")
    if top < 0:
        raise InputError(f"--top {top}: want 0 or more")
    if profile is not None and allow_lossy:
        raise InputError("--allow-lossy: a measured table has its formats in it; leave one of the two out")
    try:
        seconds = parse(time_limit, "s") if time_limit is not None else None
    except UnitError as error:
        raise InputError(f"--time-limit: {error}; write it as '30 s'") from None
    if seconds == 0:
        raise InputError("--time-limit: 0 leaves no time; write it as '30 s'")
    return Options(
        profile=tuple(read_profile(profile)) if profile is not None else (),
        slice_factor=(slice_factor or 8) if method is Method.melange else None,
        gap=_share(gap),
        time_limit_s=seconds,
        allow_lossy=allow_lossy,
        top=top,
    )


def _share(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise InputError(f"--gap {text}: is no share; write it as 0.5%") from None
    if not 0 <= value < 1:
        raise InputError(f"--gap {text}: is out of range; want 0% or more and less than 100%")
    return value


def _closing(answer: Answer, seconds: float, quiet: bool) -> None:
    from llmplan.report.sections import gap_percent

    search, proof = answer.search, answer.optimality
    if search is None:
        return
    for default in answer.provenance.defaults:
        o.told(quiet, f"default    {default}")
    how = f"{proof.status} (gap {gap_percent(proof.gap)})" if proof else answer.status
    o.told(
        quiet,
        f"evaluated {search.operating_points:,} operating points of {search.candidates:,} candidates "
        f"in {seconds:.1f} s, {how}",
    )
