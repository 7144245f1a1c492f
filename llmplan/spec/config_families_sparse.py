"""The architectures with experts, and those of latent attention, by `model_type`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from llmplan.spec.config_families_dense import GEMMA, MISTRAL, QWEN2, QWEN3
from llmplan.spec.config_family import Family

QWEN3_MOE = replace(QWEN3, name="qwen3-moe", ffns="moe")
_DEEPSEEK_V2 = Family(name="deepseek", mixers="mla", ffns="moe")
DEEPSEEK_V3 = replace(_DEEPSEEK_V2, router_bias=True)
_DEEPSEEK_V32 = replace(DEEPSEEK_V3, name="deepseek-v32", mixers="indexed-mla", understands=r"index_\w+|indexer_\w+")
_DEEPSEEK_V4 = replace(
    DEEPSEEK_V3,
    name="deepseek-v4",
    mixers="compressed",
    understands=r"index_\w+|compress_\w+|o_lora_rank|o_groups|expert_dtype|hc_\w+|num_hash_layers",
    block_path="ffn",
    expert_path="ffn",
    shared_path="ffn.shared_experts",
    attention_path="attn",
)
_MINIMAX_M3 = Family(
    name="minimax-m3",
    mixers="block-sparse",
    ffns="moe",
    understands=r"sparse_attention\w*|dense_intermediate_size|shared_intermediate_size|attention_output_gate",
    qk_norm="per_head",
    head_dim_needed=True,
    expert_width="intermediate_size",
    dense_width="dense_intermediate_size",
    router_bias=True,
    expert_path="block_sparse_moe",
    shared_path="block_sparse_moe.shared_experts",
)

SPARSE: Mapping[str, Family] = {
    "mixtral": replace(
        MISTRAL, name="mixtral", ffns="moe", expert_width="intermediate_size", expert_path="block_sparse_moe"
    ),
    "phimoe": Family(
        name="phimoe",
        ffns="moe",
        window="all",
        norm_bias=True,
        expert_width="intermediate_size",
        expert_path="block_sparse_moe",
        understands="lm_head_bias",
    ),
    "qwen2_moe": replace(
        QWEN2,
        name="qwen2-moe",
        ffns="moe",
        shared_gate=True,
        shared_path="mlp.shared_expert",
        understands="shared_expert_intermediate_size",
    ),
    "mimo_v2_flash": Family(
        name="mimo-v2",
        mixers="mimo-v2",
        ffns="moe",
        understands=r"swa_\w+|hybrid_layer_pattern|attention_chunk_size",
        head_dim_needed=True,
        router_bias=True,
    ),
    "qwen3_moe": QWEN3_MOE,
    "qwen3_vl_moe_text": QWEN3_MOE,
    "gemma4_text": replace(
        GEMMA,
        name="gemma4",
        mixers="gemma4",
        ffns="gemma4",
        understands=r"attention_k_eq_v|num_global_key_value_heads|global_head_dim|num_kv_shared_layers"
        r"|enable_moe_block|use_double_wide_mlp",
        norms_per_layer=4,
        sparse_norms=3,
        qk_norm="per_head",
        expert_path="moe",
        shared_path="mlp",
    ),
    "gpt_oss": Family(
        name="gpt-oss",
        ffns="moe",
        attention_bias=True,
        sinks=True,
        window="pattern",
        full_every=2,
        head_dim_needed=True,
        expert_width="intermediate_size",
        router_bias=True,
        expert_bias=True,
    ),
    "llama4_text": Family(
        name="llama4",
        mixers="llama4",
        ffns="llama4",
        understands=r"attention_chunk_size|no_rope_layer\w*|interleave_moe_layer_step",
        kv_heads_needed=False,
        qk_norm="none",
        expert_width="intermediate_size",
        dense_width="intermediate_size_mlp",
        always_shared=1,
        block_path="feed_forward",
        expert_path="feed_forward",
        shared_path="feed_forward.shared_expert",
    ),
    "deepseek": Family(name="deepseek-moe", ffns="moe"),
    "deepseek_v2": _DEEPSEEK_V2,
    "deepseek_v3": DEEPSEEK_V3,
    "kimi_k2": DEEPSEEK_V3,
    "deepseek_v32": _DEEPSEEK_V32,
    "glm_moe_dsa": replace(_DEEPSEEK_V32, name="glm-dsa"),
    "deepseek_v4": _DEEPSEEK_V4,
    "deepseek_ref": _DEEPSEEK_V4,
    "glm4_moe": Family(
        name="glm4-moe",
        ffns="moe",
        output_bias=False,
        qk_norm="per_head",
        use_qk_norm=False,
        head_dim_needed=True,
        router_bias=True,
    ),
    "minimax_m2": Family(
        name="minimax-m2",
        ffns="moe",
        qk_norm="full",
        head_dim_needed=True,
        expert_width="intermediate_size",
        expert_path="block_sparse_moe",
        router_bias=True,
    ),
    "minimax_m3": _MINIMAX_M3,
    "minimax_m3_vl": _MINIMAX_M3,
    "step3p7": Family(
        name="step3p7",
        ffns="moe",
        understands=r"share_expert_dim",
        qk_norm="per_head",
        output_gate="head",
        window="pattern",
        full_every=4,
        head_dim_needed=True,
        router_bias=True,
        expert_path="moe",
        shared_path="share_expert",
    ),
}
