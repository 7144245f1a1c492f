"""Collectives between the ranks of one link domain: a protocol for short messages, another for long ones.

For V bytes over n ranks, β the bandwidth of one rank's links in one direction, φ the share of V that a rank sends::

    short = a_s + a_1·(n − 2) + φ·V/(β·e_s)·(n/2)^(c − 1)       latency first (LL, one-shot)
    long  = a_l + a_1·(n − 2) + φ·V/(β·e_l)·(n/2)^(c − 1)       bandwidth first (ring, NVLS)
    t     = (short^−q + long^−q)^(−1/q)                         the library takes the faster
    φ     = 2·(n − 1)/n for all-reduce, (n − 1)/n for all-gather, reduce-scatter and all-to-all

c > 1: ranks contend for a shared path (PCIe). Nothing carries over between kinds of links.
"""

from __future__ import annotations

import numpy as np

from llmplan.perf.kernels.chip import Chip, Parameter, Parameters, Value
from llmplan.perf.roofline import Floats

SHARPNESS = 4.0

PARAMETERS = (
    Parameter(name="short_s", start=8e-6, low=1e-6, high=1e-4, means="an empty message, latency first"),
    Parameter(name="rank_s", start=1.5e-6, low=1e-9, high=1e-4, means="each rank beyond two"),
    Parameter(name="short_efficiency", start=0.2, low=0.005, high=1.0, means="share of the links, latency first"),
    Parameter(name="long_s", start=3e-5, low=1e-6, high=1e-3, means="an empty message, bandwidth first"),
    Parameter(name="long_efficiency", start=0.7, low=0.02, high=1.0, means="share of the links, bandwidth first"),
    Parameter(name="contention", start=1.0, low=0.5, high=4.0, means="growth of the time with the ranks"),
)


def sent(reduces: Value, ranks: Value) -> Floats:
    """Return the share of a message that a rank sends; twice of it where an all-reduce gathers what it reduced."""
    ranks = np.asarray(ranks, dtype=float)
    return np.asarray(np.where(reduces, 2.0, 1.0) * (ranks - 1) / ranks)


def seconds(
    size_bytes: Value, ranks: Value, reduces: Value, link_bytes_per_s: Value, chip: Chip, p: Parameters
) -> Floats:
    """Return the time of a collective.

    Parameters
    ----------
    size_bytes, ranks : array or float
        Bytes of the message as nccl-tests count them, and ranks.
    reduces : array or bool
        Whether it is an all-reduce.
    link_bytes_per_s : array or float
        Bandwidth of one rank's links, one direction. [B/s]
    chip : Chip
        Its clock scales fixed times.
    p : mapping
        `PARAMETERS`.

    Returns
    -------
    array [s]
    """
    ranks = np.asarray(ranks, dtype=float)
    moved = sent(reduces, ranks) * size_bytes / link_bytes_per_s * (ranks / 2) ** (p["contention"] - 1)
    more = p["rank_s"] * (ranks - 2)
    short = (p["short_s"] + more) * chip.latency + moved / p["short_efficiency"]
    long = (p["long_s"] + more) * chip.latency + moved / p["long_efficiency"]
    low, high = np.minimum(short, long), np.maximum(short, long)
    return np.asarray(low * (1 + (low / high) ** SHARPNESS) ** (-1 / SHARPNESS))
