"""How far predictions of kernels are from measured times, by operator, format, device, kernel and side of the split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from llmplan.kernel_intervals import Interval, error_interval
from llmplan.kernel_library import KernelLibrary
from llmplan.kernel_residuals import ResidualLibrary
from llmplan.kernel_rows import Cell, Measured
from llmplan.perf.kernels.forms import roofline_s
from llmplan.perf.roofline import Floats

PERCENT = 100.0
SIDES = ("group", "point", "train")


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Errors of n rows in percent of the measured time."""

    n: int
    mdape: float
    mape: float
    p90: float
    wape: float
    bias: float
    """Median of the signed error: below 0, predictions are too fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Errors of one cell on one side of the split."""

    op: str
    dtype: str
    gpu: str
    kernel: str
    split: str
    basis: str
    errors: Errors
    roofline_mdape: float
    """Of the datasheet's roofline, for comparison."""
    interval: Interval | None = None
    """90 % interval of the median error, where rows or shapes are few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """A cell with its predictions."""

    cell: Cell
    seconds: Floats
    basis: str


def errors(predicted: Floats, measured: Floats) -> Errors:
    """Return the errors of predicted over measured times, (n,) each."""
    signed = PERCENT * (predicted - measured) / measured
    size = np.abs(signed)
    return Errors(
        n=len(measured),
        mdape=float(np.median(size)),
        mape=float(np.mean(size)),
        p90=float(np.percentile(size, 90)),
        wape=float(PERCENT * np.abs(predicted - measured).sum() / measured.sum()),
        bias=float(np.median(signed)),
    )


def predictions(
    measured: Measured, library: KernelLibrary, hide: str | None = None, residuals: ResidualLibrary | None = None
) -> Iterator[Predicted]:
    """Yield every cell with its predictions; cells that nothing predicts are passed over.

    Parameters
    ----------
    measured : Measured
    library : KernelLibrary
    hide : 'gpu' or 'family', optional
        Predict each device as if neither it (nor its architecture) had been measured.
    residuals : ResidualLibrary, optional
        Taken where a kernel is predicted with its own parameters.
    """
    for cell in measured.cells:
        known = library if hide is None else library.without(cell.target.gpu, family=hide == "family")
        found = known.find(cell.target.gpu, cell.operator.name, cell.dtype, cell.kernel)
        if found is None:
            continue
        seconds = cell.operator.predict(cell.columns, cell.target, cell.dtype, cell.kernel, found.parameters)
        if residuals is not None and hide is None and found.basis == "calibrated":
            left = residuals.ln_factor(
                cell.target, cell.operator, cell.dtype, cell.kernel, found.parameters, cell.columns
            )
            seconds = seconds if left is None else seconds * np.exp(left)
        yield Predicted(cell=cell, seconds=seconds, basis=found.basis)


def scores(predicted: Sequence[Predicted]) -> list[Score]:
    """Return the errors of every cell and side."""
    found = []
    for one in predicted:
        cell = one.cell
        bound = roofline_s(cell.operator, cell.columns, cell.target, cell.dtype, cell.kernel)
        for side in SIDES:
            rows = cell.split == side
            if rows.any():
                told = errors(one.seconds[rows], cell.measured_s[rows])
                plain = errors(bound[rows], cell.measured_s[rows])
                found.append(
                    Score(
                        op=cell.operator.name, dtype=cell.dtype, gpu=cell.gpu, kernel=cell.kernel, split=side,
                        basis=one.basis, errors=told, roofline_mdape=plain.mdape, interval=_interval(one, rows),
                    )
                )  # fmt: skip
    return sorted(found, key=lambda s: (s.op, s.dtype, s.gpu, s.kernel, s.split))


def _interval(one: Predicted, rows: np.ndarray) -> Interval | None:
    cell = one.cell
    side = cell.split[rows][0]
    name = f"{cell.operator.name}|{cell.dtype}|{cell.gpu}|{cell.kernel}|{side}"
    return error_interval([(cell, rows)], one.seconds[rows], cell.measured_s[rows], name)


def rounded(told: Errors, interval: Interval | None) -> dict[str, Any]:
    """Return errors as plain data, in tenths of a percent; without an interval its ends are None."""
    low, high = (None, None) if interval is None else (round(end, 1) for end in interval)
    numbers = {name: value if name == "n" else round(value, 1) for name, value in asdict(told).items()}
    return {**numbers, "mdape_low": low, "mdape_high": high}


def document(directory: str, measured: Measured, scored: Sequence[Score]) -> dict[str, Any]:
    """Return the scores as plain data, rounded to tenths of a percent."""
    rows = [
        {
            "op": s.op, "dtype": s.dtype, "gpu": s.gpu, "kernel": s.kernel, "split": s.split,
            **rounded(s.errors, s.interval),
            "basis": s.basis, "roofline_mdape": round(s.roofline_mdape, 1),
        }
        for s in scored
    ]  # fmt: skip
    ran = sum(s.errors.n for s in scored)
    refused = +(measured.refused + Counter(no_form=sum(len(c.measured_s) for c in measured.cells) - ran))
    files = [{"name": f.name, "sha256": f.sha256, "rows": f.rows} for f in sorted(measured.files, key=lambda f: f.name)]
    return {
        "kind": "validation",
        "inputs": {"dir": directory, "files": files},
        "rows": rows,
        "coverage": {"ran": ran, "refused": dict(sorted(refused.items()))},
    }


def row_table(predicted: Sequence[Predicted]) -> list[dict[str, Any]]:
    """Return one line for each scored row: its numbers, measured and predicted time, signed error and basis."""
    found = []
    for one in predicted:
        cell = one.cell
        for i, (seconds, measured) in enumerate(zip(one.seconds, cell.measured_s, strict=True)):
            key = " ".join(f"{name}={cell.columns[name][i]:g}" for name in cell.operator.columns)
            found.append(
                {
                    "op": cell.operator.name, "dtype": cell.dtype, "gpu": cell.gpu, "kernel": cell.kernel,
                    "split": cell.split[i], "key": key, "measured_s": float(f"{measured:.5g}"),
                    "predicted_s": float(f"{seconds:.5g}"),
                    "error_percent": round(float(PERCENT * (seconds - measured) / measured), 1), "basis": one.basis,
                }
            )  # fmt: skip
    return found
