"""The roofline: what an operator does, over what a device can do.

    t = max(FLOP / F, bytes / B)            the datasheet's least time: arithmetic hides traffic, or is hidden by it
    t = t_fixed + FLOP / (F · e_c) + bytes / (B · e_m)          no overlap: what no measured kernel times

with F the peak dense rate of the compute type and B the peak bandwidth to device memory. A bare roofline is 46 to 96 %
off in the median of measured kernels, always too fast: fixed times, tiles and libraries are in the forms of `kernels`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """Constants of an operator without a form of its own; scalars or arrays that broadcast with its shapes."""

    fixed_s: Floats | float
    compute_efficiency: Floats | float
    memory_efficiency: Floats | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an operator does: arithmetic, traffic to device memory and over links, arrays of one shape."""

    flop: Floats | float
    moved_bytes: Floats | float
    sent_bytes: Floats | float = 0.0


def serial_s(work: Work, flop_per_s: Floats | float, bytes_per_s: Floats | float, fit: Constants) -> Floats:
    """Return seconds of operators whose arithmetic and traffic follow each other.

    Parameters
    ----------
    work : Work
        FLOP and bytes, any shape.
    flop_per_s, bytes_per_s : array or float
        Datasheet peaks, broadcast with `work`. [FLOP/s], [B/s]
    fit : Constants
        Fixed time [s] and efficiencies, broadcast with `work`.

    References
    ----------
    .. [1] Williams et al., "Roofline", CACM 52(4), 2009.
    """
    compute = work.flop / (flop_per_s * fit.compute_efficiency)
    memory = work.moved_bytes / (bytes_per_s * fit.memory_efficiency)
    return np.asarray(fit.fixed_s + compute + memory)
