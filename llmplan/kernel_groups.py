"""What `calibrate run` can measure, by the words its options take; free of numpy, for the command line's help."""

from __future__ import annotations

from collections.abc import Mapping

GROUPS: Mapping[str, tuple[str, ...]] = {
    "gemm": ("gemm",),
    "attention": ("attn_prefill", "attn_decode"),
    "memory": ("memory",),
    "collectives": ("comm",),
}
"""Files of rows that each word of `--operators` stands for."""
ROWS = 72
"""Of an operator and format: 60 that a fit needs, and a fifth in reserve."""
