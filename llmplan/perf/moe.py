"""Work of the routed experts of one layer on one rank: two grouped matrix products, m = 3 matrices (2 without a gate).

For T tokens, of which the busiest rank has r rows and E_act experts with any (`kernels.routing` counts them)::

    FLOP  = 2·r·m·H·I
    bytes = E_act·m·H·I·w + 4·T·H + r·(2·H + 2·(m − 1)·I)
"""

from __future__ import annotations

from llmplan.perf.kernels.routing import Routed
from llmplan.perf.roofline import Floats, Work


def experts(
    tokens: Floats,
    hidden: float,
    inter: Floats | float,
    busiest: Routed,
    weight_bytes: Floats | float,
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
    busiest : Routed
        Rows and active experts of the rank.
    weight_bytes : array or float
        Bytes of one weight. [B]
    matrices : int
        Of one expert: 3, or 2 without a gate.
    """
    weights = matrices * hidden * inter
    moved = busiest.rows * (2.0 * hidden + 2.0 * (matrices - 1) * inter) + 4.0 * tokens * hidden
    return Work(flop=2.0 * busiest.rows * weights, moved_bytes=busiest.active * weights * weight_bytes + moved)
