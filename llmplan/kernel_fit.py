"""Fits the parameters of a kernel's form to measured rows.

Least squares with a soft L1 loss on ln(predicted / measured) over the logarithms of the parameters, within their
bounds, then Nelder-Mead on the mean size of it. Rows are drawn with the fourth root of their time, so that long ones
are heard. Where parameters of other devices exist they are a prior: λ·(z − z_prior) joins the residuals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

from llmplan.kernel_rows import Cell
from llmplan.kernel_scores import Errors, errors
from llmplan.perf.roofline import Floats
from llmplan.spec.kernels import KernelEvidence, KernelFit

FEWEST_ROWS, FEWEST_COLLECTIVE_ROWS = 60, 20
MANY_ROWS = 200
"""From here on a fit leaves out the fixed split; below, each fifth of the rows in turn."""
MOST_ROWS = 3000
"""Rows of one fit."""
SOFTNESS = 0.1
PRIOR_WEIGHT = 0.15
FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TooFew:
    """A cell with fewer rows than a fit needs."""

    cell: Cell
    rows: int
    needed: int


def fitted(cell: Cell, prior: Mapping[str, float] | None = None) -> KernelFit | TooFew:
    """Return the parameters of a cell with their error on rows left out, or why there are none."""
    needed = FEWEST_ROWS if cell.operator.shape else FEWEST_COLLECTIVE_ROWS
    count = len(cell.measured_s)
    if count < needed:
        return TooFew(cell=cell, rows=count, needed=needed)
    if count >= MANY_ROWS or not cell.operator.shape:
        train = np.flatnonzero(cell.split == "train")
        parameters = fit_parameters(cell, train, prior)
        side = "group" if (cell.split == "group").any() else "point"
        test = np.flatnonzero(cell.split == side)
        told = errors(_predicted(cell, test, parameters), cell.measured_s[test])
        return _fit(cell, parameters, len(train), told, "shapes" if side == "group" else "points")
    everything = np.arange(count)
    predicted = np.empty(count)
    for fold in range(FOLDS):
        test = everything[everything % FOLDS == fold]
        parameters = fit_parameters(cell, np.setdiff1d(everything, test), prior)
        predicted[test] = _predicted(cell, test, parameters)
    return _fit(cell, fit_parameters(cell, everything, prior), count, errors(predicted, cell.measured_s), "folds")


def _fit(cell: Cell, parameters: Mapping[str, float], rows: int, told: Errors, left_out: str) -> KernelFit:
    evidence = KernelEvidence(
        rows=rows, test_rows=told.n, left_out=left_out, mdape=round(told.mdape, 1), p90=round(told.p90, 1),
        wape=round(told.wape, 1), bias=round(told.bias, 1),
    )  # fmt: skip
    return KernelFit(
        operator=cell.operator.name, dtype=cell.dtype, kernel=cell.kernel, library=cell.library,
        parameters={name: float(f"{value:.4g}") for name, value in parameters.items()}, evidence=evidence,
    )  # fmt: skip


def _predicted(cell: Cell, at: np.ndarray, parameters: Mapping[str, float]) -> Floats:
    columns = {name: column[at] for name, column in cell.columns.items()}
    return cell.operator.predict(columns, cell.target, cell.dtype, cell.kernel, parameters)


def fit_parameters(cell: Cell, at: np.ndarray, prior: Mapping[str, float] | None) -> dict[str, float]:
    """Return the parameters that predict the rows `at` best, near the prior where there is one."""
    from scipy.optimize import least_squares, minimize

    rows = at[_drawn(cell.measured_s[at])]
    wanted = cell.operator.parameters(cell.dtype)
    low, high = (np.log([getattr(p, side) for p in wanted]) for side in ("low", "high"))
    start = np.log([(prior or {}).get(p.name, p.start) for p in wanted])
    columns = {name: column[rows] for name, column in cell.columns.items()}
    measured = np.log(cell.measured_s[rows])

    def residuals(z: Floats) -> Floats:
        parameters = {p.name: float(v) for p, v in zip(wanted, np.exp(z), strict=True)}
        predicted = cell.operator.predict(columns, cell.target, cell.dtype, cell.kernel, parameters)
        return np.asarray(np.log(predicted) - measured)

    def pulled(z: Floats) -> Floats:
        return np.concatenate([residuals(z), PRIOR_WEIGHT * (z - start)]) if prior else residuals(z)

    def size(z: Any) -> float:
        inside = np.clip(z, low, high)
        return float(np.mean(np.abs(residuals(inside)))) + (
            PRIOR_WEIGHT**2 * float(np.mean((inside - start) ** 2)) if prior else 0.0
        )

    inside = np.clip(start, low + 1e-6, high - 1e-6)
    first = least_squares(
        pulled, inside, bounds=(low, high), loss="soft_l1", f_scale=SOFTNESS, diff_step=[0.02], max_nfev=60
    )
    last = minimize(size, first.x, method="Nelder-Mead", options={"maxfev": 400, "xatol": 1e-3, "fatol": 1e-5})
    best = np.exp(np.clip(last.x, low, high))
    return {p.name: float(v) for p, v in zip(wanted, best, strict=True)}


def _drawn(seconds: Floats) -> np.ndarray:
    """Return the places of at most `MOST_ROWS` rows, long ones more often; always the same ones."""
    count = len(seconds)
    if count <= MOST_ROWS:
        return np.arange(count)
    uniform = np.array([(crc32(str(i).encode()) + 0.5) / 2**32 for i in range(count)])
    order = np.argsort(-np.log(uniform) / seconds**0.25, kind="stable")
    return np.sort(order[:MOST_ROWS])
