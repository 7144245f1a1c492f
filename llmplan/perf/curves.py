"""Piecewise-linear curves, one a replica: the cost of a feature of an engine step.

A curve is a row of segments (start, base, slope): cost(x) = base + slope · (x − start) for the last start ≤ x.
Starts are whole numbers, bases and slopes whole picoseconds, rounded once. Evaluated is the same curve as a jump at 1
and a sum of hinges, with the slopes between the whole bases; both agree to nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmplan.perf.roofline import Floats
from llmplan.units import PICOSECONDS_PER_S

Integers = NDArray[np.int64]

FARTHEST = 2.0**20
"""Bends beyond so many tokens do not matter: no step holds them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Costs of C replicas over one feature, K segments each."""

    start: Integers  # (C, K)
    base_ps: Integers  # (C, K)
    slope_ps: Integers  # (C, K)
    jump_s: Floats  # (C,)
    """Cost at 1: below it nothing runs."""
    bends: tuple[tuple[Floats, Floats], ...]
    """The same curve as a sum of hinges, for speed: (start, change of slope [s]) of each bend that any row has."""

    def seconds(self, x: Floats) -> Floats:
        """Return the cost at `x`, (C, ...) → (C, ...). [s]"""
        lead = (slice(None),) + (None,) * (x.ndim - 1)
        total = np.where(x >= 1.0, self.jump_s[lead], 0.0)
        for start, rise in self.bends:
            beyond = np.subtract(x, start[lead])
            np.maximum(beyond, 0.0, out=beyond)
            np.multiply(beyond, rise[lead], out=beyond)
            np.add(total, beyond, out=total)
        return total


def _hinges(start: Integers, base_ps: Integers, slope_ps: Integers) -> tuple[tuple[Floats, Floats], ...]:
    """Return where the slope between whole-picosecond bases changes, and by how much, for each segment after 0."""
    width = np.maximum(np.diff(start, axis=1), 1)
    slopes = np.diff(base_ps, axis=1) / width
    slopes[:, 0] = 0.0
    slopes = np.concatenate([slopes, slope_ps[:, -1:]], axis=1)
    slopes[:, :-1] = np.where(np.diff(start, axis=1) > 0, slopes[:, :-1], 0.0)
    for k in range(1, slopes.shape[1] - 1):  # a knot that comes twice bends once
        again = start[:, k] == start[:, k + 1]
        slopes[again, k] = slopes[again, k - 1]
    rises = np.diff(slopes, axis=1) / PICOSECONDS_PER_S
    return tuple(
        (start[:, k + 1].astype(np.float64), rises[:, k]) for k in range(rises.shape[1]) if np.any(rises[:, k] != 0.0)
    )


def curve(cost: Callable[[Floats], Floats], knots: Floats) -> Curve:
    """Return the curve through `cost` at `knots`.

    Parameters
    ----------
    cost : function from (C, K) feature values to (C, K) seconds; zero at 0
    knots : (C, K) array
        Where the cost bends; rounded up to whole numbers of 1 or more. Beyond the last the cost runs on straight.
    """
    first = np.ones((len(knots), 1))
    inner = np.sort(np.ceil(np.clip(np.concatenate([first, knots], axis=1), 1.0, FARTHEST)), axis=1)
    starts = np.concatenate([np.zeros_like(inner[:, :1]), inner], axis=1)
    values = np.concatenate([np.zeros_like(inner[:, :1]), cost(inner)], axis=1)
    beyond = 2 * starts[:, -1:] + 1
    ends = np.concatenate([starts[:, 1:], beyond], axis=1)
    reached = np.concatenate([values[:, 1:], cost(beyond)], axis=1)
    width = np.maximum(ends - starts, 1.0)
    slopes = (reached - values) / width
    slopes[:, 0] = 0.0  # below one token there is no kernel, at one the whole fixed time is due
    start = starts.astype(np.int64)
    base_ps = np.rint(values * PICOSECONDS_PER_S).astype(np.int64)
    slope_ps = np.rint(slopes * PICOSECONDS_PER_S).astype(np.int64)
    return Curve(
        start=start,
        base_ps=base_ps,
        slope_ps=slope_ps,
        jump_s=base_ps[:, 1] / PICOSECONDS_PER_S,
        bends=_hinges(start, base_ps, slope_ps),
    )
