"""How sure a median error is: a bootstrap over whole shapes, for few rows or few shapes.

Rows of one shape err alike, so that a thousand rows of three shapes say little about a fourth one. Shapes are drawn
with replacement, as many as there are, and the median error of their rows is taken; the interval holds the middle 90 %
of 500 such medians. Operators without shapes draw rows. The draws come from a hash of their place: the same rows have
the same interval on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from llmplan.kernel_rows import Cell
from llmplan.perf.roofline import Floats

ENOUGH_ROWS, ENOUGH_GROUPS = 200, 10
"""Where there are as many of both, no interval is needed."""
REPEATS = 500
PERCENT = 100.0
MIDDLE_PERCENT = 90.0
AT_ONCE = 4_000_000
"""Rows of all repeats that are held at once."""

Interval = tuple[float, float]
Indices = NDArray[np.int64]


def fixed_uniform(seed: int, count: int) -> Floats:
    """Return numbers in (0, 1) without order that depend on the seed alone: splitmix64 of their place."""
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = z + np.uint64(seed % 2**64) * np.uint64(0xD1342543DE82EF95)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return np.asarray(((z >> np.uint64(11)).astype(float) + 0.5) / 2.0**53)


Part = tuple[Cell, NDArray[np.bool_]]
"""A cell and some of its rows."""


def groups_of(parts: Sequence[Part]) -> Indices:
    """Return the number of the shape of each row of cells of one operator; without shapes, of the row itself."""
    names = parts[0][0].operator.shape
    if not names:
        return np.arange(sum(int(rows.sum()) for _, rows in parts))
    shapes = np.concatenate([np.stack([cell.columns[name][rows] for name in names]) for cell, rows in parts], axis=1)
    return np.unique(shapes, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


def error_interval(parts: Sequence[Part], predicted: Floats, measured: Floats, name: str) -> Interval | None:
    """Return the interval of the median error of rows in percent, with draws that their name decides."""
    size = PERCENT * np.abs(predicted - measured) / measured
    return median_interval(size, groups_of(parts), crc32(name.encode()))


def median_interval(size: Floats, groups: Indices, seed: int) -> Interval | None:
    """Return the 90 % interval of the median of `size`; None where rows suffice, or one group says nothing.

    Parameters
    ----------
    size : (n,) array
        Absolute errors.
    groups : (n,) array
        Number of the group of each.
    seed : int
        Which draws are taken.
    """
    count = int(groups.max()) + 1 if len(groups) else 0
    if count < 2 or not is_scarce(len(size), count):
        return None
    order = np.argsort(size, kind="stable")
    ranked, owner = size[order], groups[order]
    drawn = (fixed_uniform(seed, REPEATS * count) * count).astype(np.int64).reshape(REPEATS, count)
    times = np.zeros((REPEATS, count), dtype=np.int64)
    np.add.at(times, (np.arange(REPEATS)[:, None], drawn), 1)
    step = max(1, AT_ONCE // len(size))
    medians = np.concatenate([_medians(ranked, times[i : i + step][:, owner]) for i in range(0, REPEATS, step)])
    edge = (PERCENT - MIDDLE_PERCENT) / 2
    low, high = np.percentile(medians, [edge, PERCENT - edge])
    return float(low), float(high)


def is_scarce(rows: int, groups: int) -> bool:
    """Return whether an error needs an interval beside it."""
    return rows < ENOUGH_ROWS or groups < ENOUGH_GROUPS


def _medians(ranked: Floats, times: Indices) -> Floats:
    """Return the median of each repeat in which a ranked number stands so many times, (repeats,)."""
    held = np.cumsum(times, axis=1)
    total = held[:, -1]
    low = (held <= ((total - 1) // 2)[:, None]).sum(axis=1)
    high = (held <= (total // 2)[:, None]).sum(axis=1)
    return np.asarray((ranked[low] + ranked[high]) / 2)
