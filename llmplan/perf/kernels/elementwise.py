"""Operators that read and write each number once: norms, additions, activations, rotary embeddings.

::

    t = t_0 + bytes / (B·e)        bytes read and written

Limits: no fusion with the product before or after; L2 is not looked at.
"""

from __future__ import annotations

import numpy as np

from llmplan.perf.kernels.chip import Chip, Parameter, Parameters, Value
from llmplan.perf.roofline import Floats

PARAMETERS = (
    Parameter(name="fixed_s", start=2e-6, low=1e-7, high=1e-4, means="an empty kernel"),
    Parameter(name="memory_efficiency", start=0.5, low=0.01, high=1.0, means="share of the bandwidth of device memory"),
)


def seconds(moved_bytes: Value, chip: Chip, p: Parameters) -> Floats:
    """Return the time of an operator that reads and writes `moved_bytes`. [s]"""
    return np.asarray(
        p["fixed_s"] * chip.latency + moved_bytes / (chip.bytes_per_s * p["memory_efficiency"]), dtype=float
    )
