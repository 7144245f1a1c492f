"""Device memory of one rank, by part, and how many tokens of KV are left.

    weights  = Σ matrices · bytes(format) / (tp · pp; experts tp · dp · pp) + embedding, norms, router in 16 bit
    pool     = utilization · (HBM − reserved) − weights − activations − framework − communication − graphs
    KV/token = layers/pp · h_kv/tp (at least 1) · 2·d · bytes / cp         MLA: 576 values, not cut by tp
    state    = layers/pp · fixed state of linear attention and SSM layers / tp, for each sequence
    activations = (copies · 2 · hidden + token) · max_num_batched_tokens + sampler · max_num_seqs · vocabulary

Engines whose fraction is a share of what is left (`share_of_free`):

    pool     = utilization · (HBM − reserved − weights − activations − framework − communication − graphs)

Layers with a window keep at most `window` tokens of a sequence (`spec/caches.py`). The stage that holds most decides:
the mean layer times ceil(layers / pp). Weights are repeated over cp, KV and nothing else is cut by it.
Checked against eight measured breakdowns of vLLM on H100 (tests/perf/test_memory.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmplan.perf.fits import Replicas
from llmplan.perf.roofline import Floats
from llmplan.perf.shapes import Matrix, ffn_matrices, latent_matrices, mixer_matrices, shared_matrices
from llmplan.spec.caches import INDEX_BYTES, kept, state_bytes
from llmplan.spec.model import Ffn, Mixer, Module, Moe, State
from llmplan.spec.parameters import ffn_parameters, mixer_parameters, parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBudget:
    """Bytes of one rank, (C, 1) arrays; the largest stage of a pipeline."""

    device_bytes: Floats
    reserved_bytes: Floats
    framework_bytes: Floats
    communication_bytes: Floats
    graph_bytes: Floats
    activation_bytes: Floats
    weights_bytes: Floats
    pool_bytes: Floats
    """What is left for KV; negative: does not fit."""
    kept_bytes: Mapping[float, Floats]
    """KV bytes of one token, by how many tokens back they are kept; infinity: all of them."""
    state_bytes: Floats
    """Fixed state of one sequence."""
    dp: Floats

    def sequence_bytes(self, tokens: Floats) -> Floats:
        """Return the KV and the state of one sequence of `tokens` tokens on its rank."""
        kept = sum((one * np.minimum(tokens, back) for back, one in self.kept_bytes.items()), np.zeros_like(tokens))
        return np.asarray(kept + self.state_bytes)

    def sequences(self, tokens: Floats) -> Floats:
        """Return how many sequences of `tokens` tokens the pools of all ranks hold; 0 when a rank cannot hold one."""
        held = np.maximum(self.pool_bytes, 0.0) / np.maximum(self.sequence_bytes(tokens), 1e-30)
        return np.where(held >= 1.0, held * self.dp, 0.0)


def memory_budget(replicas: Replicas) -> MemoryBudget:
    """Return the memory of each replica's fullest rank."""
    model = replicas.model
    per_stage = np.ceil(model.layer_count / replicas.pp) / model.layer_count
    layers = layer_weight_bytes(replicas) * per_stage
    counts = parameters(model)
    embedding = 2.0 * counts["embedding"] / replicas.tp
    head = replicas.formats["head"].weight_bytes * counts["head"] / replicas.tp
    last = 2.0 * model.vocab_size * model.hidden_size / replicas.tp if model.tie_embeddings else head
    ends = np.where(replicas.pp > 1, np.maximum(embedding, last), embedding + head)
    weights = layers + ends + 2.0 * model.vision_parameters
    copies = replicas.activation_copies + model.residual_streams - 1
    activation = (
        copies * 2.0 * model.hidden_size + replicas.activation_token_bytes
    ) * replicas.max_num_batched_tokens + replicas.sampler_bytes * replicas.max_num_seqs * model.vocab_size
    visible = replicas.memory_bytes - replicas.reserved_bytes
    taken = weights + activation + replicas.framework_bytes + replicas.communication_bytes + replicas.graph_bytes
    pool = _pool_bytes(replicas, visible, taken)
    kept_by_back, state = _kept(replicas)
    return MemoryBudget(
        device_bytes=replicas.memory_bytes,
        reserved_bytes=replicas.memory_bytes - taken - pool,
        framework_bytes=replicas.framework_bytes,
        communication_bytes=replicas.communication_bytes,
        graph_bytes=replicas.graph_bytes,
        activation_bytes=activation,
        weights_bytes=weights,
        pool_bytes=pool,
        kept_bytes={back: one * per_stage for back, one in kept_by_back.items()},
        state_bytes=state * per_stage,
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
    for mixer, ffn, count in model.runs():
        total = total + count * (_mixer_bytes(replicas, mixer) + _ffn_bytes(replicas, ffn))
    return np.asarray(total + 2.0 * parameters(model)["norms"])


def _mixer_bytes(replicas: Replicas, mixer: Mixer | None) -> Floats | float:
    if mixer is None:
        return 0.0
    module: Module = "state" if isinstance(mixer, State) else "attention"
    count = mixer_parameters(mixer, replicas.model.hidden_size)
    return _product_bytes(mixer_matrices, mixer, replicas, module, count)


def _ffn_bytes(replicas: Replicas, ffn: Ffn | Moe | None) -> Floats | float:
    if ffn is None:
        return 0.0
    hidden, tp = replicas.model.hidden_size, replicas.tp
    counts = ffn_parameters(ffn, hidden)
    formats = replicas.formats
    if not isinstance(ffn, Moe):
        return _product_bytes(ffn_matrices, ffn, replicas, "ffn", counts["ffn"])
    return (
        counts["experts"] / (tp * replicas.dp) * replicas.expert_pad * formats["experts"].weight_bytes
        + _product_bytes(shared_matrices, ffn, replicas, "shared_experts", counts["shared_experts"])
        + _product_bytes(latent_matrices, ffn, replicas, "latent", counts["latent"])
        + 2.0 * counts["router"]
    )


def _product_bytes(
    matrices: Callable[[Any, float, Floats], list[Matrix]], block: Any, replicas: Replicas, module: Module, count: int
) -> Floats:
    """Return the bytes of a block's matrices as the rank has them, and of its `count` parameters that are in none."""
    hidden = replicas.model.hidden_size
    small = count - _elements(matrices(block, hidden, np.ones((1, 1))))
    return _elements(matrices(block, hidden, replicas.tp)) * replicas.formats[module].weight_bytes + 2.0 * small


def _elements(matrices: list[Matrix]) -> Floats:
    return sum((m.elements for m in matrices), np.zeros((1, 1)))


def _kept(replicas: Replicas) -> tuple[dict[float, Floats], Floats]:
    """Return KV bytes of one token of all layers by how far back they are kept, and the state of one sequence."""
    found: dict[float, Floats] = {math.inf: np.zeros_like(replicas.tp)}
    state = np.zeros_like(replicas.tp)
    for mixer, _, count in replicas.model.runs():
        if mixer is None:
            continue
        state = state + count * state_bytes(mixer) / replicas.tp
        for part in kept(mixer):
            values = part.values / np.minimum(replicas.tp, part.ways)
            one = values * (INDEX_BYTES if part.index else replicas.kv_bytes) / replicas.cp
            found[part.back] = found.get(part.back, np.zeros_like(replicas.tp)) + count * one
    return found, state
