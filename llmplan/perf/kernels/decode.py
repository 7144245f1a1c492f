"""Attention of one new token over a cache: each KV head of each sequence is a unit, cut where units are few.

For b sequences with L tokens in reach, g query heads to a KV head, S multiprocessors::

    units  = b·h_kv·ceil(g/64), each cut into s parts of its blocks of B_k keys
    bytes  = b·h_kv·L·width·kb + queries and outputs
    memory = bytes / (B·e_m)·(miss + (1 − miss)/r_2)                 r_2: bandwidth of L2 over that of memory;
                                                                     a quarter of the multiprocessors draws all of B
    compute= ceil(units·s/S)·ceil(blocks/s)·64·B_k·2·width/(F/S·e_c)                    queries padded to 64 rows
    t      = t_0 + t_pack + min over s of t_unit·units·s/S + (t_split if s > 1) + (memory^p + compute^p)^(1/p)

t_pack is paid where the heads of a group are gathered in memory first: more than one sequence, KV head and group.

Latent attention (MLA) is one KV head of 576 cached numbers with 2·(576 + 512) FLOP a pair, in blocks of 64 keys.
Kernels of the FlashAttention-2 generation neither split full multi-head attention nor pack a group under a window,
take blocks of keys by width (`tiles.SECOND`) and pay t_unit for whole waves; others take 128 and shares of waves.
Limits: no paging overhead, no imbalance of sequences of different lengths.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmplan.perf.kernels.chip import Chip, Parameter, Parameters, Value, missed, soft_max
from llmplan.perf.kernels.tiles import DECODE_KEYS
from llmplan.perf.roofline import Floats

Flags = NDArray[np.bool_] | bool
ROWS = 64.0
SPLITS = (1, 2, 4, 8, 16, 32, 64, 128)
UNIT_DRAW = 4.0
"""Bandwidth that one multiprocessor can draw, over its even share of device memory."""
STEEPNESS = 10.0

PARAMETERS = (
    Parameter(name="fixed_s", start=8e-6, low=2e-7, high=5e-5, means="an empty kernel"),
    Parameter(name="memory_efficiency", start=0.9, low=0.03, high=1.0, means="share of memory bandwidth"),
    Parameter(name="compute_efficiency", start=0.3, low=0.01, high=1.0, means="share of peak on padded tiles"),
    Parameter(name="overlap", start=4.0, low=1.0, high=12.0, means="sharpness of arithmetic over traffic"),
    Parameter(name="unit_s", start=2.4e-6, low=1e-8, high=2e-5, means="a unit of work on a multiprocessor"),
    Parameter(name="split_s", start=1.8e-6, low=1e-8, high=3e-5, means="reduction of a split cache"),
    Parameter(name="pack_s", start=1e-6, low=1e-8, high=3e-5, means="gathering the heads of each group"),
    Parameter(name="l2_share", start=0.7, low=0.02, high=2.0, means="share of L2 that keeps the cache"),
    Parameter(name="l2_bandwidth", start=1.8, low=1.0, high=6.0, means="bandwidth of L2 over that of device memory"),
)

LATENT = tuple(one for one in PARAMETERS if one.name != "pack_s")
"""Of latent attention, whose heads are one group."""


def seconds(
    batch: Value,
    reach: Value,
    heads: Value,
    kv_heads: Value,
    qk_dim: Value,
    v_dim: Value,
    kept_dim: Value,
    kv_bytes: Value,
    chip: Chip,
    p: Parameters,
    splits: Flags = True,
    packs: Flags = True,
    cold: bool = False,
    keys: Value = DECODE_KEYS,
    whole_waves: Flags = False,
) -> Floats:
    """Return the time of attention of one token a sequence.

    Parameters
    ----------
    batch, reach : array or float
        Sequences, and cached tokens that each reads (its own included).
    heads, kv_heads, qk_dim, v_dim : array or float
        Heads on this rank, and widths of a key and a value.
    kept_dim : array or float
        Numbers that one KV head keeps of a token: qk_dim + v_dim, or 576 for latent attention.
    kv_bytes : array or float
        Bytes of a cached number. [B]
    chip : Chip
        Peaks of the device, at 16 bit.
    p : mapping
        `PARAMETERS`, or `LATENT`.
    splits, packs : array or bool
        Whether the kernel cuts a cache between multiprocessors, and reads a KV head once for its group.
    cold : bool
        Nothing is in L2, as in a step of a model.
    keys : array or float
        Keys of a block.
    whole_waves : array or bool
        A wave that is not full costs its units as a full one does.

    Returns
    -------
    array [s]
    """
    batch, reach, heads, kv_heads, qk_dim, v_dim, kept_dim = (
        np.asarray(x, dtype=float) for x in (batch, reach, heads, kv_heads, qk_dim, v_dim, kept_dim)
    )
    repeats = np.where(packs, 1.0, heads / kv_heads)
    group = heads / kv_heads / repeats
    units = batch * kv_heads * repeats * np.ceil(group / ROWS)
    blocks = np.ceil(reach / keys)
    moved = batch * kv_heads * reach * kept_dim * kv_bytes + 2.0 * batch * heads * (qk_dim + v_dim)
    miss = 1.0 if cold else missed(moved, chip, p["l2_share"], STEEPNESS)
    full = p["memory_efficiency"] * chip.bytes_per_s
    near = full * p["l2_bandwidth"]
    memory = moved * (miss / full + (1 - miss) / near + (repeats - 1) / near)
    pair_s = ROWS * keys * 2.0 * (qk_dim + v_dim) / (chip.unit_flop_per_s * p["compute_efficiency"])
    may_split = np.asarray(splits, dtype=bool)
    best = np.asarray(np.inf)
    for split in SPLITS:
        waves = units * split / chip.multiprocessors
        whole = np.ceil(waves)
        compute = whole * np.ceil(blocks / split) * pair_s
        alone = (p["split_s"] if split > 1 else 0.0) + p["unit_s"] * np.where(whole_waves, whole, waves)
        total = alone * chip.latency + soft_max(memory / np.minimum(waves * UNIT_DRAW, 1.0), compute, p["overlap"])
        best = np.minimum(best, total if split == 1 else np.where(may_split & (split <= blocks), total, np.inf))
    gathers = np.asarray(packs, dtype=bool) & (heads > kv_heads) & (kv_heads > 1) & (batch > 1)
    return np.asarray((p["fixed_s"] + np.where(gathers, p.get("pack_s", 0.0), 0.0)) * chip.latency + best)
