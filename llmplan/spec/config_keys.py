"""The architectures whose `config.json` llmplan reads, and the keys of such a file, by their meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from llmplan.spec.model import Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the code of an architecture fixes and its `config.json` leaves unsaid."""

    name: str
    mixers: str = "gqa"
    """Reader of attention and states, by its name in `config_layers.MIXERS`."""
    ffns: str = "dense"
    """Reader of feed-forward blocks, by its name in `config_ffns.READERS`."""
    understands: str = ""
    """Pattern of those keys of `BEYOND` that mean something here."""
    qkv_bias: bool = False
    """Queries, keys and values have a bias whatever `attention_bias` says."""
    attention_bias: bool = False
    """A missing `attention_bias`."""
    output_bias: bool = True
    """`attention_bias` means the output projection too."""
    qk_norm: Literal["none", "per_head", "full"] = "none"
    use_qk_norm: bool = True
    """A missing `use_qk_norm`, for a family with such a norm."""
    output_gate: Gate = "none"
    sinks: bool = False
    norms_per_layer: int = 2
    sparse_norms: int = 0
    """Norms more in a layer with experts."""
    norm_bias: bool = False
    embedding_norm: bool = False
    head_bias: bool = False
    ffn_bias: bool = False
    plain_ffn: bool = False
    """Feed-forward blocks have no gate."""
    wide_ffn: int = 1
    """`intermediate_size` is so many times the width (Qwen 1)."""
    positions: int | None = None
    """Rows that a learned table of positions has beyond the context; null: no such table."""
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
    expert_width: str = "moe_intermediate_size"
    """Key of an expert's width."""
    dense_width: str = "intermediate_size"
    """Key of the width of dense layers beside the experts."""
    gated_experts: bool = True
    shared_gate: bool = False
    always_shared: int = 0
    """Shared experts that no key counts."""
    router_bias: bool = False
    """A missing `topk_method` and `use_routing_bias`."""
    expert_bias: bool = False
    block_path: str = "mlp"
    """Name of the feed-forward block in the checkpoint."""
    expert_path: str = "mlp"
    """Name of the block of experts in the checkpoint."""
    shared_path: str = "mlp.shared_experts"
    attention_path: str = "self_attn"
    state_path: str = "linear_attn"
    defaults: Mapping[str, int] = field(default_factory=dict)
    """Values that published files of this architecture leave out."""


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

NESTS = ("text_config", "language_config", "llm_config")
"""Where a model with other senses keeps its language model."""
SENSES = ("vision_config", "audio_config", "speech_config", "img_processor")

HIDDEN = ("hidden_size", "hidden_dim", "n_embd", "d_model")
LAYERS = ("num_hidden_layers", "num_layers", "n_layer")
HEADS = ("num_attention_heads", "n_head", "num_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
FFN = ("intermediate_size", "ffn_hidden_size", "ffn_dim", "n_inner", "ffn_embed_dim")
VOCABULARY = ("vocab_size", "padded_vocab_size")
CONTEXT = ("max_position_embeddings", "seq_length", "n_positions", "max_seq_len", "max_sequence_length")
EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts")
TOP_K = ("num_experts_per_tok", "experts_per_token", "num_experts_per_token", "top_k_experts")
SHARED = ("n_shared_experts", "num_shared_experts")
SHARED_WIDTH = (
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "shared_intermediate_size",
    "share_expert_dim",
)
LATENT_WIDTH = ("moe_latent_size", "routed_expert_hidden_size")
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
    *EXPERTS, *TOP_K, *SHARED, *SHARED_WIDTH, *LATENT_WIDTH, *MTP, *LATENT, *PLACEMENT, *NESTS, *SENSES, *WINDOW,
    *HIDDEN, *LAYERS, *HEADS, *KV_HEADS, *FFN, *VOCABULARY, *CONTEXT,
    "model_type", "moe_intermediate_size", "head_dim", "attention_head_dim", "intermediate_size_mlp",
    "tie_word_embeddings", "attention_bias", "bias", "qkv_bias", "use_qkv_bias", "add_qkv_bias", "use_bias",
    "add_bias_linear", "no_bias", "mlp_bias", "use_conv_bias", "mamba_proj_bias",
    "use_qk_norm", "qk_norm_type", "use_sliding_window", "expand", "n_groups",
    "max_window_layers", "layer_types", "sliding_window_pattern", "_sliding_window_pattern",
    "topk_method", "use_routing_bias", "add_swa_attention_sink_bias", "add_full_attention_sink_bias",
    "quantization_config", "is_encoder_decoder", "attn_type_list", "use_mtp",
    "latent_moe_use_norm", "use_parallel_residual", "parallel_attn", "mlp_gated_linear_units",
    "hybrid_layer_ids", "rmsnorm", "use_moe_router_bias",
}  # fmt: skip
"""Keys with a meaning for llmplan."""

