"""Matrix products Y[m,n] = X[m,k] · W[n,k]ᵀ in tiles: the tile of the library's table, or the fastest it has.

For a tile of t_m x t_n and a split of k in s parts, on S multiprocessors::

    blocks  = ceil(m/t_m)·ceil(n/t_n)·s   waves = ceil(blocks / S)   fill = blocks / (S·waves)   k_s = ceil(k/s/64)·64
    one     = 2·t_m·t_n·k_s / (F/S)·(1 + (1/e_c − 1 + hot)·fill)         a lone tile reaches the peak, a full chip e_c
    hot     = h·T/(T + 1 ms), T = 2·m·n·k/F                              and less where it is busy for long
    compute = waves·max(one, (t_m·a + t_n·w)·k_s / (feed·f)) + 2·t_m·t_n·blocks / (σ·B)
    memory  = (bytes·(miss + (1 − miss)/3) + over·(again − read)) / (B·e_m)
    again   = m·n·k·(a/t_n + w/t_m) / (r·√S)     operands are read again for every patch of r·√S x r·√S tiles, where the
                                                 smaller of them (over: its miss) does not stay in L2
    split   = t_split + 8·s·m·n / (3·B) for s > 1
    t       = t_0 + min over (tile, s) of (compute^p + memory^p)^(1/p) + split
    quantize = t_q + ((t_row·m)^4 + (3·q·m·k/B)^4)^(1/4)          formats whose activations are quantized on the fly

σ is what the outputs of a wave are stored with, over B: they leave together when the arithmetic ends, into L2 first.
miss is the share of traffic that L2 does not serve. Fixed times scale with 1/clock. Formats that quantize do not split.
Limits: rows whose kernel a library chooses badly (16-bit on L40S: 0.48 or 0.72 of peak for neighboring shapes; fp8 on
Hopper with more than 2 GB of weights).
"""

from __future__ import annotations

import numpy as np

from llmplan.perf.kernels.chip import L2_BANDWIDTH, Chip, Parameter, Parameters, Value, missed, soft_max
from llmplan.perf.kernels.tiles import Cut, usual
from llmplan.perf.roofline import Floats

SPLITS = (1, 2, 4, 8)
STEEPNESS = 10.0
STORED_BYTES = 2.0
"""Of one output."""
QUANTIZE_OVERLAP = 4.0
REUSE_STEEPNESS = 4.0
LONG_S = 1e-3
"""Arithmetic of this length is half as slowed as an endless one."""

SPLIT = Parameter(name="split_s", start=1.8e-6, low=1e-7, high=2e-5, means="reduction of a split product")
WHOLE = (
    Parameter(name="fixed_s", start=2.3e-6, low=2e-7, high=3e-5, means="an empty kernel"),
    Parameter(name="compute_efficiency", start=0.8, low=0.05, high=1.0, means="share of peak on a full chip"),
    Parameter(name="memory_efficiency", start=0.8, low=0.1, high=1.0, means="share of memory bandwidth"),
    Parameter(name="overlap", start=3.0, low=1.0, high=12.0, means="sharpness of arithmetic over traffic"),
    Parameter(name="feed_bytes", start=64.0, low=8.0, high=400.0, means="bytes a clock that a multiprocessor takes in"),
    Parameter(
        name="store_bandwidth", start=1.5, low=0.05, high=200.0, means="bandwidth of outputs over that of memory"
    ),
    Parameter(name="patch", start=0.5, low=0.05, high=20.0, means="tiles a side that share operands, over √S"),
    Parameter(name="hot", start=0.1, low=1e-3, high=1.0, means="slowing of arithmetic that goes on for long"),
    Parameter(name="l2_share", start=0.7, low=0.02, high=2.0, means="share of L2 that keeps operands"),
)
PARAMETERS = (*WHOLE, SPLIT)
QUANTIZING = (
    *WHOLE,
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
    cut: Cut | None = None,
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
        `PARAMETERS`, or `QUANTIZING` where activations are quantized on the fly.
    copies : array or float
        Copies of the weights that a benchmark rotates.
    cold : bool
        Nothing is in L2, as in a step of a model.
    cut : Cut, optional
        The library's tiles (`tiles.CUTS`); the usual ones of the device where it is unknown.

    Returns
    -------
    array [s]
    """
    m, n, k = (np.asarray(x, dtype=float) for x in (m, n, k))
    weights = weight_bytes * n * k
    moved = weights + activation_bytes * m * k + STORED_BYTES * m * n
    footprint = moved + (copies - 1.0) * weights
    miss = 1.0 if cold else missed(footprint, chip, p["l2_share"], STEEPNESS)
    bandwidth = p["memory_efficiency"] * chip.bytes_per_s
    once = moved * (miss + (1 - miss) / L2_BANDWIDTH)
    read = weights + activation_bytes * m * k
    over = missed(np.minimum(weights, activation_bytes * m * k), chip, 1.0, REUSE_STEEPNESS)
    cut = cut or usual(chip.matrix_rows)
    units = chip.multiprocessors / cut.joined
    patch = p["patch"] * np.sqrt(units)
    ideal_s = 2.0 * m * n * k / chip.flop_per_s
    slowing = 1 / p["compute_efficiency"] - 1 + p["hot"] * ideal_s / (ideal_s + LONG_S)
    best = np.asarray(np.inf)
    for tm, tn in cut.each(m, n):
        tiles = np.ceil(m / tm) * np.ceil(n / tn)
        flop = 2.0 * units / chip.flop_per_s * tm * tn
        fed = (tm * activation_bytes + tn * weight_bytes) / (p["feed_bytes"] * cut.joined * chip.clock_hz)
        again = m * n * k * (activation_bytes / tn + weight_bytes / tm) / patch
        memory = (once + over * np.maximum(again - read, 0.0)) / bandwidth
        stored = STORED_BYTES * tm * tn / (p["store_bandwidth"] * chip.bytes_per_s)
        for split in SPLITS if "split_s" in p else (1,):
            inner = np.ceil(k / split / 64) * 64
            blocks = tiles * split
            waves = np.ceil(blocks / units)
            compute = inner * np.maximum(flop * (waves + slowing * blocks / units), fed * waves) + stored * blocks
            total = soft_max(compute, memory, p["overlap"])
            if split > 1:
                total = total + p["split_s"] * chip.latency + 8.0 * split * m * n / (L2_BANDWIDTH * chip.bytes_per_s)
            best = np.minimum(best, total)
    return np.asarray(best + p["fixed_s"] * chip.latency + _quantize_s(m, k, chip, p))


def _quantize_s(m: Floats, k: Floats, chip: Chip, p: Parameters) -> Value:
    """Return the time of the kernel that quantizes activations, one block a row."""
    if "quantize_s" not in p:
        return 0.0
    traffic = 3.0 * p["quantize_passes"] * m * k / chip.bytes_per_s
    return p["quantize_s"] * chip.latency + soft_max(p["quantize_row_s"] * m * chip.latency, traffic, QUANTIZE_OVERLAP)
