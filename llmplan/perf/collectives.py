"""Collectives of n ranks over one link of β bytes/s per device and direction.

    t = t_fixed + t_rank·(n − 2) + φ·V / (β · e)
    φ = 2(n − 1)/n all-reduce,   (n − 1)/n all-gather, reduce-scatter, all-to-all

An engine takes the faster of the library's ring and its own one-shot all-reduce. One rank costs nothing.
Limits: one link for all ranks; nothing carries over between link types.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmplan.perf.roofline import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConstants:
    """Fitted constants of one collective; scalars or arrays that broadcast with its shapes."""

    fixed_s: Floats | float
    rank_s: Floats | float
    link_efficiency: Floats | float


def ring_share(ranks: Floats, operation: str) -> Floats:
    """Return φ: how often a rank's link carries the buffer."""
    once = (ranks - 1) / ranks
    return np.asarray(2 * once if operation.startswith("all_reduce") else once)


def collective_s(
    buffer_bytes: Floats, ranks: Floats, link_bytes_per_s: Floats, fit: LinkConstants, operation: str
) -> Floats:
    """Return seconds of one collective.

    Parameters
    ----------
    buffer_bytes : array
        All-reduce: the buffer; all-gather: the gathered output; all-to-all: the buffer of one rank. [B]
    ranks : array
        Ranks that take part; 1 costs nothing.
    link_bytes_per_s : array
        Bandwidth of one device, one direction. [B/s]
    operation : str
        `all_reduce`, `all_reduce_one_shot`, `all_gather`, `reduce_scatter` or `all_to_all`.
    """
    wire = ring_share(ranks, operation) * buffer_bytes / (link_bytes_per_s * fit.link_efficiency)
    seconds = fit.fixed_s + fit.rank_s * np.maximum(ranks - 2, 0) + wire
    return np.where(ranks > 1, seconds, 0.0)


def send_s(message_bytes: Floats, link_bytes_per_s: Floats, latency_s: Floats) -> Floats:
    """Return seconds of one message from a device to another."""
    return np.asarray(latency_s + message_bytes / link_bytes_per_s)
