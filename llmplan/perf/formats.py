"""Bytes of one element in each format, and the compute type that multiplies it.

Quantized formats count their scales: 4-bit integers share one 16-bit scale among 128 values, mxfp4 an 8-bit scale
among 32, nvfp4 an 8-bit scale among 16. Weight-only formats (int8, int4, mxfp4) multiply in bf16.
"""

from __future__ import annotations

from collections.abc import Mapping

WEIGHT_BYTES: dict[str, float] = {
    "bf16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "int4": 0.5 + 2 / 128,
    "mxfp4": 0.5 + 1 / 32,
    "nvfp4": 0.5 + 1 / 16,
}
ACTIVATION_BYTES: dict[str, float] = {
    "bf16": 2.0,
    "fp8": 1.0,
    "int8": 2.0,
    "int4": 2.0,
    "mxfp4": 2.0,
    "nvfp4": 0.5 + 1 / 16,
}
KV_BYTES: dict[str, float] = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5 + 2 / 64}

COMPUTE_TYPE: dict[str, str] = {
    "bf16": "bf16",
    "fp8": "fp8",
    "int8": "bf16",
    "int4": "bf16",
    "mxfp4": "bf16",
    "nvfp4": "fp4",
}
"""The rate of `Gpu.flop_per_s` that a weight format computes at."""


def computes(flop_per_s: Mapping[str, float], weight_dtype: str) -> bool:
    """Return whether a device with these peaks has the compute type of `weight_dtype`."""
    return COMPUTE_TYPE[weight_dtype] in flop_per_s
