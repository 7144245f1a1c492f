"""Work of matrix products: Y[m,n] = X[m,k] · W[n,k]ᵀ.

    FLOP  = 2·m·n·k
    bytes = w·n·k + a·m·k + 2·m·n          w, a: bytes of a weight and of an activation; output in 16 bit

Seconds are those of `kernels.gemm`.
"""

from __future__ import annotations

from llmplan.perf.roofline import Floats, Work


def gemm(
    m: Floats | float,
    n: Floats | float,
    k: Floats | float,
    weight_bytes: Floats | float,
    activation_bytes: Floats | float,
) -> Work:
    """Return the work of a matrix product.

    Parameters
    ----------
    m, n, k : array or float
        Rows (tokens), columns and inner width of one rank.
    weight_bytes, activation_bytes : array or float
        Bytes of one element, scales included. [B]
    """
    return Work(
        flop=2.0 * m * n * k,
        moved_bytes=weight_bytes * n * k + activation_bytes * m * k + 2.0 * m * n,
    )
