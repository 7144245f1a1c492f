"""Errors by how long a kernel takes: short ones are mostly latency, long ones decide a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmplan.kernel_intervals import error_interval
from llmplan.kernel_scores import SIDES, Predicted, errors, rounded

EDGES_S = (20e-6, 100e-6, 1000e-6)
BINS = ("0-20 us", "20-100 us", "100-1000 us", "> 1000 us")
"""Measured time; a time on an edge is in the bin below it."""


def bin_rows(predicted: Sequence[Predicted]) -> list[dict[str, Any]]:
    """Return the errors of each operator, bin of measured time and side of the split; all formats and GPUs together."""
    found = []
    for op in sorted({one.cell.operator.name for one in predicted}):
        alike = [one for one in predicted if one.cell.operator.name == op]
        for number, name in enumerate(BINS):
            for side in SIDES:
                row = _row(alike, number, side, f"{op}|{name}|{side}")
                if row:
                    found.append({"op": op, "bin": name, "split": side, **row})
    return found


def _row(alike: Sequence[Predicted], number: int, side: str, name: str) -> dict[str, Any]:
    """Return the errors of one bin; nothing where no row is in it."""
    chosen = [
        (np.digitize(one.cell.measured_s, EDGES_S, right=True) == number) & (one.cell.split == side) for one in alike
    ]
    parts = [(one, rows) for one, rows in zip(alike, chosen, strict=True) if rows.any()]
    if not parts:
        return {}
    seconds = np.concatenate([one.seconds[rows] for one, rows in parts])
    measured = np.concatenate([one.cell.measured_s[rows] for one, rows in parts])
    interval = error_interval([(one.cell, rows) for one, rows in parts], seconds, measured, name)
    return rounded(errors(seconds, measured), interval)
