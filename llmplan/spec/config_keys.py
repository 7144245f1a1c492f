"""The keys of a `config.json`, by their meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping

NESTS = ("text_config", "language_config", "llm_config")
"""Where a model with other senses keeps its language model."""
SENSES = (
    "vision_config",
    "audio_config",
    "speech_config",
    "img_processor",
    "audio_processor",
    "talker_config",
    "code2wav_config",
    "token2wav_config",
)

HIDDEN = ("hidden_size", "hidden_dim", "n_embd", "n_embed", "d_model")
LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")
HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "num_attention_groups")
FFN = ("intermediate_size", "ffn_hidden_size", "ffn_dim", "n_inner", "ffn_embed_dim")
VOCABULARY = ("vocab_size", "padded_vocab_size")
CONTEXT = ("max_position_embeddings", "seq_length", "n_positions", "max_seq_len", "max_sequence_length")
EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts")
TOP_K = (
    "num_experts_per_tok",
    "experts_per_token",
    "num_experts_per_token",
    "top_k_experts",
    "moe_k",
    "moe_topk",
    "moe_top_k",
)
SHARED = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert")
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
FULL_EVERY = ("sliding_window_pattern", "_sliding_window_pattern", "global_attn_every_n_layers")
PLACEMENT = (
    "first_k_dense_replace",
    "num_dense_layers",
    "moe_layer_freq",
    "mlp_layer_types",
    "decoder_sparse_step",
    "mlp_only_layers",
)

ALWAYS: Mapping[str, str] = {
    "use_conv_bias": "state",
    "mamba_conv_bias": "state",
    "layer_norm_elementwise_affine": "block",
    "do_layer_norm_before": "block",
}
"""Keys that may be true only, with the kind of block that they would change."""
STATE_BIASES = ("use_bias", "mamba_proj_bias", "projectors_bias")
"""Keys that give the projections of a state layer a bias."""
ALIKE: Mapping[str, tuple[str, ...]] = {"word_embed_proj_dim": HIDDEN}
"""Keys of `BEYOND` that mean nothing where they equal another value."""

READ = {
    *EXPERTS, *TOP_K, *SHARED, *SHARED_WIDTH, *LATENT_WIDTH, *MTP, *LATENT, *PLACEMENT, *NESTS, *SENSES, *WINDOW,
    *HIDDEN, *LAYERS, *HEADS, *KV_HEADS, *FFN, *VOCABULARY, *CONTEXT,
    "model_type", "moe_intermediate_size", "head_dim", "attention_head_dim", "intermediate_size_mlp",
    "tie_word_embeddings", "attention_bias", "bias", "qkv_bias", "use_qkv_bias", "add_qkv_bias", "use_bias",
    "enable_bias", "attention_out_bias", "add_bias_linear", "no_bias", "mlp_bias", "use_conv_bias", "mamba_proj_bias",
    "use_qk_norm", "qk_norm_type", "use_sliding_window", "expand", "n_groups",
    "max_window_layers", "layer_types", *FULL_EVERY,
    "topk_method", "use_routing_bias", "add_swa_attention_sink_bias", "add_full_attention_sink_bias",
    "quantization_config", "thinker_config", "is_encoder_decoder", "attn_type_list", "use_mtp",
    "latent_moe_use_norm", "use_parallel_residual", "parallel_attn", "mlp_gated_linear_units",
    "hybrid_layer_ids", "rmsnorm", "prefix_dense_intermediate_size", "gating", "use_moe_router_bias", *ALWAYS,
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
    r"|attention_sink_size|for_llm_compressor|\w+_multipliers?|logits_scaling|normalization_function|init_method"
    r"|position_embedding_type|layer_switch|order_of_interleaved_layers|use_gated_activation|use_parallel_(block|embedding)"
    r"|use_embedding_sharing|use_grouped_mm|clip_qkv|moe_(capacity|gate|use_aux_free|norm_min|drop_tokens)|mup_\w+|route_\w+"
    r"|score_func|load_balance_coeff|num_expert_groups|num_limited_groups|scale_(emb|depth)|dim_model_base|compression_ratio"
    r"|cla_share_factor|norm_(eps|type)|use_rotary_pos_emb|use_mixed_mlp_moe|enable_audio_output|(speech|vision)_lora"
)
"""Keys that change neither a shape, nor a state, nor a format."""

BEYOND: Mapping[str, re.Pattern[str]] = {
    "attention": re.compile(
        r"index_\w+|indexer_\w+|compress_\w+|sparse_attention\w*|linear_\w+|full_attention_interval"
        r"|attention_chunk_size|attention_k_eq_v|num_kv_shared_layers|kv_sharing\w*|swa_\w+|hybrid_\w+"
        r"|num_global_key_value_heads|global_head_dim|o_lora_rank|o_groups|multi_query\w*|num_query_groups"
        r"|cross_attention\w*|add_cross_attention|attn_output_gate|attention_output_gate|kv_channels"
        r"|mla_use_\w+|layers_block_type|attn_layer_\w+|no_rope_layer\w*|lightning\w*|num_ln_in_parallel_attn"
        r"|new_decoder_architecture|qk_layernorm|attn_res_block_size|attn_config|use_cla|use_mla|attention_other_setting"
        r"|num_sliding_attention_heads|num_attention_heads_per_layer"
    ),
    "state": re.compile(r"mamba_\w+|ssm_\w+|state_size|conv_kernel|time_step_\w+|rwkv\w*|recurrent_\w+"),
    "expert": re.compile(
        r"moe_latent_size|routed_expert_hidden_size|interleave_moe_layer_step|expert_layer_\w+|expert_dtype"
        r"|enable_moe_block|shared_expert_intermediate_size|moe_shared_expert_intermediate_size"
        r"|shared_intermediate_size|share_expert_dim|zero_expert\w*|num_zero_experts|dense_intermediate_size"
        r"|ffn_config|moe_layers_enum|moe_layer_start_index|moe_layer_end_index|moe_layer_interval"
    ),
    "block": re.compile(
        r"block_configs|is_encoder_decoder|encoder_layers|decoder_layers|hidden_size_per_layer_input"
        r"|altup_\w+|hc_\w+|lm_head_bias|num_hash_layers"
        r"|use_double_wide_mlp|adapter_\w+|word_embed_proj_dim"
    ),
}
"""Keys of blocks that only some architectures have, by the kind of block: elsewhere they are an error."""
