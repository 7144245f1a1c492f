"""The architectures whose `config.json` llmplan reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from llmplan.spec.config_family import Family

_LLAMA = Family(name="llama", kv_heads_needed=False)
_MISTRAL = Family(name="mistral", window="all")
_QWEN2 = Family(name="qwen2", qkv_bias=True, output_bias=False, window="switched")
_QWEN3 = Family(name="qwen3", qk_norm="per_head", head_dim_needed=True, window="switched")
_QWEN3_MOE = replace(_QWEN3, name="qwen3-moe", ffns="moe")
_QWEN3_NEXT = replace(
    _QWEN3_MOE,
    name="qwen3-next",
    mixers="gated-delta",
    understands=r"linear_\w+|full_attention_interval|attn_output_gate|shared_expert_intermediate_size|mamba_ssm_dtype",
    output_gate="element",
    shared_gate=True,
    shared_path="mlp.shared_expert",
)
_QWEN35_MOE = replace(_QWEN3_NEXT, name="qwen3.5-moe")
_QWEN35 = replace(_QWEN3_NEXT, name="qwen3.5", ffns="dense")
_GEMMA = Family(name="gemma", tied=True, head_dim_needed=True)
_OLMO2 = Family(name="olmo2", qk_norm="full", kv_heads_needed=False)
_DEEPSEEK_V2 = Family(name="deepseek", mixers="mla", ffns="moe")
_DEEPSEEK_V3 = replace(_DEEPSEEK_V2, router_bias=True)
_DEEPSEEK_V32 = replace(_DEEPSEEK_V3, name="deepseek-v32", mixers="indexed-mla", understands=r"index_\w+|indexer_\w+")
_DEEPSEEK_V4 = replace(
    _DEEPSEEK_V3,
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
_GPT2 = Family(
    name="gpt2",
    kv_heads_needed=False,
    attention_bias=True,
    ffn_bias=True,
    plain_ffn=True,
    norm_bias=True,
    positions=0,
    tied=True,
)
_PHI = replace(_GPT2, name="phi", norms_per_layer=1, head_bias=True, positions=None, tied=False)
_MAMBA2 = Family(
    name="mamba2",
    mixers="mamba2",
    ffns="none",
    understands=r"state_size|conv_kernel|time_step_\w+",
    defaults={"max_position_embeddings": 2**20},  # a state has no longest context; this stands for none
)

FAMILIES: Mapping[str, Family] = {
    "llama": _LLAMA,
    "internlm2": replace(_LLAMA, name="internlm2"),
    "cohere": Family(
        name="cohere", kv_heads_needed=False, norms_per_layer=1, tied=True, qk_norm="full", use_qk_norm=False
    ),
    "phi3": Family(name="phi3", kv_heads_needed=False, window="all"),
    "phi3_v": Family(name="phi3", kv_heads_needed=False, window="all"),
    "mistral": _MISTRAL,
    "ministral3": replace(_MISTRAL, head_dim_needed=True),
    "mixtral": replace(
        _MISTRAL, name="mixtral", ffns="moe", expert_width="intermediate_size", expert_path="block_sparse_moe"
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
    "qwen": Family(
        name="qwen", kv_heads_needed=False, qkv_bias=True, output_bias=False, wide_ffn=2, understands="kv_channels"
    ),
    "qwen2": _QWEN2,
    "qwen2_moe": replace(
        _QWEN2,
        name="qwen2-moe",
        ffns="moe",
        shared_gate=True,
        shared_path="mlp.shared_expert",
        understands="shared_expert_intermediate_size",
    ),
    "mimo": replace(_QWEN2, name="mimo"),
    "mimo_v2_flash": Family(
        name="mimo-v2",
        mixers="mimo-v2",
        ffns="moe",
        understands=r"swa_\w+|hybrid_layer_pattern|attention_chunk_size",
        head_dim_needed=True,
        router_bias=True,
    ),
    "qwen3": _QWEN3,
    "qwen3_vl_text": _QWEN3,
    "qwen3_moe": _QWEN3_MOE,
    "qwen3_vl_moe_text": _QWEN3_MOE,
    "qwen3_next": _QWEN3_NEXT,
    "qwen3_5_text": _QWEN35,
    "qwen3_5": _QWEN35,
    "qwen3_5_moe_text": _QWEN35_MOE,
    "qwen3_5_moe": _QWEN35_MOE,
    "gemma": _GEMMA,
    "gemma2": replace(_GEMMA, name="gemma2", norms_per_layer=4, window="pattern", full_every=2),
    "gemma3_text": replace(
        _GEMMA,
        name="gemma3",
        norms_per_layer=4,
        qk_norm="per_head",
        window="pattern",
        full_every=6,
        defaults={  # Gemma3TextConfig of transformers: the file of gemma-3-4b-it names none of them
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "vocab_size": 262208,
            "max_position_embeddings": 131072,
        },
    ),
    "gemma4_text": replace(
        _GEMMA,
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
    "olmo2": _OLMO2,
    "olmo3": replace(_OLMO2, name="olmo3", window="pattern", full_every=4),
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
    "deepseek_v3": _DEEPSEEK_V3,
    "kimi_k2": _DEEPSEEK_V3,
    "deepseek_v32": _DEEPSEEK_V32,
    "glm_moe_dsa": replace(_DEEPSEEK_V32, name="glm-dsa"),
    "deepseek_v4": _DEEPSEEK_V4,
    "deepseek_ref": _DEEPSEEK_V4,
    "kimi_linear": replace(
        _DEEPSEEK_V3,
        name="kimi-linear",
        mixers="kimi-linear",
        understands=r"linear_attn_config|mla_use_\w+|routed_expert_hidden_size|attn_res_block_size",
        expert_path="block_sparse_moe",
        shared_path="block_sparse_moe.shared_experts",
        state_path="self_attn",
    ),
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
    "nemotron-nas": Family(name="nemotron-nas", mixers="nas", ffns="nas", understands="block_configs"),
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
    "gpt2": _GPT2,
    "opt": replace(_GPT2, name="opt", positions=2),
    "bloom": replace(
        _GPT2, name="bloom", positions=None, embedding_norm=True, defaults={"max_position_embeddings": 2048}
    ),
    "gptj": replace(_PHI, name="gptj", attention_bias=False),
    "phi": _PHI,
    "phi-msft": _PHI,
    "falcon": replace(
        _GPT2,
        name="falcon",
        mixers="falcon",
        attention_bias=False,
        ffn_bias=False,
        norms_per_layer=1,
        positions=None,
        understands=r"multi_query|new_decoder_architecture|num_ln_in_parallel_attn",
    ),
    "starcoder2": replace(_GPT2, name="starcoder2", window="all", positions=None),
    "stablelm": Family(name="stablelm", kv_heads_needed=False, output_bias=False, norm_bias=True),
    "chatglm": Family(
        name="chatglm",
        mixers="chatglm",
        qkv_bias=True,
        output_bias=False,
        understands=r"multi_query\w*|kv_channels",
    ),
}
"""The architectures that are read, by `model_type`."""
