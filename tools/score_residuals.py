"""Write what residuals of measured rows add to the forms: `validation/residuals.md` and `validation/residuals.csv`.

    python tools/score_residuals.py --data DIR

Cells are operator x format x GPU, all kernels of it together, on rows that neither fits nor residuals saw: points of
shapes that they saw, and whole shapes that they did not. Beside the form alone and the form with the shipped residuals
stands a table of measured times, interpolated between the same neighbors, log over log.
"""

from __future__ import annotations

import argparse
import csv
import io
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from score_kernels import ELEMENTWISE

from llmplan.cli.measured import read_measured
from llmplan.kernel_library import library_of
from llmplan.kernel_residuals import ResidualLibrary
from llmplan.kernel_rows import Measured
from llmplan.kernel_scores import Errors, Predicted, errors, predictions
from llmplan.perf.kernels.forms import COLLECTIVES
from llmplan.perf.kernels.residuals import Field, octaves, stretch_of
from llmplan.spec.catalog import Catalog

ROOT = Path(__file__).resolve().parents[1]
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "GEMM": ("gemm",),
    "prefill attention": ("attn_prefill",),
    "decode attention": ("attn_decode",),
    "latent attention, prefill": ("mla_prefill",),
    "latent attention, decode": ("mla_decode",),
    "experts": ("moe",),
    "collectives": COLLECTIVES,
    "elementwise (A100)": ELEMENTWISE,
}
WAYS = ("form", "with residuals", "table")
Cell = tuple[str, str, str, str]
"""Operator, format, GPU and side of the split."""


def tables(measured: Measured) -> Iterator[Predicted]:
    """Yield each cell as its nearest measured times say, without a form; collectives of all formats together."""
    for cell in measured.cells:
        names = cell.operator.columns
        alike = [
            other
            for other in measured.cells
            if (other.operator.name, other.gpu, other.kernel) == (cell.operator.name, cell.gpu, cell.kernel)
            and (other.dtype == cell.dtype or cell.operator.name in COLLECTIVES)
        ]
        points = np.concatenate([octaves(o.columns, names)[o.split == "train"] for o in alike])
        known = np.concatenate([np.log(o.measured_s[o.split == "train"]) for o in alike])
        seconds = np.full(len(cell.measured_s), np.nan)
        if len(known):
            field = Field.of(points, known, stretch_of(cell.operator.name, names), fades=False)
            seconds = np.exp(field.at(octaves(cell.columns, names)))
        yield Predicted(cell=cell, seconds=seconds, basis="calibrated")


def cells(predicted: Iterable[Predicted]) -> dict[Cell, Errors]:
    """Return the errors of each operator, format, GPU and side of left-out rows that all ways can predict."""
    found: dict[Cell, list[tuple[np.ndarray, np.ndarray]]] = {}
    for one in predicted:
        cell = one.cell
        for side in ("point", "group"):
            rows = cell.split == side
            if rows.any() and (cell.split == "train").any():
                key = (cell.operator.name, cell.dtype, cell.gpu, side)
                found.setdefault(key, []).append((one.seconds[rows], cell.measured_s[rows]))
    return {key: errors(*(np.concatenate(side) for side in zip(*parts, strict=True))) for key, parts in found.items()}


def lines(found: Mapping[str, Mapping[Cell, Errors]], side: str) -> Iterator[str]:
    """Yield the table of one side of the split."""
    yield "| operator | cells | rows | form | with residuals | table of times | worst cell with residuals |"
    yield "|---|---:|---:|---:|---:|---:|---|"
    told = found["with residuals"]
    for family, operators in FAMILIES.items():
        within = [key for key in told if key[0] in operators and key[3] == side]
        if not within:
            continue
        shown = []
        for way in WAYS:
            middle = [
                statistics.median(getattr(found[way][key], name) for key in within) for name in ("mdape", "p90", "wape")
            ]
            shown.append(f"{middle[0]:.1f}/{middle[1]:.0f}/{middle[2]:.0f}")
        worst = max(within, key=lambda key: told[key].mdape)
        said = f"{worst[0]} {worst[1]} on {worst[2]}, {told[worst].mdape:.1f}/{told[worst].p90:.0f}, n {told[worst].n}"
        rows = sum(told[key].n for key in within)
        yield f"| {family} | {len(within)} | {rows:,} | {' | '.join(shown)} | {said} |"


def sheet(found: Mapping[str, Mapping[Cell, Errors]]) -> str:
    """Return every cell as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("mdape", "p90", "wape", "bias")
    writer.writerow(
        ["op", "dtype", "gpu", "split", "n", *(f"{way.replace(' ', '_')}_{name}" for way in WAYS for name in names)]
    )
    for key, told in sorted(found["with residuals"].items()):
        numbers = (f"{getattr(found[way][key], name):.1f}" for way in WAYS for name in names)
        writer.writerow([*key, told.n, *numbers])
    return text.getvalue()


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    asked = parser.parse_args()
    catalog = Catalog()
    measured = read_measured(asked.data, catalog)
    library, residuals = library_of(catalog), ResidualLibrary(catalog.kernel_residuals)
    found = {
        "form": cells(predictions(measured, library)),
        "with residuals": cells(predictions(measured, library, residuals=residuals)),
        "table": cells(tables(measured)),
    }
    print(*residuals.notes(), sep="\n", end="\n" if residuals.notes() else "")
    text = "\n".join(
        [
            "Points left out, of shapes that residuals hold:",
            "",
            *lines(found, "point"),
            "",
            "Whole shapes left out:",
            "",
            *lines(found, "group"),
            "",
            "Median over cells of MdAPE/P90/WAPE, percent. Written by `tools/score_residuals.py`.",
        ]
    )
    (ROOT / "validation" / "residuals.md").write_text(f"{text}\n", encoding="utf-8")
    (ROOT / "validation" / "residuals.csv").write_text(sheet(found), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
