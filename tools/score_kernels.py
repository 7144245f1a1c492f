"""Write the errors of kernel times: `validation/kernels.md`, `validation/kernels.csv`, `hardware/kernel_bands.yaml`.

    python tools/score_kernels.py --data DIR

Cells are operator x format x GPU, all kernels of it together, on rows that no fit saw: whole shapes, or points where an
operator has no shapes. Beside the fits stand the same rows predicted as if the GPU had never been measured; as if 60
rows of each kernel (20 of a collective) were all of it, with other GPUs as a prior; as if its architecture had never
been measured; and the datasheet's roofline.
"""

from __future__ import annotations

import argparse
import csv
import io
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from zlib import crc32

import numpy as np

from llmplan.cli.measured import read_measured
from llmplan.kernel_fit import fit_parameters
from llmplan.kernel_library import KernelLibrary, library_of
from llmplan.kernel_rows import Cell as MeasuredCell
from llmplan.kernel_rows import Measured
from llmplan.kernel_scores import Errors, Predicted, errors, predictions
from llmplan.perf.kernels.forms import roofline_s
from llmplan.spec.catalog import Catalog

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = (
    ("GEMM, bf16", "gemm", ("bfloat16",)),
    ("GEMM, fp8 and fp8 blocks", "gemm", ("fp8", "fp8_block")),
    ("GEMM, nvfp4 and integers", "gemm", ("nvfp4", "int8_sq", "int8_wo", "int4_wo")),
    ("prefill attention", "attn_prefill", ()),
    ("decode attention", "attn_decode", ()),
    ("latent attention, prefill", "mla_prefill", ()),
    ("latent attention, decode", "mla_decode", ()),
    ("experts", "moe", ()),
    ("collectives", "", ()),
)
ELEMENTWISE = ("add", "emb", "attn_rope", "mlp_act", "input_layernorm", "post_attention_layernorm")

STEP_OPERATORS = (
    *("gemm", "attn_prefill", "attn_decode", "mla_prefill", "mla_decode", "moe"),
    *("all_reduce", "all_gather", "elementwise"),
)
"""Operators that steps are made of."""
SIBLINGS = ("h100-sxm", "h200-sxm")
"""Measured GPUs of one architecture."""

FEW, FEW_COLLECTIVE = 60, 20
"""Rows of one kernel that a GPU nobody measured is calibrated with."""

Cell = tuple[str, str, str]


def cells(predicted: Iterable[Predicted]) -> dict[Cell, Errors]:
    """Return the errors of each operator, format and GPU on rows left out."""
    found: dict[Cell, list[tuple[np.ndarray, np.ndarray]]] = {}
    for one in predicted:
        cell = one.cell
        rows = cell.split == ("group" if cell.operator.shape else "point")
        if rows.any():
            key = (cell.operator.name, cell.dtype, cell.gpu)
            found.setdefault(key, []).append((one.seconds[rows], cell.measured_s[rows]))
    return {key: errors(*(np.concatenate(side) for side in zip(*parts, strict=True))) for key, parts in found.items()}


def few_rows(cell: MeasuredCell) -> np.ndarray:
    """Return the places of the few rows that a GPU nobody measured is calibrated with, none of them left out."""
    train = np.flatnonzero(cell.split == "train")
    order = sorted(train.tolist(), key=lambda i: crc32(f"few{i}".encode()))
    return np.array(order[: FEW if cell.operator.shape else FEW_COLLECTIVE], dtype=int)


def few(measured: Measured, library: KernelLibrary) -> Iterator[Predicted]:
    """Yield each cell with its GPU hidden but for a few rows that other GPUs' fits are a prior for."""
    for cell in measured.cells:
        prior = library.without(cell.target.gpu).find(cell.target.gpu, cell.operator.name, cell.dtype, cell.kernel)
        rows = few_rows(cell)
        if prior is None or not len(rows):
            continue
        found = fit_parameters(cell, rows, prior.parameters)
        seconds = cell.operator.predict(cell.columns, cell.target, cell.dtype, cell.kernel, found)
        yield Predicted(cell=cell, seconds=seconds, basis="calibrated")


def family_of(cell: Cell) -> str:
    """Return the row of the summary that a cell is in."""
    for name, operator, formats in FAMILIES:
        if cell[0] == operator and (not formats or cell[1] in formats):
            return name
    return "elementwise (A100)" if cell[0] in ELEMENTWISE else "collectives"


