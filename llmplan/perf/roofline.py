"""The roofline with three constants: the form every operator shares until a finer one earns its place.

    t = t_fixed + max(FLOP / (F · e_c), bytes / (B · e_m))          overlap (GEMM, decode attention, experts)
        + t_unit · units / multiprocessors                          work units: decode attention, quantized GEMM
    t = t_fixed + FLOP / (F · e_c) + bytes / (B · e_m)              no overlap (prefill attention)

with F the peak dense rate of the compute type and B the peak bandwidth to device memory. A bare roofline
(t_fixed = 0, e = 1) is 42-93 % off in the median of measured kernels, family by family; the constants bring that to
7-19 %, but for MLA decode on two GPUs (30 and 44 %).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """Fitted constants of one operator family; scalars or arrays that broadcast with its shapes."""

    fixed_s: Floats | float
    compute_efficiency: Floats | float
    memory_efficiency: Floats | float
    unit_s: Floats | float = 0.0


IDEAL = Constants(fixed_s=0.0, compute_efficiency=1.0, memory_efficiency=1.0)
"""The datasheet roofline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an operator does: arithmetic and traffic to device memory, arrays of one shape."""

    flop: Floats | float
    moved_bytes: Floats | float


def overlapped_s(work: Work, flop_per_s: Floats | float, bytes_per_s: Floats | float, fit: Constants) -> Floats:
    """Return seconds of operators whose arithmetic hides their traffic, or is hidden by it.

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
    return fit.fixed_s + np.maximum(compute, memory)


def serial_s(work: Work, flop_per_s: Floats | float, bytes_per_s: Floats | float, fit: Constants) -> Floats:
    """Return seconds of operators whose arithmetic and traffic follow each other; arguments as `overlapped_s`."""
    compute = work.flop / (flop_per_s * fit.compute_efficiency)
    memory = work.moved_bytes / (bytes_per_s * fit.memory_efficiency)
    return np.asarray(fit.fixed_s + compute + memory)
