"""Bytes of one element in each format, and the compute type that multiplies it.

Quantized formats count their scales: 4-bit integers share one 16-bit scale among 128 values, mxfp4 an 8-bit scale
among 32, nvfp4 an 8-bit scale among 16. Weight-only formats (int8, int4, mxfp4) multiply in bf16. A checkpoint that
names its blocks has a 32-bit scale for each block of fp8 (an 8-bit one in MXFP8, blocks of 32), a 16-bit one for each
group of 4-bit integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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


WIDE_SCALE_BYTES, NARROW_SCALE_BYTES, GROUP_SCALE_BYTES = 4.0, 1.0, 2.0
"""Bytes of the scale of a block of fp8, of a short block (MXFP8), and of a group of integers."""
SHORT_BLOCK = 32
"""Elements of a block whose scale is narrow."""


def bytes_per_weight(dtype: str, scale_block: tuple[int, int] | None) -> float:
    """Return the bytes of one weight, scales included.

    Parameters
    ----------
    dtype : str
        Weight format.
    scale_block : (rows, columns), optional
        Weights that share a scale, where the checkpoint says so.
    """
    if scale_block is None or dtype not in ("fp8", "int8", "int4"):
        return WEIGHT_BYTES[dtype]
    elements = scale_block[0] * scale_block[1]
    if dtype == "fp8":
        return 1.0 + (NARROW_SCALE_BYTES if elements <= SHORT_BLOCK else WIDE_SCALE_BYTES) / elements
    return (0.5 if dtype == "int4" else 1.0) + GROUP_SCALE_BYTES / elements


def computes(flop_per_s: Mapping[str, float], weight_dtype: str) -> bool:
    """Return whether a device with these peaks has the compute type of `weight_dtype`."""
    return COMPUTE_TYPE[weight_dtype] in flop_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How measured rows of a product store its operands."""

    weight_bytes: float
    activation_bytes: float
    compute: str
    """Compute type of `Gpu.flop_per_s`."""
    quantizes: bool = False
    """Activations are quantized inside the measured time."""
    copies: float = 1.0
    """Copies of the weights that the benchmark rotates."""


FORMATS: Mapping[str, Format] = {
    "bfloat16": Format(weight_bytes=2.0, activation_bytes=2.0, compute="bf16", copies=6.0),
    "fp8": Format(weight_bytes=1.0, activation_bytes=1.0, compute="fp8", quantizes=True, copies=6.0),
    "fp8_block": Format(weight_bytes=1.0, activation_bytes=1.0, compute="fp8", quantizes=True),
    "nvfp4": Format(weight_bytes=0.5625, activation_bytes=0.5625, compute="fp4", quantizes=True),
    "int8_sq": Format(weight_bytes=1.0, activation_bytes=1.0, compute="int8"),
    "int8_wo": Format(weight_bytes=1.0, activation_bytes=2.0, compute="bf16"),
    "int4_wo": Format(weight_bytes=0.516, activation_bytes=2.0, compute="bf16"),
    "w4a16_mxfp4": Format(weight_bytes=0.531, activation_bytes=2.0, compute="bf16"),
    "w4a8_mxfp4_mxfp8": Format(weight_bytes=0.531, activation_bytes=1.0, compute="fp8"),
}
"""By the name that measured rows of kernels have."""
CACHE_BYTES: Mapping[str, float] = {"bfloat16": 2.0, "float16": 2.0, "fp8": 1.0}
"""Bytes of a cached number, by the name that rows have."""
