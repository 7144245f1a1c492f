"""`llmplan calibrate run`: kernels timed on the GPU of this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmplan.cli import options as o
from llmplan.cli.listing import counted, listed
from llmplan.errors import InputError, UnknownNameError
from llmplan.kernel_groups import GROUPS, ROWS

if TYPE_CHECKING:
    from llmplan.kernel_bench import Bench, Progress
    from llmplan.kernel_plan import Device, Planned
    from llmplan.spec.catalog import Catalog

ANY_GPU = "h100-sxm"
"""The GPU that a plan is for when nobody names one."""
MINUTE_S = 60.0
FEWEST = 60
"""Rows that a fit needs."""


def run(
    output_dir: Annotated[
        str | None,
        typer.Option("--output-dir", metavar="DIR", help="Folder of rows; a later run adds what is missing."),
    ] = None,
    operators: Annotated[
        str, typer.Option("--operators", metavar="LIST", help="Some of gemm, attention, memory, collectives.")
    ] = ",".join(GROUPS),
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows of each operator and format.")] = ROWS,
    plan_only: Annotated[bool, typer.Option("--plan-only", help="Print the rows; needs no GPU, no PyTorch.")] = False,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=o.MOST_SEED, help="Another plan: 1, 2, … choose other rows.")
    ] = 0,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0, help="Start no row after so long; run again to go on.")
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", metavar="GPU", help="Name in the catalog, where the driver's is not.")
    ] = None,
    fmt: o.FormatOption = o.OutputFormat.table,
    catalog: o.CatalogOption = None,
    quiet: o.QuietOption = False,
) -> None:
    """Time kernels of this machine's GPU and keep them as rows for `calibrate fit` and `validate kernels`.

    Rows with a warm L2 go into DIR, those with a cold one into DIR/cold. No setting of the GPU is changed.
    """
    from llmplan.kernel_plan import operators_of, planned

    files = operators_of(operators)
    opened = o.opened_catalog(catalog)
    if plan_only:
        device = _device(opened, system or ANY_GPU, None)
        if system is None:
            o.told(quiet, f"for {device.gpu.name}; another GPU: --system")
        _listed(planned(device, files, opened, rows, seed), device, fmt)
        return
    if output_dir is None:
        raise InputError("calibrate run: where shall the rows go? give --output-dir DIR, or --plan-only")
    from llmplan.kernel_cuda import opened as opened_bench

    bench = opened_bench()
    try:
        device = _device(opened, _name(opened, bench, system), bench.devices)
        plan = planned(device, files, opened, rows, seed)
        if "comm" in files and bench.devices < 2:
            o.told(quiet, "collectives are left out: one GPU")
        if rows < FEWEST and set(files) != {"memory"}:
            o.told(quiet, f"--rows {rows}: a fit needs {FEWEST} of an operator and format")
        _measured(plan, bench, device, output_dir, minutes, quiet)
    finally:
        bench.close()


def _name(catalog: Catalog, bench: Bench, system: str | None) -> str:
    """Return the catalog's name of the GPU."""
    try:
        return catalog.gpu(system or bench.name).name
    except UnknownNameError as error:
        if system is not None:
            raise InputError(f"--system {system}: {error}") from None
        raise InputError(f"the GPU is {bench.name!r}: {error}; name it with --system") from None


def _device(catalog: Catalog, name: str, devices: int | None) -> Device:
    """Return a GPU as a plan needs it; without a machine, as many as its links join."""
    from llmplan.kernel_plan import RANKS, Device
    from llmplan.perf.kernels.forms import Target

    gpu = catalog.gpu(name)
    link = gpu.link or gpu.host_link
    target = Target(gpu=gpu, link_bytes_per_s=catalog.link(link).bytes_per_s if link else 0.0)
    return Device(target=target, devices=RANKS[-1] if devices is None else devices)


def _listed(plan: Sequence[Planned], device: Device, fmt: o.OutputFormat) -> None:
    """Print a plan: for people a line a row, for programs every column."""
    from llmplan.kernel_plan import COLUMNS, copies, need_bytes

    names = dict.fromkeys(name for row in plan for name in COLUMNS[row.file])
    shown: list[dict[str, Any]] = []
    for row in plan:
        need = float(need_bytes(row, device.l2_bytes))
        told: dict[str, Any] = {"file": row.file, "l2": row.l2}
        if fmt in (o.OutputFormat.table, o.OutputFormat.markdown):
            op, form = row.cell
            told |= {"op": f"{op} {form}".strip(), "row": row.shape}
        else:
            told |= {name: row.values.get(name) for name in names}
        shown.append({**told, "copies": copies(row, device.l2_bytes), "memory_bytes": need})
    listed(shown, fmt, f"Rows to measure on {device.gpu.name}", ("file", "copies"), counted(len(plan), "row"))


def _measured(
    plan: Sequence[Planned], bench: Bench, device: Device, folder: str, minutes: float | None, quiet: bool
) -> None:
    """Measure what is missing and say how it ended."""
    from llmplan.cli.row_files import RowFiles
    from llmplan.kernel_bench import measure
    from llmplan.kernel_plan import COLUMNS, copies

    name = device.gpu.name
    sheet = RowFiles(folder, name, list(COLUMNS), lambda text: o.told(quiet, text))
    start = time.monotonic()
    count = 0

    def in_time() -> bool:
        return minutes is None or time.monotonic() - start < minutes * MINUTE_S

    with _Bar(len(plan), quiet) as bar:

        def told(row: Planned, at: Progress) -> None:
            nonlocal count
            count = at.kept + at.measured
            bar.at(row, at)

        try:
            at = measure(plan, bench, sheet, lambda row: copies(row, device.l2_bytes), name, in_time, told)
        except KeyboardInterrupt:
            bar.close()
            o.told(quiet, f"interrupted: {counted(count, 'row')} kept in {folder}; run the same command to go on")
            raise
    for reason, skipped in sorted(at.skipped.items()):
        o.told(quiet, f"left out   {skipped} x {reason}")
    before = f", {at.kept} from before" if at.kept else ""
    o.told(quiet, f"{counted(at.measured, 'row')} measured{before}; they are in {folder}")
    if at.left:
        o.told(quiet, f"{counted(at.left, 'row')} left after {minutes:g} minutes; run the same command to go on")


class _Bar:
    """A progress bar on a terminal, a line each tenth elsewhere."""

    def __init__(self, rows: int, quiet: bool) -> None:
        self._rows, self._quiet = rows, quiet
        self._bar: Any = None
        self._task: Any = None
        self._tenth = 0

    def __enter__(self) -> _Bar:
        if sys.stderr.isatty() and not self._quiet:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=self._rows)
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def at(self, row: Planned, progress: Progress) -> None:
        """Show how far the run has come."""
        if self._bar is None:
            self._line(row, progress)
            return
        done = self._rows - progress.left
        self._bar.update(self._task, completed=done, description=f"{row.cell[0]} {row.cell[1]} {row.l2}")

    def _line(self, row: Planned, progress: Progress) -> None:
        done = self._rows - progress.left
        if 10 * done // max(self._rows, 1) > self._tenth:
            self._tenth = 10 * done // self._rows
            o.told(self._quiet, f"{done}/{self._rows} {' '.join(row.cell).strip()}, {row.l2}")
