"""Write what each term of the forms of kernels is worth: `validation/ablation.md`.

    python tools/ablate_kernels.py --data DIR

A term is set to a value at which it does nothing, every other parameter is fitted anew to the training rows, and rows
of left-out shapes are predicted: 16 bit, H100 and L40S, all kernels of an operator together. Where a term is no
parameter, a plainer form stands in for it: a product without tiles, and experts with the expected rows of a uniform
router instead of counted ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from llmplan.cli.measured import read_measured
from llmplan.kernel_fit import fit_parameters
from llmplan.kernel_rows import Cell
from llmplan.kernel_scores import Errors, errors
from llmplan.perf.formats import FORMATS
from llmplan.perf.kernels.chip import L2_BANDWIDTH, Parameter, Parameters, missed, soft_max
from llmplan.perf.kernels.forms import Columns, Operator, Target
from llmplan.perf.kernels.gemm import PARAMETERS, STEEPNESS
from llmplan.perf.kernels.routing import ROW_TILES
from llmplan.perf.roofline import Floats
from llmplan.spec.catalog import Catalog

OUT = Path(__file__).resolve().parents[1] / "validation" / "ablation.md"
GPUS = ("h100-sxm", "l40s")
DTYPE = "bfloat16"
HUGE, TINY = 1e12, 1e-9
NAMES = {"gemm": "GEMM", "attn_prefill": "prefill attention", "attn_decode": "decode attention", "moe": "experts"}
HEAD = """\
# What each term of the forms of kernels is worth

Written by `python tools/ablate_kernels.py --data DIR`. A term is set to the value under `set`, all other parameters are
fitted anew to the training rows, and rows of left-out shapes are predicted: 16 bit, MdAPE/P90/WAPE in percent of the
measured time. Differences of a few tenths are those of the optimizer.

| operator | term taken out | set | h100-sxm | l40s |
|---|---|---|---:|---:|
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """One term taken out of the form of an operator."""

    operator: str
    name: str
    fixed: Mapping[str, float] = field(default_factory=dict)
    """Parameters that are not fitted, with their value."""
    change: Callable[[Cell], Cell] = lambda cell: cell
    how: str = ""
    """Said in place of the values."""


def plain_product(cell: Cell) -> Cell:
    """Return products with a form without tiles, waves, splits and feed: fixed time, arithmetic over traffic."""
    kept = {"fixed_s", "compute_efficiency", "memory_efficiency", "overlap", "l2_share"}
    parameters = tuple(p for p in PARAMETERS if p.name in kept)

    def predict(c: Columns, target: Target, dtype: str, kernel: str, p: Parameters) -> Floats:
        form, chip = FORMATS[dtype], target.chip(FORMATS[dtype].compute)
        arithmetic, traffic = cell.operator.work(c, target, dtype, kernel)
        footprint = traffic * chip.bytes_per_s + (form.copies - 1) * form.weight_bytes * c["n"] * c["k"]
        miss = missed(footprint, chip, p["l2_share"], STEEPNESS)
        memory = traffic * (miss + (1 - miss) / L2_BANDWIDTH) / p["memory_efficiency"]
        busy = soft_max(arithmetic / p["compute_efficiency"], memory, p["overlap"])
        return np.asarray(p["fixed_s"] * chip.latency + busy)

    return replace(cell, operator=replace(cell.operator, predict=predict, parameters=lambda _: parameters))


def expected_rows(cell: Cell) -> Cell:
    """Return rows of experts with the expected work of a uniform router instead of counted work."""
    c = cell.columns
    local = c["experts"] / c["ep"]
    rows = c["tokens"] * c["topk"] / c["ep"]
    active = np.maximum(local * -np.expm1(c["tokens"] * np.log1p(-c["topk"] / (c["experts"] * (1 + TINY)))), TINY)
    tiles = {f"tiles_{height}": active * np.ceil(rows / active / height) for height in ROW_TILES}
    return replace(cell, columns={**c, "rows": rows, "active": active, **tiles})


