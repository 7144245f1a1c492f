"""Fit the constants of every operator on every measured GPU, and score them on rows left out.

    python tools/fit_operators.py --data DIR [--out hardware/fits] [--date YYYY-MM-DD]

`DIR` holds measured kernels (`gemm`, `attn_prefill`, `attn_decode`, `mla_prefill`, `mla_decode`, `moe`,
`comm`, each .csv.gz). Written: `hardware/fits/<gpu>.yaml`, `hardware/fits/generic.yaml`,
`validation/operators.csv` (the errors) and `validation/kernel_test_rows.csv.gz` (a sample of left-out rows,
from which `score_operators.py` computes the table of the README).

The split is fixed: whole shapes with crc32("g" + shape) % 5 == 0 are left out as `group`, of the others the
rows with crc32("h" + key) % 5 == 0 as `point`; the rest is `train`. A fit is least squares (soft L1) on the
logarithm of predicted / measured over the logarithms of the constants, then Nelder-Mead on its mean size, on
at most 4,000 rows.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import score_operators as score
import yaml
from numpy.typing import NDArray
from scipy.optimize import least_squares, minimize
from score_operators import Cell, Device

from llmplan import units
from llmplan.perf.collectives import LinkConstants, collective_s
from llmplan.perf.roofline import Constants, Floats
from llmplan.spec.fits import CollectiveFit, Evidence, Fits, OperatorFit

SYSTEMS = {
    "a100_sxm": "a100-80-sxm",
    "h100_sxm": "h100-sxm",
    "h200_sxm": "h200-sxm",
    "b200_sxm": "b200-sxm",
    "l40s": "l40s",
}
SOURCE = "aiconfigurator-core 0.12.0"
"""The package that carries the measured rows (Apache-2.0)."""

FITTED_ROWS = 4000
"""Most rows of one fit, drawn in the order of a checksum of their key."""
SHIPPED_ROWS = 60
"""Rows of one GPU, operator and format in the row file."""
SCORED_MOE = ("power_law_1.2", "balanced")
WIDEST_TP = 8
HOPPER = ("h100_sxm", "h200_sxm")
"""Expert loads that are fitted together; 1.2 is the steeper of the two measured power laws."""

MICROSECOND = units.parse("1 us", "s")

_PLAIN = {"bfloat16": "bf16", "fp8": "fp8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """How a file of measured kernels is read."""

    op: str
    """Operator family, or the column that names it."""
    dtype: str
    """Column of the format."""
    formats: Mapping[str, str]
    """Formats taken, by their name in the file."""
    group: tuple[str, ...]
    """Columns of the shape that the group split leaves out as a whole."""


TABLES = {
    "gemm": Table(
        op="gemm",
        dtype="dtype",
        formats=_PLAIN | {"fp8_block": "fp8_block", "int8_wo": "int8", "int4_wo": "int4", "nvfp4": "nvfp4"},
        group=("n", "k"),
    ),
    "attn_prefill": Table(
        op="attention_prefill", dtype="kv_dtype", formats=_PLAIN, group=("heads", "kv_heads", "head_dim")
    ),
    "attn_decode": Table(
        op="attention_decode", dtype="kv_dtype", formats=_PLAIN, group=("heads", "kv_heads", "head_dim")
    ),
    "mla_prefill": Table(op="mla_prefill", dtype="kv_dtype", formats=_PLAIN, group=("heads",)),
    "mla_decode": Table(op="mla_decode", dtype="kv_dtype", formats=_PLAIN, group=("heads",)),
    "moe": Table(
        op="moe",
        dtype="dtype",
        formats=_PLAIN | {"fp8_block": "fp8_block", "w4a16_mxfp4": "mxfp4", "nvfp4": "nvfp4"},
        group=("hidden", "inter", "topk", "experts"),
    ),
    "comm": Table(op="op", dtype="dtype", formats={"float16": "fp16", "bfloat16": "bf16"}, group=()),
}
COLLECTIVE_OPS = {"all_reduce_vllm_graph": "all_reduce_one_shot", "all_reduce_vllm_eager": ""}
"""Names of ours for operations of the file; empty: not taken."""


# Reading -------------------------------------------------------------------------------------------


def excluded(table: Table, row: Mapping[str, str]) -> str | None:
    """Return the rule that leaves a row out of fit and score, or None."""
    if row[table.dtype] not in table.formats:
        return f"format {row[table.dtype]}"
    if row.get("head_dim") == "512":
        return "head_dim 512 (another kernel)"
    if table.op == "moe":
        if row["ep"] != "1":
            return "experts spread over ranks"
        if row["distribution"] not in SCORED_MOE:
            return f"expert load {row['distribution']}"
        if int(row["tp"]) > WIDEST_TP:
            return f"experts cut over more than {WIDEST_TP} ranks (no layout of llmplan's)"
        if row["dtype"] == "fp8" and row["system"] in HOPPER:
            return "fp8 experts on Hopper (a kernel whose times measured serving runs contradict)"
        if row["hidden"] == "2688":
            return "hidden 2688 (experts without a gate)"
    if table.op == "op" and not COLLECTIVE_OPS.get(row["op"], row["op"]):
        return f"operation {row['op']}"
    return None


def split_of(group: str, key: str) -> str:
    """Return the side of the fixed split; without shapes to leave out (empty `group`) only points are."""
    if group and crc32(f"g{group}".encode()) % 5 == 0:
        return "group"
    return "point" if crc32(f"h{key}".encode()) % 5 == 0 else "train"


def read_table(path: Path, table: Table, left_out: Counter[tuple[str, str, str]]) -> Iterator[tuple[Any, ...]]:
    """Yield (gpu, op, format, row, split, order) of the rows of a file that are fitted or scored."""
    outside = ("system", "backend", "version", "kernel", "time_us")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        columns = [name for name in reader.fieldnames or () if name not in outside]
        for row in reader:
            gpu = SYSTEMS.get(row["system"])
            rule = excluded(table, row)
            if gpu is None or rule:
                left_out[gpu or row["system"], path.name.removesuffix(".csv.gz"), rule or "no such GPU"] += 1
                continue
            key = "|".join(row[name] for name in columns)
            group = "|".join(row[name] for name in table.group)
            op = COLLECTIVE_OPS.get(row["op"], row["op"]) if table.op == "op" else table.op
            order = crc32(f"s{key}".encode())
            yield gpu, op, table.formats[row[table.dtype]], row, split_of(group, key), order


def read_cells(data: Path) -> tuple[list[Cell], Counter[tuple[str, str, str]]]:
    """Read all files of `data`: a cell for each GPU, operator and format, its rows in checksum order."""
    left_out: Counter[tuple[str, str, str]] = Counter()
    found: dict[tuple[str, str, str], list[tuple[int, str, dict[str, str]]]] = {}
    for stem, table in TABLES.items():
        for gpu, op, dtype, row, split, order in read_table(data / f"{stem}.csv.gz", table, left_out):
            found.setdefault((gpu, op, dtype), []).append((order, split, row))
    places = {name: index for index, name in enumerate(score.GPUS)}
    ordered = sorted(found.items(), key=lambda item: (places[item[0][0]], item[0]))
    return [_cell(*where, rows) for where, rows in ordered], left_out


def _cell(gpu: str, op: str, dtype: str, rows: list[tuple[int, str, dict[str, str]]]) -> Cell:
    rows.sort(key=lambda item: (item[0], item[2]["time_us"]))
    first = rows[0][2]
    named = [f"{row['backend']} {row['version']} {row.get('kernel', '')}".strip() for _, _, row in rows]
    text = {"kernel": named, "split": [split for _, split, _ in rows]}
    text |= {name: [row[name] for _, _, row in rows] for name in ("backend", "version")}
    text["distribution"] = [row.get("distribution", "") for _, _, row in rows]
    return Cell(
        op=op,
        dtype=dtype,
        gpu=gpu,
        keys={name: np.array([float(row[name]) for _, _, row in rows]) for name in score.NUMBERS if name in first},
        text={name: np.array(words) for name, words in text.items()},
        measured_s=np.array([float(row["time_us"]) for _, _, row in rows]) * MICROSECOND,
    )


def main_kernel(cell: Cell) -> str:
    """Return the kernel of most rows; the first by name where two have as many."""
    counts = Counter(cell.text["kernel"].tolist())
    return str(min(counts, key=lambda name: (-counts[name], name)))


# Fitting -------------------------------------------------------------------------------------------

EFFICIENCY = (0.0201, 1.0)
FIXED_S = (units.parse("0.1 us", "s"), units.parse("2 ms", "s"))
UNIT_S = (units.parse("1 ns", "s"), units.parse("1 ms", "s"))
"""Bounds of the constants."""

STARTS = (
    {"fixed_s": units.parse("5 us", "s"), "unit_s": units.parse("2 us", "s"), "efficiency": 0.7},
    {"fixed_s": units.parse("20 us", "s"), "unit_s": units.parse("0.2 us", "s"), "efficiency": 0.3},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A function of constants to fit: their names, and the seconds of every row for given values."""

    names: tuple[str, ...]
    seconds: Callable[[Mapping[str, float]], Floats]

    def bounds(self) -> NDArray[np.float64]:
        """Return the least and the most of each constant, (constants, 2)."""
        limits = {"fixed_s": FIXED_S, "unit_s": UNIT_S, "rank_s": UNIT_S}
        return np.array([limits.get(name, EFFICIENCY) for name in self.names])

    def start(self, values: Mapping[str, float]) -> NDArray[np.float64]:
        """Return a first guess, in the order of the names."""
        guess = {"rank_s": values["unit_s"], **values}
        return np.array([guess.get(name, values["efficiency"]) for name in self.names])


