"""Piecewise-linear curves, one a replica: the cost of a feature of an engine step.

A curve is a row of segments (start, base, slope): cost(x) = base + slope · (x − start) for the last start ≤ x.
Starts are whole numbers, bases and slopes whole picoseconds, rounded once, so that sums and jumps are exact.
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

    def seconds(self, x: Floats) -> Floats:
        """Return the cost at `x`, (C, ...) → (C, ...). [s]"""
        lead = (slice(None),) + (None,) * (x.ndim - 1)
        total = self.base_ps[:, 0][lead] + self.slope_ps[:, 0][lead] * (x - self.start[:, 0][lead])
        for k in range(1, self.start.shape[1]):
            start = self.start[:, k][lead]
            here = self.base_ps[:, k][lead] + self.slope_ps[:, k][lead] * (x - start)
            total = np.where(x >= start, here, total)
        return np.asarray(total / PICOSECONDS_PER_S)


def curve(cost: Callable[[Floats], Floats], knots: Floats) -> Curve:
    """Return the curve through `cost` at `knots`.

    Parameters
    ----------
    cost : function from (C, K) feature values to (C, K) seconds; zero at 0
    knots : (C, K) array
        Where the cost bends; rounded up to whole numbers of 1 or more. Beyond the last the cost runs on straight.
    """
    inner = np.sort(np.ceil(np.clip(knots, 1.0, FARTHEST)), axis=1)
    starts = np.concatenate([np.zeros_like(inner[:, :1]), inner], axis=1)
    values = np.concatenate([np.zeros_like(inner[:, :1]), cost(inner)], axis=1)
    beyond = 2 * starts[:, -1:] + 1
    ends = np.concatenate([starts[:, 1:], beyond], axis=1)
    reached = np.concatenate([values[:, 1:], cost(beyond)], axis=1)
    width = np.maximum(ends - starts, 1.0)
    slopes = (reached - values) / width
    slopes[:, 0] = 0.0  # below one token there is no kernel, at one the whole fixed time is due
    return Curve(
        start=starts.astype(np.int64),
        base_ps=np.rint(values * PICOSECONDS_PER_S).astype(np.int64),
        slope_ps=np.rint(slopes * PICOSECONDS_PER_S).astype(np.int64),
    )
