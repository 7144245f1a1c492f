"""Small files in the manner of published ones: one for each architecture that llmplan reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmplan.spec.config_families import FAMILIES
from llmplan.spec.config_family import Family

WHERE = "tiny-llama/config.json"

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
    "rope_theta": 500000.0,
}
QWEN3 = LLAMA | {"model_type": "qwen3", "head_dim": 16}
QWEN3_MOE = QWEN3 | {
    "model_type": "qwen3_moe",
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
DEEPSEEK: dict[str, Any] = {
    "model_type": "deepseek_v3",
    "hidden_size": 64,
    "intermediate_size": 256,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "n_routed_experts": 16,
    "n_shared_experts": 1,
    "num_experts_per_tok": 4,
    "first_k_dense_replace": 2,
    "moe_layer_freq": 1,
    "topk_method": "noaux_tc",
    "num_nextn_predict_layers": 1,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
}
GPT_OSS = LLAMA | {
    "model_type": "gpt_oss",
    "head_dim": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "attention_bias": True,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "quantization_config": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"],
    },
}
GEMMA3_TEXT = LLAMA | {
    "model_type": "gemma3_text",
    "num_hidden_layers": 8,
    "head_dim": 16,
    "sliding_window": 1024,
    "sliding_window_pattern": 6,
}
GEMMA3: dict[str, Any] = {
    "model_type": "gemma3",
    "text_config": GEMMA3_TEXT,
    "vision_config": {"hidden_size": 32},
    "image_token_index": 262144,
}


def without(config: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


FP8 = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 4,
}
QWEN3_NEXT = QWEN3_MOE | LINEAR
QWEN3_NEXT |= {"model_type": "qwen3_next", "full_attention_interval": 4, "shared_expert_intermediate_size": 48}
QWEN35 = QWEN3 | LINEAR | {"model_type": "qwen3_5_text", "full_attention_interval": 4, "mamba_ssm_dtype": "float32"}
INDEX = {"index_topk": 2048, "index_n_heads": 4, "index_head_dim": 16}
DEEPSEEK_V32 = DEEPSEEK | INDEX | {"model_type": "deepseek_v32"}
GLM_DSA = DEEPSEEK_V32 | {"model_type": "glm_moe_dsa", "indexer_types": ["full", "shared", "shared"] * 2}
DEEPSEEK_V4 = INDEX | {
    "model_type": "deepseek_v4",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "o_groups": 2,
    "o_lora_rank": 16,
    "sliding_window": 128,
    "compress_ratios": [0, 4, 128, 4, 0],
    "hc_mult": 4,
    "moe_intermediate_size": 32,
    "n_routed_experts": 16,
    "n_shared_experts": 1,
    "num_experts_per_tok": 4,
    "topk_method": "noaux_tc",
    "num_hash_layers": 2,
    "expert_dtype": "fp4",
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
}
KIMI_LINEAR = without(DEEPSEEK, "n_routed_experts", "n_shared_experts") | {
    "model_type": "kimi_linear",
    "num_experts": 16,
    "num_shared_experts": 2,
    "routed_expert_hidden_size": 32,
    "latent_moe_use_norm": True,
    "mla_use_output_gate": True,
    "linear_attn_config": {
        "kda_layers": [1, 2, 4, 5],
        "full_attn_layers": [3, 6],
        "num_heads": 4,
        "head_dim": 16,
        "short_conv_kernel_size": 4,
    },
}
MIMO_V2 = QWEN3 | {
    "model_type": "mimo_v2_flash",
    "v_head_dim": 8,
    "sliding_window": 128,
    "swa_num_attention_heads": 8,
    "swa_num_key_value_heads": 4,
    "swa_head_dim": 16,
    "swa_v_head_dim": 8,
    "hybrid_layer_pattern": [0, 1, 1, 0],
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    "moe_layer_freq": [0, 1, 1, 1],
    "moe_intermediate_size": 32,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "add_swa_attention_sink_bias": True,
    "topk_method": "noaux_tc",
}
MINIMAX_M3 = QWEN3 | {
    "model_type": "minimax_m3",
    "intermediate_size": 32,
    "dense_intermediate_size": 256,
    "shared_intermediate_size": 48,
    "n_shared_experts": 1,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "moe_layer_freq": [0, 1, 1, 1],
    "qk_norm_type": "per_head",
    "use_routing_bias": True,
    "sparse_attention_config": {
        "use_sparse_attention": True,
        "sparse_attention_freq": [0, 1, 1, 1],
        "sparse_topk_blocks": 16,
        "sparse_block_size": 128,
        "sparse_num_index_heads": 2,
        "sparse_index_dim": 16,
    },
}
GEMMA4 = QWEN3 | {
    "model_type": "gemma4_text",
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "sliding_window": 1024,
    "global_head_dim": 32,
    "num_global_key_value_heads": 1,
    "attention_k_eq_v": True,
    "num_kv_shared_layers": 1,
    "hidden_size_per_layer_input": 0,
    "enable_moe_block": True,
    "num_experts": 8,
    "top_k_experts": 2,
    "moe_intermediate_size": 32,
    "tie_word_embeddings": True,
}
LLAMA4 = LLAMA | {
    "model_type": "llama4_text",
    "head_dim": 8,
    "attention_chunk_size": 8192,
    "interleave_moe_layer_step": 2,
    "intermediate_size": 32,
    "intermediate_size_mlp": 256,
    "num_local_experts": 8,
    "num_experts_per_tok": 1,
}
STEP = QWEN3_MOE | {
    "model_type": "step3p7",
    "layer_types": ["full_attention", *["sliding_attention"] * 3],
    "sliding_window": 512,
    "share_expert_dim": 32,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "mlp_layer_types": ["dense", *["sparse"] * 3],
    "use_moe_router_bias": True,
}
NEMOTRON = {
    "model_type": "nemotron_h",
    "hidden_size": 64,
    "hybrid_override_pattern": "MEM*-E",
    "intermediate_size": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "ssm_state_size": 32,
    "n_groups": 2,
    "conv_kernel": 4,
    "mamba_ssm_cache_dtype": "float32",
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "moe_shared_expert_intermediate_size": 48,
    "moe_latent_size": 24,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
}
JAMBA = without(LLAMA, "torch_dtype") | {
    "model_type": "jamba",
    "attn_layer_period": 4,
    "attn_layer_offset": 2,
    "expert_layer_period": 2,
    "expert_layer_offset": 1,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "mamba_expand": 2,
    "mamba_d_state": 16,
    "mamba_d_conv": 4,
    "mamba_dt_rank": "auto",
}
MAMBA = {"hidden_size": 64, "num_hidden_layers": 4, "state_size": 16, "conv_kernel": 4, "vocab_size": 1000}
MAMBA1 = MAMBA | {"model_type": "mamba", "expand": 2, "time_step_rank": 4}
MAMBA2 = MAMBA | {"model_type": "mamba2", "num_heads": 8, "head_dim": 16, "n_groups": 2}


def nas_block(group: int | None, factor: float | None, **ffn: Any) -> dict[str, Any]:
    """A layer of Nemotron-NAS: query heads that share a KV head, and the factor of its width; None: no such block."""
    return {
        "attention": {"n_heads_in_group": group, "no_op": group is None},
        "ffn": {"ffn_mult": factor, "no_op": factor is None, **ffn},
    }


NAS = without(LLAMA, "num_key_value_heads", "intermediate_size") | {
    "model_type": "nemotron-nas",
    "block_configs": [nas_block(4, 6.0), nas_block(8, 12.0), nas_block(None, 6.0), nas_block(4, None)],
}
NAS_LINEAR = [nas_block(4, 6.0, replace_with_linear=True)] * 4
NAS_FACTOR = [nas_block(4, "x")] * 4  # type: ignore[arg-type]
FALCON = without(LLAMA, "num_key_value_heads") | {"model_type": "falcon", "multi_query": True, "parallel_attn": True}
CHATGLM = without(LLAMA, "num_key_value_heads", "vocab_size", "max_position_embeddings") | {
    "model_type": "chatglm",
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "padded_vocab_size": 1024,
    "seq_length": 8192,
}
EXPERTS = {"num_experts": 8, "num_local_experts": 8, "n_routed_experts": 8, "num_experts_per_tok": 2}
"""Experts by each of their common names."""
ALWAYS_ON = {"n_shared_experts": 1, "num_shared_experts": 1, "first_k_dense_replace": 1}
MHA = without(LLAMA, "num_key_value_heads")
GPT_BIGCODE = MHA | {"model_type": "gpt_bigcode", "multi_query": True}
MPT = {
    "model_type": "mpt",
    "d_model": 64,
    "n_heads": 8,
    "n_layers": 4,
    "max_seq_len": 512,
    "vocab_size": 1000,
    "no_bias": True,
    "attn_config": {"alibi": True, "qk_ln": False},
}
DBRX = without(MPT, "no_bias") | {
    "model_type": "dbrx",
    "attn_config": {"kv_n_heads": 2, "rope_theta": 500000.0},
    "ffn_config": {"hidden_size": 64, "ffn_hidden_size": 40, "moe_num_experts": 6, "moe_top_k": 2},
}
ERNIE_MOE = LLAMA | {
    "model_type": "ernie4_5_moe",
    "moe_num_experts": 8,
    "moe_k": 2,
    "moe_num_shared_experts": 2,
    "moe_intermediate_size": 32,
    "moe_layer_start_index": 1,
    "moe_layer_end_index": -1,
    "moe_layer_interval": 1,
}
HUNYUAN_MOE = LLAMA | {
    "model_type": "hunyuan_v1_moe",
    "head_dim": 16,
    "num_experts": 8,
    "moe_topk": [2, 2, 2, 2],
    "num_shared_expert": [1, 1, 1, 1],
    "moe_intermediate_size": [256, 256, 256, 256],
}
AFMOE = QWEN3_MOE | {
    "model_type": "afmoe",
    "num_dense_layers": 1,
    "num_shared_experts": 1,
    "sliding_window": 128,
    "layer_types": [*["sliding_attention"] * 3, "full_attention"],
}
LAGUNA = QWEN3_MOE | {
    "model_type": "laguna",
    "num_attention_heads_per_layer": [4, 8, 8, 8],
    "shared_expert_intermediate_size": 48,
    "layer_types": ["full_attention", *["sliding_attention"] * 3],
    "sliding_window": 128,
    "mlp_layer_types": ["dense", *["sparse"] * 3],
    "gating": "per-head",
}
COHERE2_MOE = QWEN3_MOE | {
    "model_type": "cohere2_moe",
    "sliding_window": 128,
    "first_k_dense_replace": 1,
    "prefix_dense_intermediate_size": 100,
    "num_shared_experts": 1,
}
BAMBA = LLAMA | {
    "model_type": "bamba",
    "attn_layer_indices": [2],
    "mamba_n_heads": 8,
    "mamba_d_head": "auto",
    "mamba_n_groups": 2,
    "mamba_d_state": 16,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
}
GRANITE_HYBRID = without(BAMBA, "attn_layer_indices") | {
    "model_type": "granitemoehybrid",
    "layer_types": ["mamba", "mamba", "attention", "mamba"],
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "shared_intermediate_size": 48,
}
LATENT_DENSE = without(
    DEEPSEEK,
    "moe_intermediate_size",
    "n_routed_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "first_k_dense_replace",
    "moe_layer_freq",
    "topk_method",
    "num_nextn_predict_layers",
)
_BY_TYPE = (
    QWEN3_NEXT,
    QWEN35,
    DEEPSEEK_V32,
    GLM_DSA,
    DEEPSEEK_V4,
    KIMI_LINEAR,
    MIMO_V2,
    MINIMAX_M3,
    GEMMA4,
    LLAMA4,
    STEP,
    NEMOTRON,
    JAMBA,
    MAMBA1,
    MAMBA2,
    NAS,
    FALCON,
    CHATGLM,
    GPT_BIGCODE,
    MPT,
    DBRX,
    ERNIE_MOE,
    HUNYUAN_MOE,
    AFMOE,
    LAGUNA,
    COHERE2_MOE,
    BAMBA,
    GRANITE_HYBRID,
)
SMALL: Mapping[str, dict[str, Any]] = {config["model_type"]: config for config in _BY_TYPE}
"""A file of each architecture that is more than a common transformer."""
_ALIKE = {
    "qwen3_5": QWEN35,
    "qwen3_5_moe": QWEN3_NEXT,
    "qwen3_5_moe_text": QWEN3_NEXT,
    "deepseek_ref": DEEPSEEK_V4,
    "minimax_m3_vl": MINIMAX_M3,
    "step3p5": STEP | {"num_sliding_attention_heads": 12},
    "falcon_mamba": MAMBA1,
    "deepseek_v2": without(DEEPSEEK, "topk_method", "num_nextn_predict_layers"),
    "mistral4": without(DEEPSEEK, "topk_method"),
    "glm4_moe_lite": DEEPSEEK | {"first_k_dense_replace": 1},
    "solar_open": QWEN3_MOE | {"n_routed_experts": 8, "n_shared_experts": 1},
    "helium": LLAMA | {"head_dim": 8},
    "opt": MHA | {"ffn_dim": 256, "word_embed_proj_dim": 64},
    **dict.fromkeys(("gpt2", "gptj", "bloom", "gpt_neox", "codegen"), MHA),
}


def small_file(model_type: str) -> dict[str, Any]:
    """Return a small file of an architecture, in which every key means what its own code makes of it."""
    base = SMALL.get(model_type) or _ALIKE.get(model_type) or _common(FAMILIES[model_type])
    return base | {"model_type": model_type}


def _common(family: Family) -> dict[str, Any]:
    """Return a file with the keys that most architectures read."""
    if family.mixers == "mla":
        return LATENT_DENSE if family.ffns == "dense" else DEEPSEEK
    base = (QWEN3 if family.head_dim_needed else LLAMA) | {"tie_word_embeddings": family.tied}
    if family.ffns != "moe":
        return base
    width = {} if family.expert_width == "intermediate_size" else {family.expert_width: 32}
    shared = {"shared_expert_intermediate_size": 48} if family.shared_gate else {}
    always_on = ALWAYS_ON if family.router_bias and family.name not in ("minimax-m2", "gpt-oss") else {}
    return base | EXPERTS | width | shared | always_on
