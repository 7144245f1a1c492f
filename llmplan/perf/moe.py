"""Routed experts of one layer on one rank: two grouped matrix products, m = 3 matrices (2 without a gate).

    r     = T·k / ep · λ                         rows of the most loaded rank, λ its load over the mean
    E_act = (E/ep) · (1 − (1 − k/E)^T)           experts that see a token, uniform routing
    FLOP  = 2·r·m·H·I
    bytes = E_act·m·H·I·w + 4·T·H/ep + r·(2·H + 2·(m − 1)·I)

Limits: uniform routing understates skew; measured routing tables replace E_act and λ later (8 → 11 % error without).
"""

from __future__ import annotations

import numpy as np

from llmplan.perf.roofline import Floats, Work


def active_experts(tokens: Floats, experts: float, experts_per_token: float) -> Floats:
    """Return the expected number of experts that at least one of `tokens` tokens picks, uniform routing."""
    return np.asarray(experts * -np.expm1(tokens * np.log1p(-min(experts_per_token / experts, 1 - 1e-12))))


def experts(
    tokens: Floats,
    hidden: float,
    inter: Floats | float,
    counts: tuple[float, float],
    ep: Floats | float,
    weight_bytes: Floats | float,
    imbalance: Floats | float = 1.0,
    matrices: int = 3,
) -> Work:
    """Return the work of the routed experts of the most loaded rank.

    Parameters
    ----------
    tokens : array
        Tokens of the step over all ranks.
    hidden : float
        Width that experts read and write.
    inter : array or float
        Width of one expert on this rank (divided by its tensor parallelism).
    counts : (experts, experts_per_token)
        Routed experts of the layer, and how many each token picks.
    ep : array or float
        Ranks the experts are spread over.
    weight_bytes : array or float
        Bytes of one weight. [B]
    imbalance : array or float
        Rows of the most loaded rank over the mean.
    matrices : int
        Of one expert: 3, or 2 without a gate.
    """
    total, top_k = counts
    rows = tokens * top_k / ep * imbalance
    weights = matrices * hidden * inter
    return Work(
        flop=2.0 * rows * weights,
        moved_bytes=active_experts(tokens, total, top_k) / ep * weights * weight_bytes
        + 4.0 * tokens * hidden / ep
        + rows * (2.0 * hidden + 2.0 * (matrices - 1) * inter),
    )
