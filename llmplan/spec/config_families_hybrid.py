"""The architectures that keep states of fixed size, alone or beside attention, by `model_type`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from llmplan.spec.config_families_sparse import DEEPSEEK_V3, QWEN3_MOE
from llmplan.spec.config_family import Family

_QWEN3_NEXT = replace(
    QWEN3_MOE,
    name="qwen3-next",
    mixers="gated-delta",
    understands=r"linear_\w+|full_attention_interval|attn_output_gate|shared_expert_intermediate_size|mamba_ssm_dtype",
    output_gate="element",
    shared_gate=True,
    shared_path="mlp.shared_expert",
)
_QWEN35_MOE = replace(_QWEN3_NEXT, name="qwen3.5-moe")
_QWEN35 = replace(_QWEN3_NEXT, name="qwen3.5", ffns="dense")
_MAMBA2 = Family(
    name="mamba2",
    mixers="mamba2",
    ffns="none",
    understands=r"state_size|conv_kernel|time_step_\w+",
    defaults={"max_position_embeddings": 2**20},  # a state has no longest context; this stands for none
)

_BAMBA = Family(
    name="bamba",
    mixers="bamba",
    kv_heads_needed=False,
    understands=r"mamba_\w+|attn_layer_\w+|layers_block_type|time_step_\w+",
    block_path="feed_forward",
    state_path="mamba",
)

HYBRID: Mapping[str, Family] = {
    "qwen3_next": _QWEN3_NEXT,
    "qwen3_5_text": _QWEN35,
    "qwen3_5": _QWEN35,
    "qwen3_5_moe_text": _QWEN35_MOE,
    "qwen3_5_moe": _QWEN35_MOE,
    "kimi_linear": replace(
        DEEPSEEK_V3,
        name="kimi-linear",
        mixers="kimi-linear",
        understands=r"linear_attn_config|mla_use_\w+|routed_expert_hidden_size|attn_res_block_size",
        expert_path="block_sparse_moe",
        shared_path="block_sparse_moe.shared_experts",
        state_path="self_attn",
    ),
    "nemotron_h": Family(
        name="nemotron-h",
        mixers="nemotron-h",
        ffns="nemotron-h",
        understands=r"hybrid_override_pattern|layers_block_type|mamba_\w+|ssm_\w+|conv_kernel|time_step_\w+"
        r"|moe_latent_size|moe_shared_expert_intermediate_size",
        plain_ffn=True,
        gated_experts=False,
        router_bias=True,
        block_path="mixer",
        expert_path="mixer",
        shared_path="mixer.shared_experts",
        attention_path="mixer",
        state_path="mixer",
    ),
    "jamba": Family(
        name="jamba",
        mixers="jamba",
        ffns="jamba",
        understands=r"mamba_\w+|attn_layer_\w+|expert_layer_\w+",
        expert_width="intermediate_size",
        block_path="feed_forward",
        expert_path="feed_forward",
        state_path="mamba",
    ),
    "mamba": replace(_MAMBA2, name="mamba", mixers="mamba1", tied=True),
    "mamba2": _MAMBA2,
    "falcon_mamba": replace(_MAMBA2, name="falcon-mamba", mixers="mamba1", tied=True),
    "bamba": _BAMBA,
    "granitemoehybrid": replace(
        _BAMBA,
        name="granite-hybrid",
        ffns="granite-hybrid",
        understands=r"mamba_\w+|layers_block_type|shared_intermediate_size|time_step_\w+",
        expert_width="intermediate_size",
        expert_path="block_sparse_moe",
        shared_path="shared_mlp",
        block_path="shared_mlp",
    ),
}
"""Architectures that keep states of fixed size, alone or beside attention, by `model_type`."""
