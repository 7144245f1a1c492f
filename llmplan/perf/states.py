"""Linear attention and state space layers over a chunk of new tokens, on one rank.

Chunkwise form (Mamba-2, arXiv 2405.21060; gated delta rule, arXiv 2412.06464): inside a block of C tokens a small
attention, between blocks one update and one read of the state. For each token and head, state of a x b values:

    FLOP  = 2·(s·a·b + C·(a + b))      s = 3 with the delta rule (update, correction, read), 2 without (update, read)
    bytes = 2·(inputs + outputs)        16 bit; the state stays on the chip

Mamba-1 has no such form: a scan of 6·inner·state operations off the tensor cores, taken as `SCAN_COST` times their
arithmetic.
Limits: rooflines; no kernel of these was measured.
"""

from __future__ import annotations

from llmplan.perf.roofline import Floats, Work
from llmplan.spec.model import Delta, Mamba2, State

BLOCK_TOKENS = 64.0
"""C: tokens of one block (flash-linear-attention and Mamba-2 kernels use 64 to 256)."""
SCAN_FLOP, SCAN_COST = 6.0, 16.0
"""Operations for one state value, and the rate of tensor cores over that of the others (A100: 312 to 19.5 TFLOP/s)."""


def prefill_work(tokens: Floats, mixer: State, tp: Floats) -> Work:
    """Return the work of one state layer over `tokens` new tokens on one rank of `tp`."""
    if isinstance(mixer, Delta):
        a, b = mixer.key_head_dim, mixer.value_head_dim
        flop = 2.0 * mixer.value_heads * (3 * a * b + BLOCK_TOKENS * (a + b))
        values = 2 * mixer.key_heads * a + 2 * mixer.value_heads * b
    elif isinstance(mixer, Mamba2):
        a, b = mixer.head_dim, mixer.state_size
        flop = 2.0 * mixer.heads * (2 * a * b + BLOCK_TOKENS * (a + b))
        values = 2 * mixer.heads * a + 2 * mixer.groups * b
    else:
        flop = SCAN_FLOP * SCAN_COST * mixer.inner_size * mixer.state_size
        values = 3 * mixer.inner_size
    return Work(flop=tokens * flop / tp, moved_bytes=2.0 * tokens * values / tp)
