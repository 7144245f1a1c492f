"""Score the shipped kernel rows: how far the fits of `hardware/fits` are from times they never saw.

    python tools/score_operators.py

Reads `validation/kernel_test_rows.csv.gz`, `hardware/gpus`, `hardware/links` and `hardware/fits` alone. Four
predictions of every row stand side by side: the fit of its own GPU, the fit of another GPU of the same
architecture, the median of the *other* GPUs' fits (what a GPU without rows gets), and the datasheet roofline.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from llmplan import units
from llmplan.perf import attention, collectives, formats, moe, roofline
from llmplan.perf.gemm import gemm
from llmplan.perf.roofline import Constants, Floats, Work
from llmplan.spec.fits import CollectiveFit, Evidence, Fits, OperatorFit
from llmplan.spec.hardware import Gpu, Link

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "validation" / "kernel_test_rows.csv.gz"
FITS = ROOT / "hardware" / "fits"
GPUS = ("a100-80-sxm", "h100-sxm", "h200-sxm", "b200-sxm", "l40s")

COLLECTIVES = ("all_reduce", "all_reduce_one_shot", "all_gather", "reduce_scatter", "all_to_all")
SERIAL = ("attention_prefill", "mla_prefill")
"""Operators whose arithmetic and traffic follow each other; those of all others overlap."""

NUMBERS = (
    *("m", "n", "k", "batch", "seq_len", "ctx_len", "heads", "kv_heads", "head_dim", "window"),
    *("tokens", "hidden", "inter", "topk", "experts", "tp", "ranks", "bytes"),
)
"""Columns of the row file that hold numbers, blank where an operator has no such key."""

MLA_HEAD = (192, 128)
MLA_LATENT = (576, 512)
"""d_qk and d_v of latent attention: in prefill, and absorbed in decode."""
MLA_HEADS_PER_UNIT = 64

SMALLEST_BYTES = units.parse("8 KiB", "B")
LARGEST_BYTES = units.parse("64 MiB", "B")
ONE_SHOT_BYTES = units.parse("4 MiB", "B")
"""Buffers of decode and prefill steps, and the most that every engine's own all-reduce takes itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU and the link that its collectives use."""

    gpu: Gpu
    link_bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Measured rows of one operator, format and GPU."""

    op: str
    dtype: str
    gpu: str
    keys: Mapping[str, Floats]
    text: Mapping[str, NDArray[np.str_]]
    """kernel, split and what else a row carries as words."""
    measured_s: Floats

    def where(self, chosen: NDArray[Any]) -> Cell:
        """Return the rows that a mask or a list of positions chooses."""
        return Cell(
            op=self.op,
            dtype=self.dtype,
            gpu=self.gpu,
            keys={name: column[chosen] for name, column in self.keys.items()},
            text={name: column[chosen] for name, column in self.text.items()},
            measured_s=self.measured_s[chosen],
        )

    @property
    def name(self) -> str:
        """The key of this cell in a `Fits`."""
        return self.op if self.op in COLLECTIVES else f"{self.op}.{self.dtype}"

    @property
    def weight_format(self) -> str:
        """The format without its scaling: blocks of fp8 weigh and multiply as fp8."""
        return self.dtype.removesuffix("_block")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the rows of a cell ask of a device: work at two rates, and work units."""

    work: Work
    flop_per_s: float
    bytes_per_s: float
    units_per_multiprocessor: Floats | float


@cache
def device(name: str) -> Device:
    """Read a GPU and its link from the catalog."""
    gpu = Gpu.model_validate(yaml.safe_load((ROOT / "hardware" / "gpus" / f"{name}.yaml").read_text()))
    path = ROOT / "hardware" / "links" / f"{gpu.link or gpu.host_link}.yaml"
    link = Link.model_validate(yaml.safe_load(path.read_text()))
    return Device(gpu=gpu, link_bytes_per_s=link.bytes_per_s)


@cache
def fits(name: str) -> Fits:
    """Read the fits of one GPU."""
    return Fits.model_validate(yaml.safe_load((FITS / f"{name}.yaml").read_text()))


def siblings(name: str) -> list[str]:
    """Return the other measured GPUs of the same architecture."""
    family = device(name).gpu.architecture
    return [other for other in GPUS if other != name and device(other).gpu.architecture == family]


# What each operator asks of a device ---------------------------------------------------------------


