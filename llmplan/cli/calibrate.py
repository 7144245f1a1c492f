"""`llmplan calibrate`: parameters of kernels from measured rows, and the rows themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmplan.cli import importing, measuring
from llmplan.cli import options as o
from llmplan.cli.folders import changed_files, check_folder, written_together
from llmplan.errors import InputError

if TYPE_CHECKING:
    from llmplan.kernel_library import KernelLibrary
    from llmplan.kernel_rows import Measured
    from llmplan.spec.kernels import KernelFit

USELESS = 50.0
"""Error in the median from which a fit says nothing. [%]"""
app = typer.Typer(no_args_is_help=True, epilog=o.EXIT_CODES, help="Fit the model of kernels to measured times.")


@app.command("fit", epilog=o.EXIT_CODES)
def fit(
    data: Annotated[str, typer.Argument(metavar="DIR", help="Folder (or one file) of measured rows.")],
    output_dir: Annotated[
        str | None, typer.Option("--output-dir", metavar="DIR", help="Catalog folder to write; without it, print.")
    ] = None,
    source: Annotated[str, typer.Option("--source", help="Where the rows come from, kept with the parameters.")] = "",
    prior: Annotated[bool, typer.Option("--prior/--no-prior", help="Start from, and stay near, other GPUs.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    catalog: o.CatalogOption = None,
    quiet: o.QuietOption = False,
) -> None:
    """Fit the parameters of every operator, format, GPU and kernel; errors are of rows left out of the fit."""
    from llmplan.cli.measured import read_measured
    from llmplan.kernel_file import kernel_files
    from llmplan.kernel_library import library_of

    if output_dir is not None:
        check_folder(output_dir)
    opened = o.opened_catalog(catalog)
    measured = read_measured(data, opened)
    if output_dir is not None and not overwrite:
        _check_new(output_dir, measured)
    found = _fits(measured, library_of(opened) if prior else None, quiet)
    refused = ", ".join(f"{count} {reason}" for reason, count in sorted(measured.refused.items()) if count)
    o.told(quiet, f"refused rows: {refused or 'none'}")
    if not measured.cells:
        raise InputError(f"{data}: no row can be used ({refused or 'there is none'}); columns as in validation/kernels")
    if not found:
        raise InputError(f"{data}: too few rows for any fit; want 60 of an operator, 20 of a collective")
    texts = kernel_files(found, source or data)
    if output_dir is None:
        typer.echo("".join(texts.values()), nl=False)
        return
    changed = changed_files(output_dir, texts, overwrite)
    written_together(output_dir, {name: texts[name] for name in changed})
    for name in changed:
        o.told(quiet, f"wrote {output_dir}/{name}")


def _check_new(output_dir: str, measured: Measured) -> None:
    """Refuse files that are there, before the fit whose result they would hold."""
    for gpu in sorted({cell.gpu for cell in measured.cells}):
        path = Path(output_dir) / f"hardware/fits/{gpu}.yaml"
        if path.exists():
            raise InputError(f"--output-dir {output_dir}: {path} exists; give another folder or --overwrite")


def _fits(measured: Measured, library: KernelLibrary | None, quiet: bool) -> dict[str, list[KernelFit]]:
    """Return the fits of every GPU, near those of the others in a library; each is told of."""
    from llmplan.kernel_fit import TooFew, fitted

    found: dict[str, list[KernelFit]] = {}
    for number, cell in enumerate(measured.cells, 1):
        gpu, asked = cell.target.gpu, (cell.operator.name, cell.dtype, cell.kernel)
        kin = None if library is None else library.without(gpu).find(gpu, *asked)
        one = fitted(cell, None if kin is None else kin.parameters)
        name = f"{cell.operator.name} {cell.dtype} on {cell.gpu} ({cell.kernel}, {cell.library})"
        if isinstance(one, TooFew):
            o.told(quiet, f"left out   {name}: {one.rows} rows; want {one.needed} or more")
            continue
        found.setdefault(cell.gpu, []).append(one)
        told = one.evidence
        said = f"{told.mdape} % median, {told.p90} % P90 ({told.left_out})"
        o.told(quiet, f"{number}/{len(measured.cells)} {name}: {said}")
        if told.mdape > USELESS:
            o.told(quiet, f"warning    {name}: misses by {told.mdape} % in the median; are its times microseconds?")
    return found


app.command("run", epilog=o.EXIT_CODES)(measuring.run)
app.command("import", epilog=o.EXIT_CODES)(importing.import_rows)
