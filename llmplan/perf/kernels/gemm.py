"""Matrix products Y[m,n] = X[m,k] · W[n,k]ᵀ in tiles: the library takes the fastest tile and split.

For a tile of t_m x t_n and a split of k in s parts::

    blocks  = ceil(m/t_m)·ceil(n/t_n)·s         waves = ceil(blocks / S)         k_s = ceil(k/s/64)·64
    compute = waves·(soft max of 2·t_m·t_n·k_s / (F/S·e_c) and (t_m·a + t_n·w)·k_s / (feed·f), + t_wave)
    memory  = bytes / (B·e_m) · (miss + (1 − miss)/3)
    split   = t_split + 8·s·m·n / (3·B) for s > 1
    t       = t_0 + min over (tile, s) of (compute^p + memory^p)^(1/p) + split
    quantize = t_q + t_row·m + 3·q·m·k/B                          formats whose activations are quantized on the fly

miss is the share of traffic that L2 does not serve. Fixed times scale with 1/clock.
Limits: no power throttling (H100 above 1 ms: 5 % too fast), no library heuristics that miss the best tile.
"""

from __future__ import annotations

import numpy as np

from llmplan.perf.kernels.chip import L2_BANDWIDTH, Chip, Parameter, Parameters, Value, missed, soft_max
from llmplan.perf.roofline import Floats

TILES = ((16, 64), (32, 64), (64, 64), (64, 128), (128, 64), (128, 128), (64, 256), (128, 256), (256, 128))
SPLITS = (1, 2, 4, 8)
STEEPNESS = 4.0

PARAMETERS = (
    Parameter(name="fixed_s", start=2.3e-6, low=2e-7, high=3e-5, means="an empty kernel"),
    Parameter(name="compute_efficiency", start=0.85, low=0.05, high=1.0, means="share of peak in a full wave"),
    Parameter(name="memory_efficiency", start=0.8, low=0.1, high=1.0, means="share of memory bandwidth"),
    Parameter(name="overlap", start=2.8, low=1.0, high=12.0, means="sharpness of arithmetic over traffic"),
    Parameter(name="wave_s", start=8e-7, low=1e-8, high=1e-5, means="latency of a wave of tiles"),
    Parameter(name="split_s", start=1.8e-6, low=1e-7, high=2e-5, means="reduction of a split product"),
    Parameter(
        name="feed_bytes", start=64.0, low=16.0, high=400.0, means="bytes a clock that a multiprocessor takes in"
    ),
    Parameter(name="l2_share", start=0.2, low=0.02, high=2.0, means="share of L2 that keeps operands"),
)
QUANTIZING = (
    Parameter(name="quantize_s", start=1.5e-6, low=1e-8, high=3e-5, means="an empty quantize kernel"),
    Parameter(name="quantize_row_s", start=5e-9, low=1e-11, high=5e-8, means="one row of activations"),
    Parameter(name="quantize_passes", start=1.0, low=0.01, high=10.0, means="traffic over the least"),
)


def seconds(
    m: Value,
    n: Value,
    k: Value,
    weight_bytes: Value,
    activation_bytes: Value,
    chip: Chip,
    p: Parameters,
    copies: Value = 1.0,
    cold: bool = False,
) -> Floats:
    """Return the time of matrix products.

    Parameters
    ----------
    m, n, k : array or float
        Rows (tokens), columns, inner width.
    weight_bytes, activation_bytes : array or float
        Bytes of one element, scales included. [B]
    chip : Chip
        Peaks of the device, at the compute type of the format.
    p : mapping
        `PARAMETERS`, and `QUANTIZING` where activations are quantized on the fly.
    copies : array or float
        Copies of the weights that a benchmark rotates.
    cold : bool
        Nothing is in L2, as in a step of a model.

    Returns
    -------
    array [s]
    """
    m, n, k = (np.asarray(x, dtype=float) for x in (m, n, k))
    weights = weight_bytes * n * k
    moved = weights + activation_bytes * m * k + 2.0 * m * n
    footprint = copies * weights + activation_bytes * m * k + 2.0 * m * n
    miss = 1.0 if cold else missed(footprint, chip, p["l2_share"], STEEPNESS)
    full = p["memory_efficiency"] * chip.bytes_per_s
    memory = moved * (miss + (1 - miss) / L2_BANDWIDTH) / full
    best = np.asarray(np.inf)
    for tm, tn in TILES:
        tiles = np.ceil(m / tm) * np.ceil(n / tn)
        for split in SPLITS:
            inner = np.ceil(k / split / 64) * 64
            blocks = tiles * split
            waves = np.ceil(blocks / chip.multiprocessors)
            one = 2.0 * tm * tn * inner / (chip.unit_flop_per_s * p["compute_efficiency"])
            fed = (tm * activation_bytes + tn * weight_bytes) * inner / (p["feed_bytes"] * chip.clock_hz)
            compute = waves * (soft_max(one, fed, 4.0) + p["wave_s"] * chip.latency)
            total = soft_max(compute, memory, p["overlap"])
            if split > 1:
                total = total + p["split_s"] * chip.latency + 8.0 * split * m * n / (L2_BANDWIDTH * chip.bytes_per_s)
            best = np.minimum(best, total)
    quantize: Value = 0.0
    if "quantize_s" in p:
        fixed = (p["quantize_s"] + p["quantize_row_s"] * m) * chip.latency
        quantize = fixed + 3.0 * p["quantize_passes"] * m * k / chip.bytes_per_s
    return np.asarray(best + p["fixed_s"] * chip.latency + quantize)