def _in_groups(cell: Cell, names: Sequence[str], work_of: Callable[..., Work]) -> Work:
    """Return the work of all rows, built group by group of equal `names`, which `work_of` takes as floats."""
    flop, moved = np.empty_like(cell.measured_s), np.empty_like(cell.measured_s)
    keys = np.stack([cell.keys[name] for name in names], axis=1)
    groups, of_row = np.unique(keys, axis=0, return_inverse=True)
    for index, group in enumerate(groups):
        mine = np.flatnonzero(of_row.ravel() == index)
        work = work_of(cell.where(mine).keys, *(float(value) for value in group))
        flop[mine], moved[mine] = work.flop, work.moved_bytes
    return Work(flop=flop, moved_bytes=moved)


def _gemm(cell: Cell) -> Work:
    weight, activation = (
        formats.WEIGHT_BYTES[cell.weight_format],
        formats.ACTIVATION_BYTES[cell.weight_format],
    )
    return gemm(cell.keys["m"], cell.keys["n"], cell.keys["k"], weight, activation)


def _attention_prefill(cell: Cell) -> Work:
    def work(keys: Mapping[str, Floats], head_dim: float, window: float) -> Work:
        heads = attention.Heads(
            query=keys["heads"],
            kv=keys["kv_heads"],
            width=2 * head_dim,
            kv_width=2 * head_dim,
            kv_bytes=formats.KV_BYTES[cell.dtype],
            units_per_sequence=keys["kv_heads"],
        )
        chunk = keys["seq_len"]
        pairs = attention.causal_pairs(chunk, np.zeros_like(chunk), window or None)
        return attention.prefill(keys["batch"] * chunk, keys["batch"] * pairs, heads)

    return _in_groups(cell, ("head_dim", "window"), work)


def _mla_prefill(cell: Cell) -> Work:
    chunk, heads = cell.keys["seq_len"], cell.keys["heads"]
    latent = attention.Heads(
        query=heads,
        kv=heads,
        width=sum(MLA_HEAD),
        kv_width=sum(MLA_HEAD),
        kv_bytes=formats.KV_BYTES[cell.dtype],
        units_per_sequence=heads,
    )
    pairs = attention.causal_pairs(chunk, np.zeros_like(chunk))
    return attention.prefill(cell.keys["batch"] * chunk, cell.keys["batch"] * pairs, latent)


def _attention_decode(cell: Cell) -> Work:
    def work(keys: Mapping[str, Floats], head_dim: float, window: float) -> Work:
        heads = attention.Heads(
            query=keys["heads"],
            kv=keys["kv_heads"],
            width=2 * head_dim,
            kv_width=2 * head_dim,
            kv_bytes=formats.KV_BYTES[cell.dtype],
            units_per_sequence=keys["kv_heads"],
        )
        context = np.minimum(keys["ctx_len"] + 1, window or np.inf)
        return attention.decode(keys["batch"], keys["batch"] * context, heads)

    return _in_groups(cell, ("head_dim", "window"), work)


def _mla_decode(cell: Cell) -> Work:
    latent = attention.Heads(
        query=cell.keys["heads"],
        kv=1.0,
        width=sum(MLA_LATENT),
        kv_width=MLA_LATENT[0],
        kv_bytes=formats.KV_BYTES[cell.dtype],
        units_per_sequence=np.ceil(cell.keys["heads"] / MLA_HEADS_PER_UNIT),
    )
    return attention.decode(cell.keys["batch"], cell.keys["batch"] * (cell.keys["ctx_len"] + 1), latent)


def _moe(cell: Cell) -> Work:
    weight = formats.WEIGHT_BYTES[cell.weight_format]

    def work(keys: Mapping[str, Floats], hidden: float, topk: float, experts: float) -> Work:
        return moe.experts(keys["tokens"], hidden, keys["inter"] / keys["tp"], (experts, topk), 1.0, weight)

    return _in_groups(cell, ("hidden", "topk", "experts"), work)


WORK: dict[str, Callable[[Cell], Work]] = {
    "gemm": _gemm,
    "attention_prefill": _attention_prefill,
    "attention_decode": _attention_decode,
    "mla_prefill": _mla_prefill,
    "mla_decode": _mla_decode,
    "moe": _moe,
}


def demand(cell: Cell, on: Device) -> Demand:
    """Return what the rows of a cell ask of `on`; attention multiplies at the bf16 rate, fp8 cache or not."""
    multiplies = formats.COMPUTE_TYPE[cell.weight_format] if cell.op in ("gemm", "moe") else "bf16"
    per_sequence: Floats | float = 0.0
    if cell.op == "attention_decode":
        per_sequence = cell.keys["batch"] * cell.keys["kv_heads"]
    if cell.op == "mla_decode":
        per_sequence = cell.keys["batch"] * np.ceil(cell.keys["heads"] / MLA_HEADS_PER_UNIT)
    if quantizes(cell):
        per_sequence = cell.keys["m"]
    return Demand(
        work=WORK[cell.op](cell),
        flop_per_s=on.gpu.flop_per_s[multiplies],
        bytes_per_s=on.gpu.memory_bytes_per_s,
        units_per_multiprocessor=per_sequence / on.gpu.multiprocessors,
    )


