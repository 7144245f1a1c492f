"""Device memory of one rank, by part, and how many tokens of KV are left.

    weights  = Σ matrices · bytes(format) / (tp · pp; experts tp · dp · pp) + embedding, head, router in 16 bit
    pool     = utilization · (HBM − reserved) − weights − activations − framework
    KV/token = layers/pp · h_kv/tp (at least 1) · 2·d · bytes             MLA: 576 values, not cut by tp
    activations = (copies · 2 · hidden + token) · max_num_batched_tokens + sampler · max_num_seqs · vocabulary

Engines whose fraction is a share of what is left (`share_of_free`):

    pool     = utilization · (HBM − reserved − weights − activations − framework)

Layers with a window keep at most `window` tokens of a sequence. The stage that holds most decides.
Checked against eight measured breakdowns of vLLM on H100 (tests/perf/test_memory.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmplan.perf.fits import Replicas
from llmplan.perf.roofline import Floats
from llmplan.perf.shapes import attention_matrices, ffn_matrices, shared_matrices
from llmplan.spec.model import Gqa, Mla, Model, Moe


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBudget:
    """Bytes of one rank, (C, 1) arrays; the largest stage of a pipeline."""

    device_bytes: Floats
    reserved_bytes: Floats
    framework_bytes: Floats
    activation_bytes: Floats
    weights_bytes: Floats
    pool_bytes: Floats
    """What is left for KV; negative: does not fit."""
    kv_bytes_per_token: Floats
    """Layers without a window."""
    window_bytes_per_token: Floats
    """Layers with a window."""
    window_tokens: float
    """Longest window of those layers; 0 without."""
    dp: Floats

    def sequence_bytes(self, tokens: Floats) -> Floats:
        """Return the KV of one sequence of `tokens` tokens on its rank."""
        kept = np.minimum(tokens, self.window_tokens) if self.window_tokens else 0.0
        return self.kv_bytes_per_token * tokens + self.window_bytes_per_token * kept

    def sequences(self, tokens: Floats) -> Floats:
        """Return how many sequences of `tokens` tokens the pools of all ranks hold; 0 when a rank cannot hold one."""
        held = np.maximum(self.pool_bytes, 0.0) / np.maximum(self.sequence_bytes(tokens), 1e-30)
        return np.where(held >= 1.0, held * self.dp, 0.0)


def memory_budget(replicas: Replicas) -> MemoryBudget:
    """Return the memory of each replica's fullest rank."""
    model = replicas.model
    per_stage = np.ceil(model.layer_count / replicas.pp) / model.layer_count
    layers = layer_weight_bytes(replicas) * per_stage
    ends = 2.0 * model.vocab_size * model.hidden_size / replicas.tp
    both = ends if model.tie_embeddings else 2 * ends
    weights = layers + np.where(replicas.pp > 1, ends, both) + 2.0 * model.vision_parameters
    activation = (
        replicas.activation_copies * 2.0 * model.hidden_size + replicas.activation_token_bytes
    ) * replicas.max_num_batched_tokens + replicas.sampler_bytes * replicas.max_num_seqs * model.vocab_size
    visible = replicas.memory_bytes - replicas.reserved_bytes
    taken = weights + activation + replicas.framework_bytes
    pool = _pool_bytes(replicas, visible, taken)
    full, windowed, window = kv_bytes_per_token(replicas)
    return MemoryBudget(
        device_bytes=replicas.memory_bytes,
        reserved_bytes=replicas.memory_bytes - taken - pool,
        framework_bytes=replicas.framework_bytes,
        activation_bytes=activation,
        weights_bytes=weights,
        pool_bytes=pool,
        kv_bytes_per_token=full * per_stage,
        window_bytes_per_token=windowed * per_stage,
        window_tokens=window,
        dp=replicas.dp,
    )


def _pool_bytes(replicas: Replicas, visible: Floats, taken: Floats) -> Floats:
    """Return what the engine keeps for KV: its share of the device less what is taken, or its share of the rest."""
    left = visible - taken
    of_free = np.where(left > 0, replicas.utilization * left, left)
    return np.where(replicas.share_of_free > 0, of_free, replicas.utilization * visible - taken)


def layer_weight_bytes(replicas: Replicas) -> Floats:
    """Return the bytes of all layers' weights on one rank of a one-stage replica, (C, 1)."""
    model = replicas.model
    total = np.zeros_like(replicas.tp)
    for (attention, ffn), count in model.blocks().items():
        matrices = attention_matrices(model.attention[attention], model.hidden_size, replicas.tp)
        bytes_one = sum((m.elements for m in matrices), total * 0) * module_bytes(replicas, "attention")
        bytes_one = bytes_one + _ffn_bytes(replicas, model, ffn)
        total = total + count * (bytes_one + 2.0 * model.norms_per_layer * model.hidden_size)
    return total


def module_bytes(replicas: Replicas, module: str) -> Floats:
    """Return the bytes of one weight of a module: 16 bit where the checkpoint, or an engine quantizing it, keeps it."""
    kept = module in replicas.model.weights.bf16_modules
    return np.full_like(replicas.tp, 2.0) if kept else replicas.weight_bytes


def _ffn_bytes(replicas: Replicas, model: Model, name: str) -> Floats:
    ffn = model.ffn[name]
    zero = np.zeros_like(replicas.tp)
    if not isinstance(ffn, Moe):
        elements = sum((m.elements for m in ffn_matrices(ffn, model.hidden_size, replicas.tp)), zero)
        return elements * module_bytes(replicas, "ffn")
    shared = sum((m.elements for m in shared_matrices(ffn, model.hidden_size, replicas.tp)), zero)
    routed = 3.0 * ffn.experts * model.hidden_size * ffn.intermediate_size / (replicas.tp * replicas.dp)
    return (
        routed * replicas.expert_pad * module_bytes(replicas, "experts")
        + shared * module_bytes(replicas, "shared_experts")
        + 2.0 * ffn.experts * model.hidden_size
    )


def kv_bytes_per_token(replicas: Replicas) -> tuple[Floats, Floats, float]:
    """Return KV bytes of one token on one rank: layers without a window, layers with one, and the longest window."""
    full, windowed, window = np.zeros_like(replicas.tp), np.zeros_like(replicas.tp), 0.0
    for (name, _), count in replicas.model.blocks().items():
        attention = replicas.model.attention[name]
        one = count * kept_values(attention, replicas.tp) * replicas.kv_bytes
        if isinstance(attention, Gqa) and attention.window:
            windowed = windowed + one
            window = max(window, float(attention.window))
        else:
            full = full + one
    return full, windowed, window


def kept_values(attention: Gqa | Mla, tp: Floats) -> Floats:
    """Return how many values one rank keeps for one token of one layer."""
    if isinstance(attention, Mla):
        return np.full_like(tp, attention.kv_width)
    return np.maximum(attention.kv_heads / tp, 1.0) * attention.kv_width