def operator_form(cell: Cell, on: Device, *, serial: bool) -> Form:
    """Return the roofline with three constants (four with work units) on the rows of `cell`."""
    asked = score.demand(cell, on)
    names: tuple[str, ...] = ("fixed_s", "compute_efficiency", "memory_efficiency")
    names += ("unit_s",) if cell.op.endswith("_decode") or score.quantizes(cell) else ()

    def seconds(values: Mapping[str, float]) -> Floats:
        return score.operator_s(asked, Constants(**values), serial=serial)

    return Form(names=names, seconds=seconds)


def collective_form(cell: Cell, on: Device) -> Form:
    """Return the collective with three constants on the rows of `cell`."""
    beta = np.full_like(cell.measured_s, on.link_bytes_per_s)

    def seconds(values: Mapping[str, float]) -> Floats:
        return collective_s(cell.keys["bytes"], cell.keys["ranks"], beta, LinkConstants(**values), cell.op)

    return Form(names=("fixed_s", "rank_s", "link_efficiency"), seconds=seconds)


def fitted(form: Form, measured_s: Floats) -> dict[str, float]:
    """Return the constants that fit best, in 4 digits."""
    low, high = np.log(form.bounds()).T

    def misses(z: NDArray[np.float64]) -> Floats:
        values = dict(zip(form.names, np.exp(np.clip(z, low, high)).tolist(), strict=True))
        return np.log(form.seconds(values) / measured_s)

    def mean_miss(z: NDArray[np.float64]) -> float:
        return float(np.mean(np.abs(misses(z))))

    ends = []
    for guess in STARTS:
        start = np.clip(np.log(form.start(guess)), low + 1e-3, high - 1e-3)
        near = least_squares(misses, start, bounds=(low, high), loss="soft_l1", f_scale=0.1).x
        options = {"maxiter": 800, "xatol": 1e-4, "fatol": 1e-6}
        ends.append(minimize(mean_miss, near, method="Nelder-Mead", options=options).x)
    best = np.exp(np.clip(min(ends, key=mean_miss), low, high))
    return {name: _rounded(name, value) for name, value in zip(form.names, best.tolist(), strict=True)}