def quantizes(cell: Cell) -> bool:
    """Return whether a matrix product quantizes its activations row by row first."""
    return cell.op == "gemm" and cell.dtype in ("fp8", "fp8_block", "nvfp4")


def operator_s(asked: Demand, fit: Constants, *, serial: bool) -> Floats:
    """Return seconds of operators that ask `asked`."""
    form = roofline.serial_s if serial else roofline.overlapped_s
    return fit.unit_s * asked.units_per_multiprocessor + form(asked.work, asked.flop_per_s, asked.bytes_per_s, fit)


def predicted_s(cell: Cell, fit: OperatorFit | CollectiveFit | None) -> Floats:
    """Return seconds of every row of `cell`; without a fit those of the datasheet roofline."""
    on = device(cell.gpu)
    if cell.op in COLLECTIVES:
        ideal = collectives.LinkConstants(fixed_s=0.0, rank_s=0.0, link_efficiency=1.0)
        link = link_constants(fit) if isinstance(fit, CollectiveFit) else ideal
        beta = np.full_like(cell.measured_s, on.link_bytes_per_s)
        return collectives.collective_s(cell.keys["bytes"], cell.keys["ranks"], beta, link, cell.op)
    if not isinstance(fit, OperatorFit):
        return operator_s(demand(cell, on), roofline.IDEAL, serial=False)
    return operator_s(demand(cell, on), constants(fit), serial=cell.op in SERIAL)


def constants(fit: OperatorFit) -> Constants:
    """Return the constants of a fit as `llmplan.perf.roofline` takes them."""
    return Constants(
        fixed_s=fit.fixed_s,
        compute_efficiency=fit.compute_efficiency,
        memory_efficiency=fit.memory_efficiency,
        unit_s=fit.unit_s,
    )


def link_constants(fit: CollectiveFit) -> collectives.LinkConstants:
    """Return the constants of a fit as `llmplan.perf.collectives` takes them."""
    return collectives.LinkConstants(fixed_s=fit.fixed_s, rank_s=fit.rank_s, link_efficiency=fit.link_efficiency)


def fit_of(cell: Cell, source: Fits) -> OperatorFit | CollectiveFit | None:
    """Return the fit for a cell's operator and format, or None."""
    return source.collectives.get(cell.name) if cell.op in COLLECTIVES else source.operators.get(cell.name)


def typical(name: str, sources: Iterable[Fits]) -> OperatorFit | CollectiveFit | None:
    """Return the median of each constant over the GPUs that have a fit of that name; None where none has."""
    found = [fit for source in sources for fit in (source.operators.get(name), source.collectives.get(name)) if fit]
    if not found:
        return None
    fields = [field for field in type(found[0]).model_fields if field != "evidence"]
    medians = {field: float(np.median([getattr(fit, field) for fit in found])) for field in fields}
    kernel = f"no rows of its own: median over the fits of {len(found)} of the {len(GPUS)} measured GPUs"
    evidence = Evidence(kernel=kernel, rows=0, test_rows=0)
    written = medians | {"evidence": evidence}
    return type(found[0]).model_validate(written, context={"base_units": True})


def in_range(cell: Cell) -> NDArray[np.bool_]:
    """Return which rows lie in the range that the fit serves: all, but for collectives some buffers only."""
    if cell.op not in COLLECTIVES:
        return np.ones(len(cell.measured_s), dtype=bool)
    size = cell.keys["bytes"]
    if cell.op == "all_reduce_one_shot":
        return np.asarray(size <= ONE_SHOT_BYTES)
    return np.asarray((size >= SMALLEST_BYTES) & (size <= LARGEST_BYTES))


# Errors --------------------------------------------------------------------------------------------


def errors(measured: Floats, predicted: Floats) -> dict[str, float]:
    """Return n and the errors of a prediction, in percent; bias is the median of the signed error."""
    signed = 100 * (predicted - measured) / measured
    size = np.abs(signed)
    return {
        "n": len(measured),
        "mdape": float(np.median(size)),
        "mape": float(np.mean(size)),
        "p90": float(np.percentile(size, 90)),
        "wape": float(100 * np.sum(np.abs(predicted - measured)) / np.sum(measured)),
        "bias": float(np.median(signed)),
    }


