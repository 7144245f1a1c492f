"""Residuals of a kernel from its measured rows: taken from rows of fits only, and kept where they prove themselves.

Each fifth of the rows in turn is predicted from the others; residuals that do not lower the error are not kept. Then
each fifth of the shapes: where that raises the error, residuals hold for shapes among the rows only. Experts of models
without rows of their own never take those of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

import numpy as np

from llmplan.kernel_residuals import PER_MILLE, parameters_hash, probe_places
from llmplan.kernel_scores import Predicted
from llmplan.perf.kernels.residuals import Field, octaves, stretch_of
from llmplan.perf.roofline import Floats
from llmplan.spec.residuals import KernelResiduals, ResidualColumn

FOLDS, FEW_ROWS = 5, 100
"""Parts that are left out in turn; below so many rows each row is left out on its own."""
FEWEST_ROWS = 10
OWN_SHAPES = ("moe",)
"""Operators whose residuals never hold for other shapes."""


def kernel_residuals(predicted: Predicted, parameters: Mapping[str, float]) -> KernelResiduals | None:
    """Return the residuals of a kernel's rows of fits, or None where they are too few or help nothing.

    Parameters
    ----------
    predicted : Predicted
        Rows with their physical times.
    parameters : Mapping
        Those of the physical times.
    """
    cell = predicted.cell
    names = cell.operator.columns
    train = np.flatnonzero(cell.split == "train")
    if len(train) < FEWEST_ROWS:
        return None
    order = np.lexsort([cell.columns[name][train] for name in _by_variety(cell.columns, names, train)])
    rows = train[order]
    left = np.log(cell.measured_s[rows] / predicted.seconds[rows])
    points = octaves({name: cell.columns[name][rows] for name in names}, names)
    stretch = stretch_of(cell.operator.name, names)
    if not _helps(points, left, stretch, _folds(points)):
        return None
    own = [names.index(name) for name in cell.operator.shape]
    elsewhere = cell.operator.name not in OWN_SHAPES and (
        not own or _helps(points, left, stretch, _folds(points[:, own]))
    )
    plain = {
        "operator": cell.operator.name,
        "dtype": cell.dtype,
        "kernel": cell.kernel,
        "parameters": parameters_hash(parameters),
        "probes_s": [float(f"{predicted.seconds[rows[i]]:.6g}") for i in probe_places(len(rows))],
        "own_shapes_only": not elsewhere,
        "columns": {name: _coded(cell.columns[name][rows]) for name in names},
        "moves_per_mille": np.diff(np.rint(left / PER_MILLE).astype(int), prepend=0).tolist(),
    }
    return KernelResiduals.model_validate(plain, context={"base_units": True})


def _by_variety(columns: Mapping[str, Floats], names: tuple[str, ...], at: np.ndarray) -> list[str]:
    """Return the names of columns, those of most distinct values first: sorted by the last, files are small."""
    return sorted(names, key=lambda name: (-len(np.unique(columns[name][at])), name))


def _coded(column: Floats) -> ResidualColumn:
    values, places = np.unique(column, return_inverse=True)
    return ResidualColumn(values=tuple(values.tolist()), moves=tuple(np.diff(places, prepend=0).tolist()))


def _folds(points: Floats) -> np.ndarray:
    """Return the part that each row is in: rows of the same numbers are together."""
    distinct, place = np.unique(points, axis=0, return_inverse=True)
    if len(distinct) < FEW_ROWS:
        return np.asarray(place).ravel()
    part = [crc32(("fold" + "|".join(f"{x:.6f}" for x in row)).encode()) % FOLDS for row in distinct.tolist()]
    return np.array(part)[np.asarray(place).ravel()]


def _helps(points: Floats, left: Floats, stretch: Floats, folds: np.ndarray) -> bool:
    """Return whether rows predict others so that the median and the mean error fall."""
    told = np.zeros_like(left)
    for fold in np.unique(folds):
        out = folds == fold
        if not out.all():
            told[out] = Field.of(points[~out], left[~out], stretch).at(points[out])
    before, after = np.abs(left), np.abs(left - told)
    return bool(np.median(after) < np.median(before) and np.mean(after) < np.mean(before))
