"""The architectures whose `config.json` llmplan reads, and the keys of such a file, by their meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the code of an architecture fixes and its `config.json` leaves unsaid."""

    name: str
    latent: bool = False
    """Attention over a latent (MLA)."""
    qkv_bias: bool = False
    """Queries, keys and values have a bias whatever `attention_bias` says."""
    attention_bias: bool = False
    """A missing `attention_bias`."""
    output_bias: bool = True
    """`attention_bias` means the output projection too."""
    qk_norm: Literal["none", "per_head", "full"] = "none"
    use_qk_norm: bool = True
    """A missing `use_qk_norm`, for a family with such a norm."""
    sinks: bool = False
    norms_per_layer: int = 2
    tied: bool = False
    """A missing `tie_word_embeddings`."""
    window: Literal["none", "all", "switched", "pattern"] = "none"
    """The layers that `sliding_window` binds where there is no `layer_types`."""
    full_every: int = 1
    """`pattern`: one layer in so many sees every token."""
    kv_heads_needed: bool = True
    """A missing `num_key_value_heads` does not mean one for each head."""
    head_dim_needed: bool = False
    """A missing `head_dim` does not mean hidden_size / heads."""
    expert_width: str = ""
    """Key of an expert's width; empty: an architecture without experts."""
    expert_path: str = "mlp"
    """Name of the block of experts in the checkpoint."""
    router_bias: bool = False
    """A missing `topk_method` and `use_routing_bias`."""
    expert_bias: bool = False
    defaults: Mapping[str, int] = field(default_factory=dict)
    """Values that published files of this architecture leave out."""


_LLAMA = Family(name="llama", kv_heads_needed=False)
_MISTRAL = Family(name="mistral", window="all")
_QWEN2 = Family(name="qwen2", qkv_bias=True, output_bias=False, window="switched")
_QWEN3 = Family(name="qwen3", qk_norm="per_head", head_dim_needed=True, window="switched")
_QWEN3_MOE = replace(_QWEN3, name="qwen3-moe", expert_width="moe_intermediate_size")
_GEMMA = Family(name="gemma", tied=True, head_dim_needed=True)
_OLMO2 = Family(name="olmo2", qk_norm="full", kv_heads_needed=False)
_DEEPSEEK_V2 = Family(name="deepseek", latent=True, expert_width="moe_intermediate_size")
_DEEPSEEK_V3 = replace(_DEEPSEEK_V2, router_bias=True)

FAMILIES: Mapping[str, Family] = {
    "llama": _LLAMA,
    "internlm2": replace(_LLAMA, name="internlm2"),
    "cohere": Family(
        name="cohere", kv_heads_needed=False, norms_per_layer=1, tied=True, qk_norm="full", use_qk_norm=False
    ),
    "phi3": Family(name="phi3", kv_heads_needed=False, window="all"),
    "mistral": _MISTRAL,
    "ministral3": replace(_MISTRAL, head_dim_needed=True),
    "mixtral": replace(_MISTRAL, name="mixtral", expert_width="intermediate_size", expert_path="block_sparse_moe"),
    "qwen2": _QWEN2,
    "mimo": replace(_QWEN2, name="mimo"),
    "qwen3": _QWEN3,
    "qwen3_vl_text": _QWEN3,
    "qwen3_moe": _QWEN3_MOE,
    "qwen3_vl_moe_text": _QWEN3_MOE,
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
    "olmo2": _OLMO2,
    "olmo3": replace(_OLMO2, name="olmo3", window="pattern", full_every=4),
    "gpt_oss": Family(
        name="gpt-oss",
        attention_bias=True,
        sinks=True,
        window="pattern",
        full_every=2,
        head_dim_needed=True,
        expert_width="intermediate_size",
        router_bias=True,
        expert_bias=True,
    ),
    "deepseek": Family(name="deepseek-moe", expert_width="moe_intermediate_size"),
    "deepseek_v2": _DEEPSEEK_V2,
    "deepseek_v3": _DEEPSEEK_V3,
    "kimi_k2": _DEEPSEEK_V3,
    "glm4_moe": Family(
        name="glm4-moe",
        output_bias=False,
        qk_norm="per_head",
        use_qk_norm=False,
        head_dim_needed=True,
        expert_width="moe_intermediate_size",
        router_bias=True,
    ),
    "minimax_m2": Family(
        name="minimax-m2",
        qk_norm="full",
        head_dim_needed=True,
        expert_width="intermediate_size",
        expert_path="block_sparse_moe",
        router_bias=True,
    ),
}
"""The architectures that are read, by `model_type`."""

NESTS = ("text_config", "language_config", "llm_config")
"""Where a model with other senses keeps its language model."""
SENSES = ("vision_config", "audio_config", "speech_config")

EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts")
TOP_K = ("num_experts_per_tok", "experts_per_token", "num_experts_per_token")
SHARED = ("n_shared_experts", "num_shared_experts")
MTP = ("num_nextn_predict_layers", "num_mtp_modules", "mtp_num_hidden_layers")
LATENT = ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
WINDOW = ("sliding_window", "sliding_window_size")
PLACEMENT = (
    "first_k_dense_replace",
    "moe_layer_freq",
    "mlp_layer_types",
    "decoder_sparse_step",
    "mlp_only_layers",
)

READ = {
    *EXPERTS, *TOP_K, *SHARED, *MTP, *LATENT, *PLACEMENT, *NESTS, *SENSES,
    "model_type", "hidden_size", "intermediate_size", "moe_intermediate_size", "vocab_size",
    "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "max_position_embeddings", "tie_word_embeddings", "attention_bias", "bias", "qkv_bias", "mlp_bias",
    "use_qk_norm", "qk_norm_type", "sliding_window", "sliding_window_size", "use_sliding_window",
    "max_window_layers", "layer_types", "sliding_window_pattern", "_sliding_window_pattern",
    "topk_method", "use_routing_bias",
    "quantization_config", "is_encoder_decoder", "attn_type_list", "use_mtp",
}  # fmt: skip
"""Keys with a meaning for llmplan."""

WITHOUT_EFFECT = re.compile(
    r"_.*|.*(_token_ids?|_token_index|_words_ids|dropout|_pdrop|_eps|epsilon|softcapping|placeholder|_note)"
    r"|(rope|rotary|router|output|vision|image|video|audio|mm|projector|multimodal|beam|num_beam)_\w+"
    r"|architectures|attn_implementation|auto_map|aux_loss_alpha|bad_words_ids|cache_implementation"
    r"|chunk_size_feed_forward|decoder_start_token_id|diversity_penalty|do_sample|dtype|early_stopping|ep_size"
    r"|encoder_no_repeat_ngram_size|exponential_decay_length_penalty|finetuning_task|hidden_act|hidden_activation"
    r"|id2label|ignore_index"
    r"|initial_context_length|initializer_range|is_decoder|label2id|language_model_only|length_penalty"
    r"|logit_scale|max_length|min_length|model_max_length|mtp_transformer_layers|mtp_use_dedicated_embeddings"
    r"|moe_router_dtype|n_group|no_repeat_ngram_size|norm_topk_prob|num_return_sequences|num_beams"
    r"|original_max_position_embeddings|partial_rotary_factor|prefix|pretraining_tp|problem_type|pruned_heads"
    r"|qk_head_dim|query_pre_attn_scalar|remove_invalid_values|repetition_penalty|return_dict\w*"
    r"|routed_scaling_factor|scale_fmt|scoring_func|seq_aux|suppress_tokens|begin_suppress_tokens|swiglu_limit"
    r"|task_specific_params|temperature|tf_legacy_loss|tie_encoder_decoder|tokenizer_class|top_k|top_p"
    r"|topk_group|torch_dtype|torchscript|transformers\S*|typical_p|use_bfloat16|use_cache"
    r"|use_bidirectional_attention|use_mrope|use_unified_vision_chunk|spatial_merge_size"
)
"""Keys that change neither a shape, nor a state, nor a format."""

BEYOND: Mapping[str, re.Pattern[str]] = {
    "attention": re.compile(
        r"index_\w+|indexer_\w+|compress_\w+|sparse_attention\w*|linear_\w+|full_attention_interval"
        r"|attention_chunk_size|attention_k_eq_v|num_kv_shared_layers|kv_sharing\w*|swa_\w+|hybrid_\w+"
        r"|num_global_key_value_heads|global_head_dim|o_lora_rank|o_groups|multi_query\w*|num_query_groups"
        r"|cross_attention\w*|add_cross_attention|attn_output_gate|attention_output_gate"
        r"|mla_use_\w+|layers_block_type|attn_layer_\w+|no_rope_layers|lightning\w*"
    ),
    "state": re.compile(r"mamba_\w+|ssm_\w+|state_size|conv_kernel|time_step_\w+|rwkv\w*|recurrent_\w+"),
    "expert": re.compile(
        r"moe_latent_size|routed_expert_hidden_size|interleave_moe_layer_step|expert_layer_\w+|expert_dtype"
        r"|enable_moe_block|shared_expert_intermediate_size|moe_shared_expert_intermediate_size"
        r"|shared_intermediate_size|share_expert_dim|zero_expert\w*|num_zero_experts|dense_intermediate_size"
    ),
    "block": re.compile(
        r"block_configs|is_encoder_decoder|encoder_layers|decoder_layers|hidden_size_per_layer_input"
        r"|altup_\w+|hc_\w+|attn_res_block_size|lm_head_bias|thinker_config|talker_config|num_hash_layers"
        r"|use_double_wide_mlp|adapter_\w+"
    ),
}
"""Keys of blocks that llmplan does not model yet, by the kind of block."""
