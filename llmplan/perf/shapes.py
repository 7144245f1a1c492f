"""Weight matrices of one layer as one rank holds them: Y[m,n] = X[m,k] · W[n,k]ᵀ.

Tensor parallelism cuts heads and feed-forward columns; a rank keeps at least one KV head (H_kv/tp, or 1). What all
heads share is not cut: latents of MLA, compressed entries, the small keys of indexers, low ranks of gates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmplan.perf.roofline import Floats
from llmplan.spec.model import Compressed, Delta, Ffn, Gqa, Indexer, Mamba1, Mamba2, Mixer, Mla, Moe


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


def mixer_matrices(mixer: Mixer, hidden: float, tp: Floats) -> list[Matrix]:
    """Return the projections of one attention or state block on one rank of `tp`."""
    if isinstance(mixer, Gqa):
        return _gqa_matrices(mixer, hidden, tp)
    if isinstance(mixer, Mla):
        return _mla_matrices(mixer, hidden, tp)
    if isinstance(mixer, Compressed):
        return _compressed_matrices(mixer, hidden, tp)
    if isinstance(mixer, Delta):
        return _delta_matrices(mixer, hidden, tp)
    if isinstance(mixer, Mamba2):
        return _mamba2_matrices(mixer, hidden, tp)
    return _mamba1_matrices(mixer, hidden, tp)


def _matrix(name: str, n: Floats | float, k: Floats | float, tp: Floats) -> Matrix:
    zero = np.zeros_like(tp)
    return Matrix(name=name, n=zero + n, k=zero + k)


def _gate(gate: str, heads: Floats, width: float) -> Floats:
    """Return the columns that an output gate adds."""
    return heads * {"none": 0.0, "head": 1.0, "element": width}[gate]


def _gqa_matrices(a: Gqa, hidden: float, tp: Floats) -> list[Matrix]:
    heads = a.heads / tp
    made = 0.0 if a.shares_kv else np.maximum(a.kv_heads / tp, 1.0) * a.projected_width
    gate = _gate(a.output_gate, heads, a.value_dim)
    found = [
        _matrix("qkv", heads * a.head_dim + made + gate, hidden, tp),
        _matrix("attention_output", hidden, heads * a.value_dim, tp),
    ]
    if a.indexer is not None:
        found.append(_matrix("indexer", (a.indexer.heads + 1) * a.indexer.head_dim, hidden, tp))
    return found


def _mla_matrices(a: Mla, hidden: float, tp: Floats) -> list[Matrix]:
    heads, rank = a.heads / tp, a.q_lora_rank
    found = [
        _matrix("latent_down", (rank or 0) + a.kv_width, hidden, tp),
        _matrix("query_up", heads * (a.qk_nope_head_dim + a.qk_rope_head_dim), rank or hidden, tp),
        _matrix("latent_up", heads * (a.qk_nope_head_dim + a.v_head_dim), a.kv_lora_rank, tp),
        _matrix("attention_output", hidden, heads * a.v_head_dim, tp),
    ]
    if a.output_gate != "none":
        found.append(_matrix("attention_gate", _gate(a.output_gate, heads, a.v_head_dim), hidden, tp))
    if a.indexer is not None:
        found += _index_matrices(a.indexer, hidden, rank or hidden, tp)
    return found


def _index_matrices(i: Indexer, hidden: float, rank: float, tp: Floats) -> list[Matrix]:
    """Return an indexer's queries, and its key with a weight for each head."""
    return [
        _matrix("indexer_query", i.heads * i.head_dim, rank, tp),
        _matrix("indexer", i.head_dim + i.heads, hidden, tp),
    ]


def _compressed_matrices(a: Compressed, hidden: float, tp: Floats) -> list[Matrix]:
    heads = a.heads / tp
    overlap = 1 if a.indexer is None else 2
    entries = 0 if a.compress_ratio is None else 2 * overlap * a.head_dim
    found = [
        _matrix("latent_down", a.q_lora_rank + a.head_dim + entries, hidden, tp),
        _matrix("query_up", heads * a.head_dim, a.q_lora_rank, tp),
        _matrix("output_down", a.output_groups * a.output_lora_rank / tp, a.heads * a.head_dim / a.output_groups, tp),
        _matrix("attention_output", hidden, a.output_groups * a.output_lora_rank / tp, tp),
    ]
    if a.indexer is not None:
        i = a.indexer
        found += [
            _matrix("indexer_query", i.heads * i.head_dim, a.q_lora_rank, tp),
            _matrix("indexer", 2 * overlap * i.head_dim + i.heads, hidden, tp),
        ]
    return found


def _delta_matrices(m: Delta, hidden: float, tp: Floats) -> list[Matrix]:
    keys, values = m.key_heads * m.key_head_dim, m.value_heads * m.value_head_dim
    by_head = m.value_heads * (2 if m.decay == "head" else 1)
    gate = 0 if m.low_rank_gate else values
    found = [_matrix("state_input", (2 * keys + values + gate + by_head) / tp, hidden, tp)]
    low_ranks = (m.decay == "channel") + m.low_rank_gate
    if low_ranks:
        wide = keys * (m.decay == "channel") + values * m.low_rank_gate
        found.append(_matrix("state_low_rank", low_ranks * m.key_head_dim, hidden, tp))
        found.append(_matrix("state_widen", wide / tp, m.key_head_dim, tp))
    found.append(_matrix("state_output", hidden, values / tp, tp))
    return found


def _mamba2_matrices(m: Mamba2, hidden: float, tp: Floats) -> list[Matrix]:
    inner = m.heads * m.head_dim
    return [
        _matrix("state_input", (2 * inner + 2 * m.groups * m.state_size + m.heads) / tp, hidden, tp),
        _matrix("state_output", hidden, inner / tp, tp),
    ]


def _mamba1_matrices(m: Mamba1, hidden: float, tp: Floats) -> list[Matrix]:
    return [
        _matrix("state_input", 2 * m.inner_size / tp, hidden, tp),
        _matrix("state_low_rank", m.dt_rank + 2 * m.state_size, m.inner_size / tp, tp),
        _matrix("state_widen", m.inner_size / tp, m.dt_rank, tp),
        _matrix("state_output", hidden, m.inner_size / tp, tp),
    ]


def ffn_matrices(ffn: Ffn, hidden: float, tp: Floats) -> list[Matrix]:
    """Return the matrices of one dense feed-forward block on one rank of `tp`."""
    return _up_and_down("ffn", hidden, ffn.intermediate_size / tp, 2.0 if ffn.kind == "gated" else 1.0)


def shared_matrices(moe: Moe, hidden: float, tp: Floats) -> list[Matrix]:
    """Return the matrices of the experts that are always on, taken together, on one rank of `tp`."""
    if not moe.shared_experts:
        return []
    width = moe.shared_experts * (moe.shared_intermediate_size or moe.intermediate_size)
    return _up_and_down("shared_experts", hidden, width / tp, moe.matrices - 1.0)


def latent_matrices(moe: Moe, hidden: float, tp: Floats) -> list[Matrix]:
    """Return the projections between the hidden size and the width that routed experts work in; every rank has them."""
    if moe.latent_size is None:
        return []
    return [_matrix("latent_in", moe.latent_size, hidden, tp), _matrix("latent_out", hidden, moe.latent_size, tp)]


def _up_and_down(name: str, hidden: float, inter: Floats, gates: float) -> list[Matrix]:
    return [
        _matrix(f"{name}_up", gates * inter, hidden, inter),
        _matrix(f"{name}_down", hidden, inter, inter),
    ]