def _rounded(name: str, value: float) -> float:
    return units.parse(in_microseconds(value), "s") if name.endswith("_s") else float(f"{value:.4g}")


def in_microseconds(seconds: float) -> str:
    """Return a time in 4 digits, as the fits are written."""
    return f"{seconds / MICROSECOND:.4g} us"


def _percent(error: float) -> float:
    return round(error, 1) + 0.0  # no -0.0


def is_split(cell: Cell, name: str) -> NDArray[np.bool_]:
    """Return which rows are on that side of the split."""
    return np.asarray(cell.text["split"] == name)


def fit_cell(cell: Cell) -> OperatorFit | CollectiveFit:
    """Fit one cell (rows of one kernel, in range) and score it on its rows that were left out."""
    on = score.device(cell.gpu)
    train = cell.where(np.flatnonzero(is_split(cell, "train"))[:FITTED_ROWS])
    model: type[CollectiveFit] | type[OperatorFit]
    if cell.op in score.COLLECTIVES:
        form, model = collective_form(train, on), CollectiveFit
    else:
        form, model = operator_form(train, on, serial=cell.op in score.SERIAL), OperatorFit
    values: dict[str, Any] = dict(fitted(form, train.measured_s))
    tested = "group" if is_split(cell, "group").any() else "point"
    test = cell.where(is_split(cell, tested))
    kernel = str(cell.text["kernel"][0]) + ("" if tested == "group" else " (test: points, not shapes)")
    blank = Evidence(kernel=kernel, rows=len(train.measured_s), test_rows=len(test.measured_s))
    context = {"base_units": True}
    fit = model.model_validate(values | {"evidence": blank}, context=context)
    found = score.errors(test.measured_s, score.predicted_s(test, fit))
    shown = {name: _percent(found[name]) for name in ("mdape", "p90", "wape", "bias")}
    return model.model_validate(values | {"evidence": blank.model_copy(update=shown)}, context=context)


