"""Weight matrices of one layer as one rank holds them: Y[m,n] = X[m,k] · W[n,k]ᵀ.

Tensor parallelism cuts heads and feed-forward columns; a rank keeps at least one KV head (H_kv/tp, or 1), and the
latent projections of MLA are not cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmplan.perf.roofline import Floats
from llmplan.spec.model import Ffn, Gqa, Mla, Moe


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """One weight matrix of one rank; (C, 1) arrays."""

    name: str
    n: Floats
    k: Floats

    @property
    def elements(self) -> Floats:
        """Weights of the matrix."""
        return self.n * self.k


def attention_matrices(attention: Gqa | Mla, hidden: float, tp: Floats) -> list[Matrix]:
    """Return the projections of one attention block on one rank of `tp`."""
    whole = np.full_like(tp, hidden)
    heads = attention.heads / tp
    if isinstance(attention, Gqa):
        kv_heads = np.maximum(attention.kv_heads / tp, 1.0)
        return [
            Matrix(name="qkv", n=heads * attention.head_dim + kv_heads * attention.kv_width, k=whole),
            Matrix(name="attention_output", n=whole, k=heads * attention.head_dim),
        ]
    query = attention.qk_nope_head_dim + attention.qk_rope_head_dim
    latent = np.full_like(tp, attention.kv_lora_rank)
    rank = attention.q_lora_rank
    down = (rank or 0) + attention.kv_width
    return [
        Matrix(name="latent_down", n=np.full_like(tp, down), k=whole),
        Matrix(name="query_up", n=heads * query, k=np.full_like(tp, rank) if rank else whole),
        Matrix(name="latent_up", n=heads * (attention.qk_nope_head_dim + attention.v_head_dim), k=latent),
        Matrix(name="attention_output", n=whole, k=heads * attention.v_head_dim),
    ]


def ffn_matrices(ffn: Ffn, hidden: float, tp: Floats) -> list[Matrix]:
    """Return the matrices of one dense feed-forward block on one rank of `tp`."""
    return _gated(hidden, ffn.intermediate_size / tp, 2.0 if ffn.kind == "gated" else 1.0, "ffn")


def shared_matrices(moe: Moe, hidden: float, tp: Floats) -> list[Matrix]:
    """Return the matrices of the experts that are always on, taken together, on one rank of `tp`."""
    if not moe.shared_experts:
        return []
    width = moe.shared_experts * (moe.shared_intermediate_size or moe.intermediate_size)
    return _gated(hidden, width / tp, 2.0, "shared_experts")


def _gated(hidden: float, inter: Floats, gates: float, name: str) -> list[Matrix]:
    whole = np.full_like(inter, hidden)
    return [
        Matrix(name=f"{name}_up", n=gates * inter, k=whole),
        Matrix(name=f"{name}_down", n=whole, k=inter),
    ]
