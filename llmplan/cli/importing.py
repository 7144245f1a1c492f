"""`llmplan calibrate import`: measurements of other tools as rows of measured kernels."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmplan.cli import options as o
from llmplan.cli.folders import changed_files, check_folder, written_together
from llmplan.errors import InputError

if TYPE_CHECKING:
    from llmplan.foreign_rows import Asked
    from llmplan.spec.catalog import Catalog


class Form(StrEnum):
    """Formats of foreign measurements."""

    auto = "auto"
    nccl_tests = "nccl-tests"
    vidur = "vidur"
    aiconfigurator = "aiconfigurator"


class Op(StrEnum):
    """Collectives of nccl-tests, as our rows name them."""

    all_reduce = "all_reduce"
    all_gather = "all_gather"
    reduce_scatter = "reduce_scatter"
    all_to_all = "all_to_all"
    send_recv = "send_recv"


def import_rows(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Output of nccl-tests; tables of Vidur or AIConfigurator.")
    ],
    system: Annotated[str, typer.Option("--system", metavar="GPU", help="The GPU they were measured on.")],
    form: Annotated[Form, typer.Option("--format", help="Format of the files.")] = Form.auto,
    output_dir: Annotated[
        str | None, typer.Option("--output-dir", metavar="DIR", help="Folder to write; without it a dry run.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of that folder.")] = False,
    backend: Annotated[str | None, typer.Option("--backend", help="Library, where a file names none.")] = None,
    backend_version: Annotated[
        str | None, typer.Option("--backend-version", metavar="VERSION", help="Its version, where a file has none.")
    ] = None,
    op: Annotated[Op | None, typer.Option("--op", help="Test of nccl-tests, where a file does not say.")] = None,
    catalog: o.CatalogOption = None,
    quiet: o.QuietOption = False,
) -> None:
    """Turn foreign measurements of kernels into rows for `calibrate fit` and `validate kernels`."""
    from llmplan.cli.foreign_files import read_source
    from llmplan.cli.measured import targets
    from llmplan.kernel_import import counted, imported

    if output_dir is not None:
        check_folder(output_dir)
    opened = o.opened_catalog(catalog)
    asked = _asked(opened, system, backend, backend_version, op)
    found = imported((read_source(name) for name in files), form.value, asked, targets(opened))
    changed = [] if output_dir is None else changed_files(output_dir, found.texts, overwrite)
    if output_dir is not None:
        written_together(output_dir, {name: found.texts[name] for name in changed})
    for name, rows in found.rows.items():
        what = "not written" if output_dir is None else "written" if name in changed else "as it was"
        typer.echo(f"{Path(output_dir or '') / name}: {rows} rows of {asked.gpu}, {what}")
    for note in found.notes:
        o.told(quiet, f"note       {note}")
    o.told(quiet, f"refused rows: {counted(found.refused) or 'none'}")
    o.told(quiet, f"merged rows: {found.merged} into the median of their key")
    if found.unread:
        o.told(quiet, f"rows that no form predicts yet: {counted(found.unread)}")
    last = (
        "nothing written; --output-dir DIR writes it" if output_dir is None else f"llmplan calibrate fit {output_dir}"
    )
    o.told(quiet, last)


def _asked(catalog: Catalog, system: str, backend: str | None, version: str | None, op: Op | None) -> Asked:
    from functools import cache

    from llmplan.errors import LlmplanError
    from llmplan.foreign_rows import Asked

    @cache
    def name_of(device: str) -> str | None:
        try:
            return catalog.gpu(device).name
        except LlmplanError:
            return None

    try:
        gpu = catalog.gpu(system).name
    except LlmplanError as error:
        raise InputError(f"--system {system}: {error}") from None
    return Asked(gpu=gpu, gpu_of=name_of, backend=backend, version=version, op=op and op.value)