# Writing -------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Block style, but a line for the evidence."""


class _Line(dict[str, Any]):
    """A mapping that is written on one line."""


_Dumper.add_representer(
    _Line, lambda dumper, line: dumper.represent_mapping("tag:yaml.org,2002:map", line, flow_style=True)
)


def _as_text(fit: OperatorFit | CollectiveFit) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for name, value in fit.model_dump(exclude={"evidence"}).items():
        if name != "unit_s" or value:
            written[name] = in_microseconds(value) if name.endswith("_s") else float(f"{value:.4g}")
    return written | {"evidence": _Line(fit.evidence.model_dump(exclude_none=True))}


def write_fits(found: Fits, out: Path) -> None:
    """Write the fits of one GPU as YAML, and read them back."""
    head = {"gpu": found.gpu, "source": found.source, "fitted": found.fitted, "notes": found.notes}
    body = {
        "operators": {name: _as_text(fit) for name, fit in found.operators.items()},
        "collectives": {name: _as_text(fit) for name, fit in found.collectives.items()},
    }
    text = yaml.dump(head | body, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
    path = out / f"{found.gpu}.yaml"
    path.write_text(f"# Written by tools/fit_operators.py; errors in percent on rows left out.\n{text}")
    Fits.model_validate(yaml.safe_load(path.read_text()))


def write_errors(rows: Sequence[Sequence[object]], path: Path) -> None:
    """Write the error table."""
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["op", "dtype", "gpu", "kernel", "split", "n", "mdape", "mape", "p90", "wape", "bias"])
        writer.writerows(rows)


