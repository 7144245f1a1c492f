"""Residuals of a kernel from its measured rows: taken from rows of fits only, and kept where they prove themselves.

Each fifth of the rows in turn is predicted from the others; residuals that do not lower the error are not kept. Then
each fifth of the shapes: where that raises the error, residuals hold for shapes among the rows only. Experts of models
without rows of their own never take those of others. A collective moves bytes, whatever they mean: rows of another
format are neighbors of its rows where it has none itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

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


def kernel_residuals(
    predicted: Predicted, parameters: Mapping[str, float], others: Iterable[Predicted] = ()
) -> KernelResiduals | None:
    """Return the residuals of a kernel's rows of fits, or None where they are too few or help nothing.

    Parameters
    ----------
    predicted : Predicted
        Rows with their physical times.
    parameters : Mapping
        Those of the physical times.
    others : iterable of Predicted
        Rows of other formats, with physical times of this very kernel: neighbors where it has no row itself.
    """
    operator = predicted.cell.operator
    names = operator.columns
    rows = _rows(predicted, others)
    if (~rows.borrowed).sum() < FEWEST_ROWS:
        return None
    points, stretch = octaves(rows.columns, names), stretch_of(operator.name, names)
    if not _helps(points, rows, stretch, _folds(points)):
        return None
    own = [names.index(name) for name in operator.shape]
    elsewhere = operator.name not in OWN_SHAPES and (not own or _helps(points, rows, stretch, _folds(points[:, own])))
    rows = _needed(rows)
    plain = {
        "operator": operator.name,
        "dtype": predicted.cell.dtype,
        "kernel": predicted.cell.kernel,
        "parameters": parameters_hash(parameters),
        "probes_s": [float(f"{rows.physical_s[i]:.6g}") for i in probe_places(len(rows.left))],
        "own_shapes_only": not elsewhere,
        "columns": {name: _coded(rows.columns[name]) for name in names},
        "moves_per_mille": np.diff(np.rint(rows.left / PER_MILLE).astype(int), prepend=0).tolist(),
    }
    return KernelResiduals.model_validate(plain, context={"base_units": True})


class _Rows(NamedTuple):
    """Rows that residuals are taken from, in the order of the file."""

    columns: Mapping[str, Floats]
    physical_s: Floats
    left: Floats
    """ln(measured / physical)"""
    borrowed: NDArray[np.bool_]
    """Whether a row is of another format."""

    def at(self, places: np.ndarray) -> _Rows:
        """Return the rows at some places."""
        columns = {name: column[places] for name, column in self.columns.items()}
        return _Rows(columns, self.physical_s[places], self.left[places], self.borrowed[places])


def _rows(predicted: Predicted, others: Iterable[Predicted]) -> _Rows:
    """Return the rows of fits of a kernel and of other formats."""
    names = predicted.cell.operator.columns
    parts = [(one, one.cell.split == "train", i > 0) for i, one in enumerate((predicted, *others))]
    columns = {name: np.concatenate([one.cell.columns[name][at] for one, at, _ in parts]) for name in names}
    physical = np.concatenate([one.seconds[at] for one, at, _ in parts])
    measured = np.concatenate([one.cell.measured_s[at] for one, at, _ in parts])
    borrowed = np.concatenate([np.full(int(at.sum()), lent) for _, at, lent in parts])
    order = np.lexsort([columns[name] for name in _by_variety(columns, names)])
    return _Rows(columns, physical, np.log(measured / physical), borrowed).at(order)


def _needed(rows: _Rows) -> _Rows:
    """Return rows without those of other formats whose numbers a row of the own format has."""
    keys = list(zip(*(column.tolist() for column in rows.columns.values()), strict=True))
    known = {key for key, lent in zip(keys, rows.borrowed, strict=True) if not lent}
    kept = [not lent or key not in known for key, lent in zip(keys, rows.borrowed, strict=True)]
    return rows.at(np.flatnonzero(kept))


def _by_variety(columns: Mapping[str, Floats], names: tuple[str, ...]) -> list[str]:
    """Return the names of columns, those of most distinct values first: sorted by the last, files are small."""
    return sorted(names, key=lambda name: (-len(np.unique(columns[name])), name))


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


def _helps(points: Floats, rows: _Rows, stretch: Floats, folds: np.ndarray) -> bool:
    """Return whether rows predict others of their own format so that the median and the mean error fall."""
    own = ~rows.borrowed
    told = np.zeros_like(rows.left)
    for fold in np.unique(folds):
        out = own & (folds == fold)
        if out.any() and not out.all():
            told[out] = Field.of(points[~out], rows.left[~out], stretch).at(points[out])
    before, after = np.abs(rows.left[own]), np.abs(rows.left - told)[own]
    return bool(np.median(after) < np.median(before) and np.mean(after) < np.mean(before))