WITHOUT_EFFECT = re.compile(
    r"_.*|.*(_token_ids?|_token_index|_words_ids|dropout|dropout_prob|_pdrop|_eps|epsilon|softcapping|placeholder|_note)"
    r"|(rope|rotary|router|output|vision|image|video|audio|mm|projector|multimodal|beam|num_beam)_\w+"
    r"|architectures|attn_implementation|auto_map|aux_loss_alpha|bad_words_ids|cache_implementation"
    r"|chunk_size_feed_forward|decoder_start_token_id|diversity_penalty|do_sample|dtype|early_stopping|ep_size"
    r"|encoder_no_repeat_ngram_size|exponential_decay_length_penalty|finetuning_task|hidden_act|hidden_activation"
    r"|id2label|ignore_index"
    r"|initial_context_length|initializer_range|is_decoder|label2id|language_model_only|length_penalty"
    r"|logit_scale|max_length|min_length|model_max_length|mtp_transformer_layers|mtp_use_dedicated_embeddings"
    r"|moe_router_\w+|n_group|no_repeat_ngram_size|norm_topk_prob|num_return_sequences|num_beams"
    r"|original_max_position_embeddings|partial_rotary_factor|prefix|pretraining_tp|problem_type|pruned_heads"
    r"|qk_head_dim|query_pre_attn_scalar|remove_invalid_values|repetition_penalty|return_dict\w*"
    r"|routed_scaling_factor|scale_fmt|scoring_func|seq_aux|suppress_tokens|begin_suppress_tokens|swiglu_\w+"
    r"|task_specific_params|temperature|tf_legacy_loss|tie_encoder_decoder|tokenizer_class|top_k|top_p"
    r"|topk_group|torch_dtype|torchscript|transformers\S*|typical_p|use_bfloat16|use_cache"
    r"|use_bidirectional_attention|use_mrope|use_unified_vision_chunk|spatial_merge_size"
    r"|activation\w*|num_logits_to_keep|residual_in_fp32|rescale_prenorm_residual|use_mamba\w*"
    r"|use_associative_scan|use_gemma_norm|use_grouped_topk|num_expert_group|moe_renormalize|mlp_hidden_act"
    r"|moe_shared_expert_overlap|mtp_\w*pattern|mtp_layers_block_type|prefill_chunk_size|context_window_size"
    r"|mamba_hidden_act|attention_value_scale|mlp_type|norm_type|name|alibi|scale_attn_weights|scale_attention_\w+"
    r"|attention_softmax_in_fp32|flash_\w+|fused_dense|use_flash_attn|use_logn_attn|use_dynamic_ntk|bf16|fp16"
    r"|post_layer_norm|original_rope|fp32_residual_connection|bias_dropout_fusion|apply_\w+|embd_layer"
    r"|vocab_size_per_layer_input|expert_intermediate_size|chunk_size|use_long_context|process_image_mode"
    r"|img_token_\w+|num_reward_heads|yarn\w*|is_llama_config|input_jitter_noise|full_attn_mod|interpolate_factor"
    r"|attention_sink_size|for_llm_compressor"
)
"""Keys that change neither a shape, nor a state, nor a format."""

BEYOND: Mapping[str, re.Pattern[str]] = {
    "attention": re.compile(
        r"index_\w+|indexer_\w+|compress_\w+|sparse_attention\w*|linear_\w+|full_attention_interval"
        r"|attention_chunk_size|attention_k_eq_v|num_kv_shared_layers|kv_sharing\w*|swa_\w+|hybrid_\w+"
        r"|num_global_key_value_heads|global_head_dim|o_lora_rank|o_groups|multi_query\w*|num_query_groups"
        r"|cross_attention\w*|add_cross_attention|attn_output_gate|attention_output_gate|kv_channels"
        r"|mla_use_\w+|layers_block_type|attn_layer_\w+|no_rope_layer\w*|lightning\w*|num_ln_in_parallel_attn"
        r"|new_decoder_architecture|qk_layernorm|attn_res_block_size"
    ),
    "state": re.compile(r"mamba_\w+|ssm_\w+|state_size|conv_kernel|time_step_\w+|rwkv\w*|recurrent_\w+"),
    "expert": re.compile(
        r"moe_latent_size|routed_expert_hidden_size|interleave_moe_layer_step|expert_layer_\w+|expert_dtype"
        r"|enable_moe_block|shared_expert_intermediate_size|moe_shared_expert_intermediate_size"
        r"|shared_intermediate_size|share_expert_dim|zero_expert\w*|num_zero_experts|dense_intermediate_size"
    ),
    "block": re.compile(
        r"block_configs|is_encoder_decoder|encoder_layers|decoder_layers|hidden_size_per_layer_input"
        r"|altup_\w+|hc_\w+|lm_head_bias|thinker_config|talker_config|num_hash_layers"
        r"|use_double_wide_mlp|adapter_\w+|word_embed_proj_dim"
    ),
}
"""Keys of blocks that only some architectures have, by the kind of block: elsewhere they are an error."""