def write_sample(cells: Sequence[Cell], path: Path) -> int:
    """Write a sample of the rows left out (shapes where a cell has such, else points); return how many."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    words = ("distribution", "backend", "version")
    writer.writerow(["gpu", "op", "dtype", "kernel", "split", *score.NUMBERS, *words, "source", "measured_s"])
    written = 0
    for cell in cells:
        tested = "group" if is_split(cell, "group").any() else "point"
        for index in np.flatnonzero(is_split(cell, tested))[:SHIPPED_ROWS]:
            keys = [f"{cell.keys[name][index]:.0f}" if name in cell.keys else "" for name in score.NUMBERS]
            said = [str(cell.text[name][index]) for name in words]
            kernel = str(cell.text["kernel"][index])
            time = f"{cell.measured_s[index]:.5g}"
            writer.writerow([cell.gpu, cell.op, cell.dtype, kernel, tested, *keys, *said, SOURCE, time])
            written += 1
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
        packed.write(buffer.getvalue().encode())
    return written


# All together --------------------------------------------------------------------------------------


def error_rows(whole: Cell, kernel: str, fit: OperatorFit | CollectiveFit) -> list[list[object]]:
    """Return the lines of one cell: each side of the split, then rows that the fit is not meant for."""
    ours = whole.text["kernel"] == kernel
    fits_here = ours & score.in_range(whole)
    parts = [(kernel, split, fits_here & is_split(whole, split)) for split in ("group", "point", "train")]
    parts.append((kernel, "out_of_range", ours & ~score.in_range(whole)))
    others = sorted({*whole.text["kernel"].tolist()} - {kernel})
    parts += [(other, "other_kernel", whole.text["kernel"] == other) for other in others]
    lines: list[list[object]] = []
    for name, split, chosen in parts:
        if chosen.any():
            part = whole.where(chosen)
            found = score.errors(part.measured_s, score.predicted_s(part, fit))
            rounded = [_percent(found[key]) for key in ("mdape", "mape", "p90", "wape", "bias")]
            lines.append([whole.op, whole.dtype, whole.gpu, name, split, found["n"], *rounded])
    return lines


def notes_of(gpu: str, left_out: Mapping[tuple[str, str, str], int]) -> str:
    """Return what a reader of the constants has to know, with the rows left out by rule and count."""
    rules = [f"{count} of {stem}: {rule}" for (system, stem, rule), count in sorted(left_out.items()) if system == gpu]
    return (
        "Kernels timed without flushing L2. Attention multiplies at the bf16 peak, also with an fp8 cache. "
        f"moe: one rank, loads {' and '.join(SCORED_MOE)} together, active experts as of uniform routing. "
        "Collectives: three constants cannot hold the latency of small and the bandwidth of large buffers; "
        "fitted on 8 KiB to 64 MiB, which decode and prefill steps send. all_reduce_one_shot: up to 4 MiB; "
        "from 8 or 16 MiB on its rows are the library's times. Errors outside these ranges and of other "
        f"kernels: validation/operators.csv. Left out: {'; '.join(rules)}."
    )


def fit_all(cells: Sequence[Cell]) -> tuple[dict[str, dict[str, Any]], list[list[object]], list[Cell]]:
    """Return the fits by GPU and name, the error table, and the cells in the range of their fits."""
    by_gpu: dict[str, dict[str, Any]] = {}
    lines: list[list[object]] = []
    kept = []
    for whole in cells:
        kernel = main_kernel(whole)
        cell = whole.where((whole.text["kernel"] == kernel) & score.in_range(whole))
        if whole.op in score.COLLECTIVES:
            kept.append(whole)
        else:
            kept.append(cell)
        fit = fit_cell(cell)
        by_gpu.setdefault(cell.gpu, {})[cell.name] = fit
        lines += error_rows(whole, kernel, fit)
        shown = fit.model_dump(exclude={"evidence"})
        print(cell.gpu, cell.name, *(f"{name} {value:.4g}" for name, value in shown.items()))
    return by_gpu, lines, kept


def compare_forms(cells: Sequence[Cell]) -> None:
    """Print, for operators of the serial form, its error on train rows beside that of the overlapped form."""
    print("MdAPE on train rows, serial and overlapped:")
    for cell in cells:
        if cell.op in score.SERIAL:
            train = cell.where(np.flatnonzero(is_split(cell, "train"))[:FITTED_ROWS])
            shown = []
            for serial in (True, False):
                form = operator_form(train, score.device(cell.gpu), serial=serial)
                found = score.errors(train.measured_s, form.seconds(fitted(form, train.measured_s)))
                shown.append(f"{found['mdape']:.1f}/{found['p90']:.1f}/{found['wape']:.1f}")
            print(" ", cell.gpu, cell.name, *shown)


def assemble(gpu: str, found: Mapping[str, Any], day: date, notes: str, source: str) -> Fits:
    """Return the fits of one GPU as the catalog keeps them."""
    operators = {name: fit for name, fit in found.items() if isinstance(fit, OperatorFit)}
    links = {name: found[name] for name in score.COLLECTIVES if name in found}
    return Fits(gpu=gpu, operators=operators, collectives=links, source=source, fitted=day, notes=notes)


def main() -> None:
    """Fit, write, print."""
    parser = argparse.ArgumentParser(description="Fit operator constants on measured kernels.")
    parser.add_argument("--data", type=Path, required=True, help="folder of measured kernels")
    parser.add_argument("--out", type=Path, default=score.FITS, help="folder for the fits")
    parser.add_argument("--date", type=date.fromisoformat, default=date.today(), help="day of the fit")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    score.ROWS.parent.mkdir(parents=True, exist_ok=True)

    cells, left_out = read_cells(args.data)
    by_gpu, lines, kept = fit_all(cells)
    source = f"{SOURCE} (measured kernel times), fitted by tools/fit_operators.py"
    shipped = [assemble(gpu, found, args.date, notes_of(gpu, left_out), source) for gpu, found in by_gpu.items()]
    names = sorted({name for found in by_gpu.values() for name in found})
    medians = {name: score.typical(name, shipped) for name in names}
    notes = "For devices without rows: the median of each constant over the measured GPUs that have it."
    for found in [*shipped, assemble("generic", medians, args.date, notes, source)]:
        write_fits(found, args.out)
    write_errors(lines, score.ROWS.parent / "operators.csv")
    print(write_sample(kept, score.ROWS), "rows sampled")
    compare_forms(kept)


if __name__ == "__main__":
    main()
