"""Work of attention of one layer on one rank: prefill and decode, grouped heads and latent (MLA).

Prefill of `chunk` new tokens after `prefix` cached ones looks at

    pairs = chunk·prefix + chunk·(chunk+1)/2          capped at `window` tokens per position when there is one
    FLOP  = 2·h·pairs·(d_qk + d_v)
    bytes = 2·tokens·h·(d_qk + d_v) + tokens·h_kv·(d_qk + d_v)·kb          Q and O in 16 bit, K and V written

Decode of one token over L cached ones, h_kv KV heads on this rank:

    FLOP  = 2·h·L·(d_qk + d_v)
    bytes = h_kv·L·(d_qk + d_v)·kb + 2·h·(d_qk + d_v)

MLA decodes in absorbed form: every head reads the same latent of 512 + 64 values. Seconds are those of `kernels`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from llmplan.perf.roofline import Floats, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """Attention of one layer as one rank sees it; arrays (C, 1) or floats."""

    query: Floats | float
    """Query heads of this rank."""
    kv: Floats | float
    """KV heads of this rank (MLA decode: 1)."""
    width: float
    """d_qk + d_v of one head."""
    key_width: float
    """d_qk."""
    kv_width: float
    """Values kept for one token and KV head: 2·d for GQA, 576 for MLA."""
    kv_bytes: Floats | float
    """Bytes of one kept value."""


def causal_pairs(chunk: Floats, prefix: Floats, window: float | None = None) -> Floats:
    """Return query-key pairs of `chunk` new tokens after `prefix` cached ones, under a causal mask.

    With a window of W tokens, position i (counted from 0 in the prompt) sees min(i + 1, W) keys.
    """
    last = prefix + chunk
    if window is None or math.isinf(window):
        return np.asarray(_triangle(last) - _triangle(prefix))
    return np.asarray(_windowed(last, window) - _windowed(prefix, window))


def _triangle(tokens: Floats) -> Floats:
    return np.asarray(tokens * (tokens + 1) / 2)


def _windowed(tokens: Floats, window: float) -> Floats:
    inside = np.minimum(tokens, window)
    return np.asarray(_triangle(inside) + (tokens - inside) * window)


def prefill(tokens: Floats | float, pairs: Floats | float, heads: Heads) -> Work:
    """Return the work of prefill attention over `tokens` new tokens and `pairs` query-key pairs."""
    return Work(
        flop=2.0 * heads.query * pairs * heads.width,
        moved_bytes=tokens * (2.0 * heads.query * heads.width + heads.kv * heads.kv_width * heads.kv_bytes),
    )


def decode(sequences: Floats | float, context: Floats | float, heads: Heads) -> Work:
    """Return the work of decode attention: `context` is the sum of cached tokens over `sequences`."""
    return Work(
        flop=2.0 * heads.query * context * heads.width,
        moved_bytes=heads.kv * context * heads.kv_width * heads.kv_bytes + 2.0 * sequences * heads.query * heads.width,
    )