ABLATIONS = (
    Ablation(operator="gemm", name="nothing"),
    Ablation(operator="gemm", name="tiles, waves, splits and feed", change=plain_product, how="form without tiles"),
    Ablation(operator="gemm", name="split of k", fixed={"split_s": HUGE}),
    Ablation(operator="gemm", name="cost of a split", fixed={"split_s": 0.0}),
    Ablation(operator="gemm", name="feed from L2", fixed={"feed_bytes": HUGE}),
    Ablation(operator="gemm", name="store of outputs", fixed={"store_bandwidth": HUGE}),
    Ablation(operator="gemm", name="operands read again", fixed={"patch": HUGE}),
    Ablation(operator="gemm", name="slowing of long arithmetic", fixed={"hot": 0.0}),
    Ablation(operator="gemm", name="operands in L2", fixed={"l2_share": TINY}),
    Ablation(operator="attn_prefill", name="nothing"),
    Ablation(operator="attn_prefill", name="write of KV", fixed={"write_efficiency": HUGE, "write_token_s": 0.0}),
    Ablation(operator="attn_prefill", name="write of KV by token", fixed={"write_token_s": 0.0}),
    Ablation(operator="attn_prefill", name="latency of a tile", fixed={"tile_s": 0.0}),
    Ablation(operator="attn_prefill", name="tail", fixed={"tail": 0.0}),
    Ablation(operator="attn_prefill", name="exponentials", fixed={"softmax_per_clock": HUGE}),
    Ablation(operator="attn_prefill", name="reads of queries, outputs", fixed={"memory_efficiency": HUGE}),
    Ablation(operator="attn_decode", name="nothing"),
    Ablation(operator="attn_decode", name="time of a unit", fixed={"unit_s": 0.0}),
    Ablation(operator="attn_decode", name="cache in L2", fixed={"l2_share": TINY}),
    Ablation(operator="attn_decode", name="arithmetic of padded tiles", fixed={"compute_efficiency": HUGE}),
    Ablation(operator="attn_decode", name="split of a cache", fixed={"split_s": HUGE}),
    Ablation(operator="attn_decode", name="cost of a split", fixed={"split_s": 0.0}),
    Ablation(operator="attn_decode", name="gathering of grouped heads", fixed={"pack_s": 0.0}),
    Ablation(operator="moe", name="nothing"),
    Ablation(operator="moe", name="counted routing", change=expected_rows, how="uniform, expected"),
    Ablation(operator="moe", name="passes over activations", fixed={"route_passes": 0.0}),
    Ablation(operator="moe", name="latency of a wave", fixed={"wave_s": 0.0}),
    Ablation(operator="moe", name="weights in L2", fixed={"l2_share": TINY}),
    Ablation(operator="moe", name="routing of few choices", fixed={"few_s": 0.0}),
)


def with_fixed(cell: Cell, fixed: Mapping[str, float]) -> Cell:
    """Return a cell whose form has some parameters set; the others are left to fit."""
    whole = cell.operator
    unknown = fixed.keys() - {p.name for p in whole.parameters(cell.dtype)}
    if unknown:
        raise SystemExit(f"{whole.name} has no parameter {', '.join(sorted(unknown))}; mend ABLATIONS")

    def predict(c: Columns, target: Target, dtype: str, kernel: str, p: Parameters) -> Floats:
        return whole.predict(c, target, dtype, kernel, {**p, **fixed})

    def parameters(dtype: str) -> tuple[Parameter, ...]:
        return tuple(p for p in whole.parameters(dtype) if p.name not in fixed)

    operator: Operator = replace(whole, predict=predict, parameters=parameters)
    return replace(cell, operator=operator)


def ablated(cells: list[Cell], ablation: Ablation) -> Errors:
    """Return the errors of cells on rows of left-out shapes, without a term and with the rest fitted anew."""
    seconds, measured = [], []
    for cell in cells:
        here = with_fixed(ablation.change(cell), ablation.fixed)
        parameters = fit_parameters(here, np.flatnonzero(here.split == "train"), None)
        predicted = here.operator.predict(here.columns, here.target, here.dtype, here.kernel, parameters)
        seconds.append(predicted[here.split == "group"])
        measured.append(here.measured_s[here.split == "group"])
    return errors(np.concatenate(seconds), np.concatenate(measured))


def rows(cells: list[Cell]) -> Iterator[str]:
    """Yield a line of the table for each term."""
    for ablation in ABLATIONS:
        shown = []
        for gpu in GPUS:
            alike = [c for c in cells if (c.operator.name, c.dtype, c.gpu) == (ablation.operator, DTYPE, gpu)]
            told = ablated([c for c in alike if {"group", "train"} <= set(c.split)], ablation)
            shown.append(f"{told.mdape:.1f}/{told.p90:.0f}/{told.wape:.0f}")
            print(f"{gpu} {ablation.operator} without {ablation.name}: {shown[-1]} ({told.n} rows)", flush=True)
        full = ablation.name == "nothing"
        how = ablation.how or ", ".join(f"`{name}` {value:g}" for name, value in ablation.fixed.items())
        name = f"**{NAMES[ablation.operator]}**" if full else NAMES[ablation.operator]
        yield f"| {name} | {ablation.name} | {how} | {' | '.join(f'**{s}**' if full else s for s in shown)} |"


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    asked = parser.parse_args()
    catalog = Catalog()
    cells = [cell for name in NAMES for cell in read_measured(str(Path(asked.data) / f"{name}.csv.gz"), catalog).cells]
    OUT.write_text(HEAD + "\n".join(rows(cells)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
