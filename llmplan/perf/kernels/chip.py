"""What a kernel form knows of a device, and what every form shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from llmplan.perf.roofline import Floats

Value = Floats | float
Parameters = Mapping[str, Value]
"""Fitted numbers of one form, by name; scalars or arrays that broadcast with the shapes."""

REFERENCE_CLOCK_HZ = 1.83e9
"""Clock at which fixed times are stated: they scale with 1/clock."""
L2_BANDWIDTH = 3.0
"""Bandwidth of L2 over that of device memory (H100: 5.5 to 10 TB/s measured by others against 3.35)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A device as kernels see it; scalars or arrays that broadcast with the shapes."""

    flop_per_s: Value
    """Peak of the compute type of the operator."""
    bytes_per_s: Value
    """Peak of device memory."""
    multiprocessors: Value
    l2_bytes: Value
    clock_hz: Value
    matrix_rows: int = 16
    """Rows that one instruction of the matrix unit takes: 64 from Hopper on."""

    @property
    def latency(self) -> Value:
        """Fixed times on this device over those at the reference clock."""
        return REFERENCE_CLOCK_HZ / self.clock_hz

    @property
    def unit_flop_per_s(self) -> Value:
        """Peak of one multiprocessor."""
        return self.flop_per_s / self.multiprocessors


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One number of a form: where a fit starts and how far it may go."""

    name: str
    start: float
    low: float
    high: float
    means: str


def soft_max(a: Value, b: Value, sharpness: Value) -> Floats:
    """Return (a^p + b^p)^(1/p): the larger of two overlapping times, and more where they are alike."""
    high, low = np.maximum(a, b), np.minimum(a, b)
    safe = np.maximum(high, 1e-300)
    return np.asarray(safe * (1 + (low / safe) ** sharpness) ** (1 / sharpness))


def missed(footprint_bytes: Value, chip: Chip, l2_share: Value, steepness: float) -> Floats:
    """Return the share of traffic that L2 does not serve: 0 for a footprint far below it, 1 far above."""
    return np.asarray(1 / (1 + (l2_share * chip.l2_bytes / np.maximum(footprint_bytes, 1.0)) ** steepness))