def bands(own: dict[Cell, Errors], kin: dict[Cell, Errors], far: dict[Cell, Errors]) -> str:
    """Return `hardware/kernel_bands.yaml`: the median over cells of the 90th percentile of errors, by basis.

    `transferred` is of GPUs whose architecture has another one that was measured, themselves hidden; `datasheet` of
    all, their architectures hidden. Neither is narrower than `calibrated`.
    """
    lines = [
        "# Written by tools/score_kernels.py: nine in ten rows left out of the fits miss by less, in percent.",
        "source: rows of validation/kernels.csv, the median over formats and GPUs",
        "p90:",
    ]
    for operator in STEP_OPERATORS:
        named = {"elementwise": ELEMENTWISE, "all_reduce": ("all_reduce", "all_reduce_vllm_graph")}
        names = named.get(operator, (operator,))
        sides = {"calibrated": own, "transferred": {c: e for c, e in kin.items() if c[2] in SIBLINGS}, "datasheet": far}
        middle = {
            basis: statistics.median(mine)
            for basis, found in sides.items()
            if (mine := [e.p90 for c, e in found.items() if c[0] in names])
        }
        shown = (f"{basis}: {max(value, middle['calibrated']):.0f}" for basis, value in middle.items())
        lines.append(f"  {operator}: {{{', '.join(shown)}}}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write all files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    asked = parser.parse_args()
    catalog = Catalog()
    measured = read_measured(asked.data, catalog)
    library = library_of(catalog)
    own = cells(predictions(measured, library))
    refused = ", ".join(f"{count:,} {reason}" for reason, count in sorted(measured.refused.items()) if count)
    kin = cells(predictions(measured, library, "gpu"))
    far = cells(predictions(measured, library, "family"))
    sixty = cells(few(measured, library))
    plain = cells(
        Predicted(cell=c, seconds=roofline_s(c.operator, c.columns, c.target, c.dtype, c.kernel), basis="datasheet")
        for c in measured.cells
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["op", "dtype", "gpu", "n", "mdape", "mape", "p90", "wape", "bias", "unseen_gpu_mdape", "unseen_gpu_p90",
         "few_rows_mdape", "few_rows_p90",
         "unseen_family_mdape", "unseen_family_p90", "roofline_mdape"]
    )  # fmt: skip
    for cell, told in sorted(own.items()):
        numbers = [told.mdape, told.mape, told.p90, told.wape, told.bias]
        unseen = [(f"{o[cell].mdape:.1f}", f"{o[cell].p90:.1f}") if cell in o else ("", "") for o in (kin, sixty, far)]
        written = (f"{x:.1f}" for x in numbers)
        writer.writerow([*cell, told.n, *written, *unseen[0], *unseen[1], *unseen[2], f"{plain[cell].mdape:.1f}"])
    (ROOT / "validation" / "kernels.csv").write_text(text.getvalue(), encoding="utf-8")
    (ROOT / "hardware" / "kernel_bands.yaml").write_text(bands(own, kin, far), encoding="utf-8")
    lines = [
        "| operator | cells | MdAPE | P90 | WAPE | worst cell, MdAPE/P90 | GPU unseen | with 60 rows | family unseen "
        "| roofline |",
        "|---|---:|---:|---:|---:|---|---:|---:|---:|---:|",
    ]
    for name in [*(family for family, _, _ in FAMILIES), "elementwise (A100)"]:
        within = [cell for cell in own if family_of(cell) == name]
        worst = max(within, key=lambda cell: own[cell].mdape)
        middle = {
            field: statistics.median(getattr(own[cell], field) for cell in within) for field in ("mdape", "p90", "wape")
        }
        others = [
            statistics.median(found[cell].mdape for cell in set(within) & set(found))
            if set(within) & set(found)
            else None
            for found in (kin, sixty, far, plain)
        ]
        shown = " | ".join("–" if x is None else f"{x:.0f}" for x in others)
        lines.append(
            f"| {name} | {len(within)} | {middle['mdape']:.1f} | {middle['p90']:.0f} | {middle['wape']:.0f} | "
            f"{worst[0]} {worst[1]} on {worst[2]}, {own[worst].mdape:.0f}/{own[worst].p90:.0f} | {shown} |"
        )
    total = sum(len(c.measured_s) for c in measured.cells)
    lines += ["", f"{total:,} rows read; refused: {refused}. Written by `tools/score_kernels.py`."]
    (ROOT / "validation" / "kernels.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
