"""Write the errors of kernels on a GPU that was left out of the fits: `validation/unseen_gpus.md`.

    python tools/score_unseen_gpus.py --data DIR

Each of the GPUs in turn is predicted from its datasheet and the fits of the others; with 60 rows of each kernel (20 of
a collective) beside those; and, for comparison, by the roofline of its datasheet and by a table of its own measured
times, all training rows of it or the same 60. The table takes the 4 nearest rows of the same kernel in ln(1 + x) of
every number that states a row, weighs them with 1/(distance + 0.05)² and averages ln t. Scored are rows that no fit and
no table holds: whole shapes, points where an operator has none. Errors are MdAPE/P90, the median over formats.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from score_kernels import FAMILIES, cells, family_of, few, few_rows

from llmplan.cli.measured import read_measured
from llmplan.kernel_library import library_of
from llmplan.kernel_rows import Cell, Measured
from llmplan.kernel_scores import Errors, Predicted, predictions
from llmplan.perf.kernels.forms import roofline_s
from llmplan.spec.catalog import Catalog

OUT = Path(__file__).resolve().parents[1] / "validation" / "unseen_gpus.md"
NEIGHBORS, SOFTENED = 4, 0.05
HEAD = """\
# Kernels on a GPU that was left out

Written by `python tools/score_unseen_gpus.py --data DIR`, which describes every column. MdAPE/P90 in percent of the
measured time on rows that no fit and no table holds, median over formats; rows are those of the column `own fits`.

- **datasheet**: the GPU's datasheet and the fits of the other GPUs, none of its own rows.
- **60 rows**: beside those, 60 rows of each kernel of the GPU (20 of a collective).
- **own fits**: all training rows of the GPU, as shipped.
- **roofline**: the datasheet alone. **table**: the 4 nearest measured rows of the GPU itself, no model.
- A dash: nobody else measured the operator in this format.

| operator | GPU | formats | rows | datasheet | 60 rows | own fits | roofline | table of 60 rows | table of all rows |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|
"""
By = dict[tuple[str, str, str], Errors]


def from_table(measured: Measured, rows_of: Callable[[Cell], np.ndarray]) -> Iterator[Predicted]:
    """Yield each cell as a table of some of its rows predicts it."""
    for cell in measured.cells:
        rows = rows_of(cell)
        if not len(rows):
            continue
        keys = np.log1p(np.stack([cell.columns[name] for name in cell.operator.columns], axis=1))
        count = min(NEIGHBORS, len(rows))
        distance, near = cKDTree(keys[rows]).query(keys, k=count)
        distance, near = distance.reshape(-1, count), near.reshape(-1, count)
        weight = 1 / (distance + SOFTENED) ** 2
        logs = np.log(cell.measured_s[rows])[near]
        seconds = np.exp((weight * logs).sum(axis=1) / weight.sum(axis=1))
        yield Predicted(cell=cell, seconds=seconds, basis="profile")


def train_rows(cell: Cell) -> np.ndarray:
    """Return the places of the rows that fits may see."""
    return np.flatnonzero(cell.split == "train")


def middle(found: By, within: list[tuple[str, str, str]]) -> str:
    """Return the median errors of cells as text; a dash where there are none."""
    known = [found[cell] for cell in within if cell in found]
    if not known:
        return "–"
    return f"{statistics.median(e.mdape for e in known):.0f}/{statistics.median(e.p90 for e in known):.0f}"


def table(columns: list[By], own: By) -> Iterator[str]:
    """Yield a line for each family and GPU, and one with the median over GPUs."""
    gpus = sorted({gpu for _, _, gpu in own})
    for name in [family for family, _, _ in FAMILIES]:
        family = [cell for cell in sorted(own) if family_of(cell) == name]
        for gpu in gpus:
            within = [cell for cell in family if cell[2] == gpu]
            if within:
                rows = sum(own[cell].n for cell in within)
                shown = " | ".join(middle(found, within) for found in columns)
                yield f"| {name} | {gpu} | {len(within)} | {rows:,} | {shown} |"
        compared = [cell for cell in family if all(cell in found for found in columns)]
        if compared:
            rows = sum(own[cell].n for cell in compared)
            shown = " | ".join(f"**{middle(found, compared)}**" for found in columns)
            yield f"| **{name}** | **median, no dash** | {len(compared)} | {rows:,} | {shown} |"


def main() -> None:
    """Write the file and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    catalog = Catalog()
    measured = read_measured(parser.parse_args().data, catalog)
    library = library_of(catalog)
    own = cells(predictions(measured, library))
    plain = (
        Predicted(cell=c, seconds=roofline_s(c.operator, c.columns, c.target, c.dtype, c.kernel), basis="datasheet")
        for c in measured.cells
    )
    columns = [
        cells(predictions(measured, library, "gpu")),
        cells(few(measured, library)),
        own,
        cells(plain),
        cells(from_table(measured, few_rows)),
        cells(from_table(measured, train_rows)),
    ]
    text = HEAD + "\n".join(table(columns, own)) + "\n"
    OUT.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
