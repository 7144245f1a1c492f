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

_GRANITE_MOE = Family(
    name="granite-moe",
    ffns="moe",
    kv_heads_needed=False,
    expert_width="intermediate_size",
    expert_path="block_sparse_moe",
)
_GLM4V_MOE = Family(name="glm4v-moe", ffns="moe", attention_bias=True, output_bias=False, router_bias=True)

_STEP = Family(
    name="step3p7",
    mixers="step",
    ffns="step",
    understands="share_expert_dim|attention_other_setting|num_sliding_attention_heads|moe_layers_enum",
    qk_norm="per_head",
    output_gate="head",
    window="pattern",
    full_every=4,
    head_dim_needed=True,
    router_bias=True,
    expert_path="moe",
    shared_path="share_expert",
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
        output_bias=False,
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
        sparse_norms=4,
        router_bias=True,
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
    "step3p5": _STEP,
    "step3p7": _STEP,
    "qwen3_omni_moe_text": QWEN3_MOE,
    "mellum": replace(QWEN3_MOE, name="mellum"),
    "olmoe": Family(name="olmoe", ffns="moe", qk_norm="full", expert_width="intermediate_size"),
    "flex_olmo": Family(name="flex-olmo", ffns="moe", qk_norm="full", expert_width="intermediate_size"),
    "granitemoe": _GRANITE_MOE,
    "granitemoeshared": replace(
        _GRANITE_MOE, name="granite-moe-shared", understands="shared_intermediate_size", shared_path="shared_mlp"
    ),
    "cohere2_moe": Family(
        name="cohere2-moe",
        ffns="moe",
        kv_heads_needed=False,
        norms_per_layer=1,
        tied=True,
        window="pattern",
        full_every=4,
        head_dim_needed=True,
        expert_width="intermediate_size",
        dense_width="prefix_dense_intermediate_size",
    ),
    "dots1": Family(name="dots1", ffns="moe", qk_norm="per_head", router_bias=True, window="switched"),
    "ernie4_5_moe": Family(
        name="ernie4.5-moe",
        ffns="ernie",
        tied=True,
        router_bias=True,
        understands="moe_num_experts|moe_layer_start_index|moe_layer_end_index|moe_layer_interval",
    ),
    "hunyuan_v1_moe": Family(
        name="hunyuan-moe",
        ffns="hunyuan",
        kv_heads_needed=False,
        qk_norm="per_head",
        expert_width="intermediate_size",
        always_shared=1,
        shared_path="mlp.shared_mlp",
    ),
    "exaone_moe": Family(
        name="exaone-moe", ffns="moe", qk_norm="per_head", window="pattern", full_every=4, router_bias=True
    ),
    "solar_open": Family(name="solar-open", ffns="moe", output_bias=False, head_dim_needed=True, router_bias=True),
    "hy_v3": Family(
        name="hy-v3",
        head_dim_needed=True,
        ffns="moe",
        qk_norm="per_head",
        router_bias=True,
        defaults={"first_k_dense_replace": 1},  # HYV3Config of transformers
    ),
    "afmoe": Family(
        name="afmoe",
        ffns="moe",
        norms_per_layer=4,
        qk_norm="per_head",
        output_gate="element",
        window="pattern",
        full_every=4,
        router_bias=True,
    ),
    "laguna": Family(
        name="laguna",
        mixers="laguna",
        ffns="moe",
        qk_norm="per_head",
        head_dim_needed=True,
        understands="shared_expert_intermediate_size|num_attention_heads_per_layer",
        router_bias=True,
        shared_path="mlp.shared_expert",
        defaults={"first_k_dense_replace": 1},  # LagunaConfig of transformers
    ),
    "glm4v_moe": _GLM4V_MOE,
    "glm4v_moe_text": _GLM4V_MOE,
    "glm4_moe_lite": replace(
        DEEPSEEK_V3,
        name="glm4-moe-lite",
        defaults={"first_k_dense_replace": 1},  # Glm4MoeLiteConfig of transformers
    ),
    "mistral4": replace(_DEEPSEEK_V2, name="mistral4"),
    "minicpm3": replace(_DEEPSEEK_V2, name="minicpm3", ffns="dense", tied=True),
    "youtu": replace(_DEEPSEEK_V2, name="youtu", ffns="dense", tied=True),
    "dbrx": Family(
        name="dbrx",
        mixers="dbrx",
        ffns="dbrx",
        understands="attn_config|ffn_config",
        expert_width="ffn_hidden_size",
        block_path="ffn",
        expert_path="ffn",
    ),
}
"""Architectures with experts, and those of latent attention, by `model_type`."""
