"""Norms, residual sums, rotary embedding and activations: read, touch, write.

    t = n · t_fixed + bytes / (B · e)

`n` kernels a layer (two norms with their residual sums, rotary embedding with the KV write, activation); engines
that fuse more of them are faster. Fixed times scale with the clock: they were seen at 1.83 GHz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmplan.perf.roofline import Floats, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementwiseConstants:
    """What the elementwise kernels of a layer cost; source: measured fp16 kernels on A100 (vidur 7d47513)."""

    kernels_gqa: float = 4.0
    kernels_mla: float = 6.0
    fixed_s: float = 2.2e-6
    clock_hz: float = 1.83e9
    """Clock at which `fixed_s` was seen."""
    memory_efficiency: float = 0.5
    passes: float = 11.0
    """16-bit copies of tokens x hidden moved a layer: two norms with residual (4 each), activation (3)."""


ELEMENTWISE = ElementwiseConstants()


def fixed_s(clock_hz: Floats) -> Floats:
    """Return the time of an empty elementwise kernel on devices of these clocks. [s]"""
    return np.asarray(ELEMENTWISE.fixed_s * ELEMENTWISE.clock_hz / clock_hz)


def elementwise(tokens: Floats | float, width: Floats | float, passes: float) -> Work:
    """Return the work of kernels that move `passes` 16-bit copies of `tokens` x `width` values."""
    return Work(flop=0.0 * tokens, moved_bytes=2.0 * passes * tokens * width)