def read_rows(path: Path = ROWS) -> list[Cell]:
    """Read the shipped rows, a cell for each GPU, operator and format, in the order of the file."""
    found: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            found.setdefault((row["gpu"], row["op"], row["dtype"]), []).append(row)
    return [
        Cell(
            op=op,
            dtype=dtype,
            gpu=gpu,
            keys={name: np.array([float(row[name] or "nan") for row in rows]) for name in NUMBERS if rows[0][name]},
            text={name: np.array([row[name] for row in rows]) for name in ("kernel", "split")},
            measured_s=np.array([float(row["measured_s"]) for row in rows]),
        )
        for (gpu, op, dtype), rows in found.items()
    ]


BASES = ("own fit", "same architecture", "other GPUs", "datasheet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A cell with its predictions by basis; a basis that does not exist is missing."""

    cell: Cell
    predicted_s: Mapping[str, Floats]


@cache
def scored() -> tuple[Scored, ...]:
    """Predict every shipped row in the range of its fit, on every basis."""
    answer = []
    for whole in read_rows():
        cell = whole.where(in_range(whole))
        if not len(cell.measured_s):
            continue
        others = [fits(name) for name in GPUS if name != cell.gpu]
        sibling = typical(cell.name, [fits(name) for name in siblings(cell.gpu)])
        found = {
            "own fit": fit_of(cell, fits(cell.gpu)),
            "same architecture": sibling,
            "other GPUs": typical(cell.name, others),
        }
        times = {basis: predicted_s(cell, fit) for basis, fit in found.items() if fit}
        answer.append(Scored(cell=cell, predicted_s=times | {"datasheet": predicted_s(cell, None)}))
    return tuple(answer)


FAMILIES: dict[str, Callable[[Cell], bool]] = {
    "GEMM bf16": lambda cell: cell.name == "gemm.bf16",
    "GEMM 8- and 4-bit": lambda cell: cell.op == "gemm" and cell.dtype != "bf16",
    "attention, prefill": lambda cell: cell.op == "attention_prefill",
    "attention, decode": lambda cell: cell.op == "attention_decode",
    "MLA, prefill": lambda cell: cell.op == "mla_prefill",
    "MLA, decode": lambda cell: cell.op == "mla_decode",
    "routed experts": lambda cell: cell.op == "moe",
    "collectives": lambda cell: cell.op in COLLECTIVES,
}


def pooled(parts: Sequence[Scored], basis: str) -> dict[str, float] | None:
    """Return the errors over all rows of `parts` that `basis` predicts, or None."""
    having = [part for part in parts if basis in part.predicted_s]
    if not having:
        return None
    measured = np.concatenate([part.cell.measured_s for part in having])
    return errors(measured, np.concatenate([part.predicted_s[basis] for part in having]))


def table() -> str:
    """Return MdAPE/P90 (rows) in percent as Markdown: a line per operator family, a column per GPU."""
    heads = ["operator", *GPUS, "sibling's fit", "other GPUs' fits", "datasheet roofline"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for family, belongs in FAMILIES.items():
        mine = [part for part in scored() if belongs(part.cell)]
        shown = [_short(pooled([part for part in mine if part.cell.gpu == gpu], "own fit"), rows=True) for gpu in GPUS]
        shown += [_short(pooled(mine, basis), rows=False) for basis in BASES[1:]]
        lines.append(f"| {' | '.join([family, *shown])} |")
    return "\n".join(lines)


def _short(error: Mapping[str, float] | None, *, rows: bool) -> str:
    if error is None:
        return "–"
    return f"{error['mdape']:.0f}/{error['p90']:.0f}" + (f" ({error['n']})" if rows else "")


def cells() -> str:
    """Return the same for every operator, format and GPU on its own, with WAPE and bias of the own fit."""
    heads = ["cell", "split", "n", "own fit", "WAPE", "bias", *BASES[1:]]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for part in scored():
        own = pooled([part], "own fit")
        if own is None:
            continue
        splits = "+".join(sorted(set(part.cell.text["split"])))
        shown = [f"{part.cell.name} {part.cell.gpu}", splits, f"{own['n']}", _short(own, rows=False)]
        shown += [f"{own['wape']:.0f}", f"{own['bias']:+.0f}"]
        shown += [_short(pooled([part], basis), rows=False) for basis in BASES[1:]]
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    """Print both tables."""
    print(
        "MdAPE/P90 in percent on measured kernel times that no fit has seen: whole shapes left out\n"
        "(collectives and formats without such: points); (n) rows. The last three columns predict the same\n"
        "rows without any row of that GPU.\n"
    )
    print(table())
    print()
    print(cells())


if __name__ == "__main__":
    main()
