"""Piecewise-linear curves, one a replica: the cost of a feature of an engine step.

A curve is a row of segments (start, base, slope): cost(x) = base + slope · (x − start) for the last start ≤ x.
Starts are whole numbers, the same for all replicas; bases and slopes are whole picoseconds, rounded once. Evaluated is
the line through the whole bases; both agree to nanoseconds. Knots stand at 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, … (`GRID`),
or only at 1 where a cost is a straight line: a form is sampled there, never below what it cost at fewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmplan.perf.roofline import Floats
from llmplan.units import PICOSECONDS_PER_S

Integers = NDArray[np.int64]

OCTAVES = 18
GRID = np.array([1.0, 2.0, 3.0, *(m * 2.0**e for e in range(2, OCTAVES) for m in (1.0, 1.25, 1.5, 1.75)), 2.0**OCTAVES])
"""Knots: every quarter octave, up to more tokens than a step holds."""
ONE = np.ones(1)
"""The knot of a straight line."""
QUARTER_OCTAVES = 50
"""Bits of a 64-bit float below its exponent and the first two of its fraction: what is left counts quarter octaves."""
AT_ONE = int(np.float64(1.0).view(np.int64)) >> QUARTER_OCTAVES
SEGMENT = np.searchsorted(GRID, [2.0 ** (q // 4) * (1 + q % 4 / 4) for q in range(4 * OCTAVES + 1)], side="right") - 1
"""The last knot at or below each quarter octave: below 4 they are no whole tokens."""
STEP_TOKENS = 8192.0
"""Steps of up to so many tokens are smoothed: more than engines put into one unless told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Costs of C replicas over one feature, K segments each; the first holds no cost and ends at 1."""

    start: Integers  # (K,)
    base_ps: Integers  # (C, K)
    slope_ps: Integers  # (C, K)
    offset_s: Floats  # (C, K − 1)
    rise_s: Floats  # (C, K − 1)
    """cost = offset + rise · x from each knot on."""

    def seconds(self, x: Floats) -> Floats:
        """Return the cost at `x`, (C, ...) → (C, ...). [s]"""
        lead = (slice(None),) + (None,) * (x.ndim - 1)
        if self.offset_s.shape[1] == 1:
            line = self.offset_s[:, 0][lead] + self.rise_s[:, 0][lead] * x
            return np.where(x >= 1.0, line, 0.0)
        count = self.offset_s.shape[1]
        quarter = (np.ascontiguousarray(x, dtype=np.float64).view(np.int64) >> QUARTER_OCTAVES) - AT_ONE
        np.clip(quarter, 0, len(SEGMENT) - 1, out=quarter)
        place = np.take(SEGMENT, quarter) + (np.arange(len(self.offset_s)) * count)[lead]
        line = np.take(self.rise_s, place) * x
        line += np.take(self.offset_s, place)
        return np.where(x >= 1.0, line, 0.0)


def places(knots: Floats) -> Floats:
    """Return where a cost is asked for a curve with these knots: a straight line needs a second place."""
    return knots if len(knots) > 1 else np.array([1.0, 3.0])


def through(values: Floats, knots: Floats) -> Curve:
    """Return the curves through (C, K) values at `GRID`, or the lines through (C, 2) values at `places(ONE)`. [s]"""
    asked = places(knots)
    base_ps = np.rint(np.maximum.accumulate(values, axis=1) * PICOSECONDS_PER_S)
    slope_ps = np.diff(base_ps, axis=1) / np.diff(asked)
    if len(knots) > 1:
        slope_ps = np.concatenate([slope_ps, slope_ps[:, -1:]], axis=1)
    else:
        base_ps = base_ps[:, :1]
    zero = np.zeros((len(values), 1))
    return Curve(
        start=np.concatenate([[0.0], knots]).astype(np.int64),
        base_ps=np.concatenate([zero, base_ps], axis=1).astype(np.int64),
        slope_ps=np.concatenate([zero, np.rint(slope_ps)], axis=1).astype(np.int64),
        offset_s=(base_ps - slope_ps * knots) / PICOSECONDS_PER_S,
        rise_s=slope_ps / PICOSECONDS_PER_S,
    )


def smoothed(values: Floats, knots: Floats = GRID) -> Floats:
    """Return (C, K) rising values whose share of each token never rises in a batch: midway between lines around them.

    Where tiles and waves fill, one token more may cost more than its share of a batch; in the mean over batches it does
    not, and a rate that falls at some batch has two batches for one load. Beyond `STEP_TOKENS` values are as they are.
    """
    rising = np.maximum.accumulate(values, axis=1)
    within = int(np.searchsorted(knots, STEP_TOKENS, side="right"))
    each = rising[:, :within] / knots[:within]
    below = np.minimum.accumulate(each, axis=1)
    above = np.maximum.accumulate(each[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([(below + above) / 2 * knots[:within], rising[:, within:]], axis=1)
