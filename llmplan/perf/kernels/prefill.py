"""Causal attention of new tokens, the write of their keys and values included: tiles of queries on multiprocessors.

For b sequences of S new tokens after p cached ones, h heads of d_q and d_v, h_kv of them with keys of their own::

    rows  = S or S·h/h_kv (the heads of a group packed into a tile)       tiles = b·heads·ceil(rows/B_q)
    reach = the keys a tile meets, in blocks of B_k: on average, and of the longest tile
    block = 2·B_q·B_k·(d_q + d_v) / (F/S_m·e_c) + B_q·B_k/(x·f)           S_m multiprocessors; exponentials
    work  = tiles/S_m·(mean reach·block + t_tile);   at least one longest tile
    move  = (queries + outputs + cached keys and values) / (B·e_m)
    write = t_token·b·S + new keys and values, read and written / (B·e_w)                 a block of threads a token
    t     = t_0 + (work^p + move^p)^(1/p) + write

B_q, B_k and packing are the kernel's (`tiles.attention_of`); of an unknown one the fastest.
Source: tiles as FlashAttention-2 and 3 cut them (arXiv 2307.08691, 2407.08608).
Limits: full tiles below the diagonal only; a cached prefix is nowhere measured but in MLA rows.
"""

from __future__ import annotations

import numpy as np

from llmplan.perf.kernels.chip import Chip, Parameter, Parameters, Value, soft_max
from llmplan.perf.kernels.tiles import FREE, Attention
from llmplan.perf.roofline import Floats

PARAMETERS = (
    Parameter(name="fixed_s", start=7e-6, low=2e-7, high=5e-5, means="empty kernels of attention and of the write"),
    Parameter(name="compute_efficiency", start=0.75, low=0.03, high=1.0, means="share of peak in a full tile"),
    Parameter(name="memory_efficiency", start=0.8, low=0.05, high=1.0, means="share of bandwidth, queries, outputs"),
    Parameter(name="overlap", start=1.5, low=1.0, high=10.0, means="sharpness of arithmetic over traffic"),
    Parameter(name="tile_s", start=2e-6, low=1e-8, high=5e-5, means="latency of a tile of queries"),
    Parameter(name="write_token_s", start=5e-10, low=1e-12, high=1e-7, means="writing keys and values of one token"),
    Parameter(name="write_efficiency", start=0.4, low=0.01, high=1.0, means="share of bandwidth writing KV"),
    Parameter(
        name="softmax_per_clock", start=16.0, low=0.5, high=200.0, means="exponentials a clock and multiprocessor"
    ),
    Parameter(name="tail", start=0.5, low=0.001, high=3.0, means="share of the longest tile that ends alone"),
)


def seconds(
    batch: Value,
    tokens: Value,
    cached: Value,
    heads: Value,
    kv_heads: Value,
    qk_dim: Value,
    v_dim: Value,
    window: Value,
    kv_bytes: Value,
    chip: Chip,
    p: Parameters,
    cut: Attention = FREE,
) -> Floats:
    """Return the time of causal attention.

    Parameters
    ----------
    batch, tokens, cached : array or float
        Sequences, new tokens of each, tokens of each already in the cache.
    heads, kv_heads, qk_dim, v_dim : array or float
        Heads on this rank, and the widths of a query (or key) and a value.
    window : array or float
        Tokens that a position sees at most; 0: all.
    kv_bytes : array or float
        Bytes of a cached number. [B]
    chip : Chip
        Peaks of the device, at 16 bit.
    p : mapping
        `PARAMETERS`.
    cut : Attention
        How the kernel cuts queries and keys.

    Returns
    -------
    array [s]
    """
    batch, tokens, cached, heads, kv_heads, qk_dim, v_dim, window = (
        np.asarray(x, dtype=float) for x in (batch, tokens, cached, heads, kv_heads, qk_dim, v_dim, window)
    )
    width = qk_dim + v_dim
    group = heads / kv_heads
    context = cached + tokens
    windowed = (window > 0) & (window < context)
    keys = cut.key_rows(qk_dim)
    longest = np.ceil(context / keys)
    rate = chip.unit_flop_per_s * p["compute_efficiency"]
    block_s = keys * (2.0 * width / rate + 1 / (p["softmax_per_clock"] * chip.clock_hz))
    fixed = p["tile_s"] * chip.latency
    best = np.asarray(np.inf)
    for tile, shared_by in cut.each(tokens, group, window, qk_dim):
        span = tile / shared_by
        tiles = batch * (heads / shared_by) * np.ceil(tokens * shared_by / tile)
        full = (cached + 0.5 * tokens + 0.5 * np.minimum(span, tokens)) / keys + 0.5
        inside = (window + np.minimum(span, tokens)) / keys + 0.5
        mean = np.clip(np.where(windowed, inside, full), 1.0, longest)
        most = np.where(windowed, np.minimum(longest, np.ceil((window + span) / keys) + 1), longest)
        waves = tiles / chip.multiprocessors
        shared = waves * (mean * block_s * tile + fixed)
        alone = most * block_s * tile + fixed
        ending = shared + p["tail"] * alone * (1 - 1 / np.maximum(waves, 1.0))
        best = np.minimum(best, np.maximum(ending, alone))
    moved = 2.0 * batch * tokens * heads * width + batch * np.where(windowed, np.minimum(cached, window), cached) * (
        kv_heads * width * kv_bytes
    )
    reached = soft_max(best, moved / (chip.bytes_per_s * p["memory_efficiency"]), p["overlap"])
    written = batch * tokens * kv_heads * width * (2.0 + kv_bytes) / (chip.bytes_per_s * p["write_efficiency"])
    written = written + p["write_token_s"] * chip.latency * batch * tokens
    return np.asarray(p["fixed_s"] * chip.latency + reached + written)
