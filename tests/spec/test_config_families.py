"""What the reader makes of architectures that are more than a common transformer."""

from __future__ import annotations

import pytest
from small_configs import (
    AFMOE,
    BAMBA,
    CHATGLM,
    COHERE2_MOE,
    DBRX,
    DEEPSEEK,
    DEEPSEEK_V4,
    DEEPSEEK_V32,
    ERNIE_MOE,
    FALCON,
    FP8,
    GEMMA4,
    GLM_DSA,
    GPT_BIGCODE,
    GRANITE_HYBRID,
    HUNYUAN_MOE,
    JAMBA,
    KIMI_LINEAR,
    LAGUNA,
    LLAMA,
    LLAMA4,
    MAMBA2,
    MIMO_V2,
    MINIMAX_M3,
    MPT,
    NAS,
    NEMOTRON,
    QWEN3,
    QWEN3_MOE,
    QWEN3_NEXT,
    QWEN35,
    STEP,
    WHERE,
    without,
)

from llmplan.errors import InputError
from llmplan.spec.config_json import model_from_config
from llmplan.spec.model import Compressed, Delta, Ffn, Gqa, Indexer, Mamba1, Mamba2, Mla, Model, Moe, Repeated
from llmplan.spec.parameters import mtp_parameters, parameters


def read(config, **changes):
    return model_from_config(config | changes, WHERE)[0]


def order(model: Model):
    return [(run.count, run.attention, run.ffn) for run in model.layers_in_order()]


# ---- hybrids of attention and state ----


def test_qwen3_next_has_attention_in_every_fourth_layer_and_states_in_the_others():
    model = read(QWEN3_NEXT)
    assert order(model) == [(3, "delta", "moe"), (1, "full", "moe")]
    linear, full = model.attention["delta"], model.attention["full"]
    assert linear == Delta(
        kind="delta", key_heads=2, value_heads=4, key_head_dim=8, value_head_dim=16, conv_kernel=4, state_dtype="fp32"
    )
    assert isinstance(full, Gqa)
    assert (full.output_gate, full.qk_norm) == ("element", "per_head")
    moe = model.ffn["moe"]
    assert isinstance(moe, Moe)
    assert (moe.shared_experts, moe.shared_intermediate_size, moe.shared_gate) == (1, 48, True)


def test_qwen35_says_in_what_format_its_state_is_kept():
    assert read(QWEN35).attention["delta"].state_dtype == "fp32"
    assert read(QWEN35, mamba_ssm_dtype="bfloat16").attention["delta"].state_dtype == "bf16"
    assert isinstance(read(QWEN35).ffn["dense"], Ffn)


def test_kimi_counts_its_state_layers_from_one():
    model = read(KIMI_LINEAR)
    assert order(model) == [(2, "delta", "dense"), (1, "mla", "moe"), (2, "delta", "moe"), (1, "mla", "moe")]
    linear = model.attention["delta"]
    assert isinstance(linear, Delta)
    assert (linear.decay, linear.low_rank_gate, linear.value_heads) == ("channel", True, 4)
    wide = {**KIMI_LINEAR["linear_attn_config"], "use_full_rank_gate": True}
    assert not read(KIMI_LINEAR, linear_attn_config=wide).attention["delta"].low_rank_gate
    assert model.attention["mla"].output_gate == "element"
    moe = model.ffn["moe"]
    assert isinstance(moe, Moe)
    assert (moe.latent_size, moe.latent_norm, moe.shared_experts, moe.router_bias) == (32, True, 2, True)


def test_nemotron_h_has_one_block_in_each_layer():
    model = read(NEMOTRON)
    assert order(model) == [
        (1, "mamba2", None),
        (1, None, "moe"),
        (1, "mamba2", None),
        (1, "full", None),
        (1, None, "dense"),
        (1, None, "moe"),
    ]
    assert model.attention["mamba2"] == Mamba2(
        kind="mamba2", heads=8, head_dim=16, state_size=32, groups=2, conv_kernel=4
    )
    moe, dense = model.ffn["moe"], model.ffn["dense"]
    assert isinstance(moe, Moe)
    assert (moe.gated, moe.latent_size, moe.shared_intermediate_size, moe.matrices) == (False, 24, 48, 2)
    assert dense == Ffn(kind="plain", intermediate_size=256)
    assert parameters(model)["norms"] == 6 * 64 + 64


def test_a_list_of_layers_says_the_same_as_a_pattern():
    kinds = ["mamba", "moe", "mamba", "attention", "mlp", "moe"]
    listed = read(without(NEMOTRON, "hybrid_override_pattern"), layers_block_type=kinds)
    assert listed == read(NEMOTRON)


def test_jamba_alternates_states_and_experts():
    model = read(JAMBA)
    assert order(model) == [(1, "mamba1", "dense"), (1, "mamba1", "moe"), (1, "full", "dense"), (1, "mamba1", "moe")]
    assert model.attention["mamba1"] == Mamba1(
        kind="mamba1", inner_size=128, state_size=16, dt_rank=4, conv_kernel=4, inner_norms=True
    )


def test_a_mamba_has_nothing_but_states():
    model = read(MAMBA2)
    assert order(model) == [(4, "mamba2", None)]
    assert model.ffn == {}
    assert model.max_context_tokens == 2**20


def test_bamba_and_granite_name_the_layers_that_attend():
    model = read(BAMBA)
    assert order(model) == [(2, "mamba2", "dense"), (1, "full", "dense"), (1, "mamba2", "dense")]
    assert model.attention["mamba2"] == Mamba2(
        kind="mamba2", heads=8, head_dim=16, state_size=16, groups=2, conv_kernel=4
    )
    assert read(GRANITE_HYBRID).layers[1].attention == "full"
    kinds = ["linear_attention", "linear_attention", "full_attention", "linear_attention"]
    assert read(without(GRANITE_HYBRID, "layer_types"), layers_block_type=kinds) == read(GRANITE_HYBRID)
    with pytest.raises(InputError, match="attn_layer_indices"):
        read(BAMBA, attn_layer_indices=[4])
    with pytest.raises(InputError, match="8 heads of 24 are not 128 wide"):
        read(BAMBA, mamba_d_head=24)


def test_granite_without_experts_has_the_shared_one_as_its_dense_block():
    moe = read(GRANITE_HYBRID).ffn["moe"]
    assert isinstance(moe, Moe)
    assert (moe.intermediate_size, moe.shared_experts, moe.shared_intermediate_size) == (256, 1, 48)
    assert read(GRANITE_HYBRID, num_local_experts=0).ffn == {"dense": Ffn(kind="gated", intermediate_size=48)}


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (BAMBA, {"mamba_proj_bias": True}),
        (BAMBA, {"mamba_conv_bias": False}),
        (MAMBA2, {"use_bias": True}),
        (MAMBA2, {"use_conv_bias": False}),
    ],
)
def test_a_state_with_other_biases_is_not_guessed(config, changes):
    with pytest.raises(InputError, match="unknown state kind"):
        read(config, **changes)


# ---- what attention reads ----


def test_an_indexer_chooses_tokens_for_its_layer_or_for_later_ones():
    own = read(DEEPSEEK_V32).attention["mla"]
    assert isinstance(own, Mla)
    assert (own.sparse_tokens, own.indexer) == (2048, Indexer(heads=4, head_dim=16))
    model = read(GLM_DSA)
    assert order(model)[:3] == [(1, "mla", "dense"), (1, "mla_2", "dense"), (1, "mla_2", "moe")]
    assert model.attention["mla_2"].sparse_tokens == 2048
    assert model.attention["mla_2"].indexer is None


def test_deepseek_v4_compresses_by_the_ratio_of_each_layer():
    model = read(DEEPSEEK_V4)
    window, chosen, all_read = (model.attention[name] for name in ("compressed", "compressed_2", "compressed_3"))
    assert isinstance(window, Compressed)
    assert (window.compress_ratio, window.indexer) == (None, None)
    assert (chosen.compress_ratio, chosen.sparse_tokens) == (4, 4 * 2048)
    assert (all_read.compress_ratio, all_read.sparse_tokens, all_read.indexer) == (128, None, None)
    assert model.residual_streams == 4
    assert [name for _, name, _ in order(model)] == ["compressed", "compressed_2", "compressed_3", "compressed_2"]


def test_its_experts_may_have_a_format_of_their_own():
    weights = read(DEEPSEEK_V4 | FP8).weights
    assert weights.dtype == "mxfp4"
    assert weights.shares("attention") == weights.shares("shared_experts") == {"fp8": 1}
    assert read(without(DEEPSEEK_V4, "expert_dtype") | FP8).weights.dtype == "fp8"


def test_minimax_m3_chooses_blocks_of_tokens():
    model = read(MINIMAX_M3)
    assert order(model) == [(1, "full", "dense"), (3, "sparse", "moe")]
    sparse = model.attention["sparse"]
    assert isinstance(sparse, Gqa)
    assert (sparse.sparse_tokens, sparse.indexer) == (2048, Indexer(heads=2, head_dim=16))
    assert model.ffn["dense"] == Ffn(kind="gated", intermediate_size=256)
    assert model.ffn["moe"].shared_intermediate_size == 48


def test_llama_4_sees_chunks_but_in_every_fourth_layer():
    model = read(LLAMA4)
    assert order(model) == [(1, "window", "dense"), (1, "window", "moe"), (1, "window", "dense"), (1, "full", "moe")]
    chunk = model.attention["window"]
    assert isinstance(chunk, Gqa)
    assert (chunk.window, chunk.chunked) == (8192, True)
    assert model.ffn["dense"].intermediate_size == 256
    assert (model.ffn["moe"].intermediate_size, model.ffn["moe"].shared_experts) == (32, 1)
    assert read(LLAMA4, no_rope_layers=[0, 1, 1, 1]).layers[0].attention == "full"


def test_mimo_v2_has_other_heads_where_it_has_a_window():
    model = read(MIMO_V2)
    full, window = model.attention["full"], model.attention["window"]
    assert isinstance(full, Gqa)
    assert (full.kv_heads, full.value_dim, full.kv_width, full.sinks) == (2, 8, 24, False)
    assert (window.kv_heads, window.window, window.sinks) == (4, 128, True)
    assert order(model)[0] == (1, "full", "dense")


def test_gemma_4_widens_full_layers_and_shares_their_keys():
    model = read(GEMMA4)
    window, full, last = (model.attention[name] for name in ("window", "full", "full_2"))
    assert isinstance(full, Gqa)
    assert (full.head_dim, full.kv_heads, full.k_eq_v, full.kv_width, full.projected_width) == (32, 1, True, 64, 32)
    assert (window.head_dim, window.kv_heads, window.window, window.kv_width) == (16, 2, 1024, 32)
    assert last == full.model_copy(update={"shares_kv": True})
    moe = model.ffn["moe"]
    assert isinstance(moe, Moe)
    assert (moe.shared_experts, moe.shared_intermediate_size) == (1, 256)
    assert model.norms_per_layer == 8
    dense = without(GEMMA4, "num_experts", "top_k_experts", "moe_intermediate_size")
    assert read(dense, enable_moe_block=False).norms_per_layer == 4


def test_step_gates_each_head():
    model = read(STEP)
    assert model.attention["full"].output_gate == "head"
    assert order(model) == [(1, "full", "dense"), (3, "window", "moe")]


def test_step_35_lists_its_experts_and_widens_its_windows():
    changes = {
        "model_type": "step3p5",
        "attention_other_setting": {"attention_type": "sliding_attention", "num_attention_heads": 12},
        "moe_layers_enum": "1,2,3",
        "num_nextn_predict_layers": 1,
        "layer_types": [*STEP["layer_types"], "full_attention"],
    }
    model = read(without(STEP, "mlp_layer_types", "first_k_dense_replace"), **changes)
    assert order(model) == order(read(STEP))
    assert [model.attention[name].heads for name in ("full", "window")] == [8, 12]
    assert read(STEP, num_sliding_attention_heads=4).attention["window"].heads == 4
    with pytest.raises(InputError, match="moe_layers_enum: '1,9' for 4 layers"):
        read(STEP, moe_layers_enum="1,9")


def test_nemotron_nas_has_layers_of_many_widths_and_some_without_a_block():
    model = read(NAS)
    assert order(model) == [(1, "full", "dense"), (1, "full_2", "dense_2"), (1, None, "dense"), (1, "full", None)]
    assert [model.attention[name].kv_heads for name in ("full", "full_2")] == [2, 1]
    assert [model.ffn[name].intermediate_size for name in ("dense", "dense_2")] == [256, 512]
    assert parameters(model)["norms"] == (2 + 2 + 1 + 1) * 64 + 64


def test_older_architectures_share_one_key_or_a_few():
    assert read(FALCON).attention["full"].kv_heads == 1
    assert read(FALCON, new_decoder_architecture=True, num_kv_heads=4).attention["full"].kv_heads == 4
    assert read(FALCON).norms_per_layer == 1
    model = read(CHATGLM)
    assert (model.attention["full"].kv_heads, model.vocab_size, model.max_context_tokens) == (2, 1024, 8192)
    assert model.attention["full"].qkv_bias


def test_laguna_gates_and_counts_the_heads_of_each_layer():
    model = read(LAGUNA)
    assert [model.attention[name].heads for name in ("full", "window")] == [4, 8]
    assert order(model) == [(1, "full", "dense"), (3, "window", "moe")]
    assert model.attention["window"].output_gate == "head"
    assert read(LAGUNA, gating="per-element").attention["window"].output_gate == "element"
    with pytest.raises(InputError, match="unknown attention kind 'per-layer'"):
        read(LAGUNA, gating="per-layer")


def test_mpt_and_dbrx_keep_their_attention_in_an_object():
    assert read(MPT).attention["full"].kv_heads == 8
    assert read(MPT, attn_config={"kv_n_heads": 1}).attention["full"].kv_heads == 1
    assert read(DBRX).attention["full"].kv_heads == 2
    assert (read(DBRX).ffn["moe"].experts, read(DBRX).ffn["moe"].intermediate_size) == (6, 40)
    with pytest.raises(InputError, match="unknown attention kind 'qk_ln'"):
        read(MPT, attn_config={"qk_ln": True})


def test_one_key_for_all_heads_unless_the_file_says_no():
    assert read(GPT_BIGCODE).attention["full"].kv_heads == 1
    assert read(GPT_BIGCODE, multi_query=False).attention["full"].kv_heads == 8


# ---- where experts are ----


def test_the_first_layers_may_choose_experts_by_the_token():
    model = read(DEEPSEEK_V4)
    assert [ffn for _, _, ffn in order(model)] == ["moe", "moe", "moe_2", "moe_2"]
    assert [model.ffn[name].router_bias for name in ("moe", "moe_2")] == [False, True]


def test_ernie_has_experts_from_a_first_to_a_last_layer():
    assert [ffn for _, _, ffn in order(read(ERNIE_MOE))] == ["dense", "moe"]
    assert [ffn for _, _, ffn in order(read(ERNIE_MOE, moe_layer_end_index=2))] == ["dense", "moe", "dense"]
    assert [n for n, _, _ in order(read(ERNIE_MOE, moe_layer_interval=2))] == [1, 1, 1, 1]


def test_hunyuan_says_the_same_of_every_layer():
    moe = read(HUNYUAN_MOE).ffn["moe"]
    assert (moe.experts_per_token, moe.intermediate_size, moe.shared_experts) == (2, 256, 1)
    with pytest.raises(InputError, match="moe_topk that differs by layer"):
        read(HUNYUAN_MOE, moe_topk=[2, 2, 2, 1])
    with pytest.raises(InputError, match="unknown attention kind 'use_cla'"):
        read(HUNYUAN_MOE, use_cla=True)


def test_dense_layers_before_the_experts_may_have_a_width_of_their_own():
    model = read(COHERE2_MOE)
    assert model.ffn["dense"].intermediate_size == 100
    assert model.ffn["moe"].intermediate_size == 256
    assert [ffn for _, _, ffn in order(read(AFMOE))][:2] == ["dense", "moe"]


# ---- the whole ----


def test_a_model_that_speaks_is_planned_by_what_it_thinks_with():
    thinker = {"text_config": QWEN3_MOE | {"model_type": "qwen3_omni_moe_text"}, "vision_config": {"depth": 1}}
    omni = {"model_type": "qwen3_omni_moe", "thinker_config": thinker, "talker_config": {"text_config": LLAMA}}
    model, warnings = model_from_config(omni, WHERE)
    assert model == read(QWEN3_MOE)
    assert warnings[1] == f"{WHERE}: talker_config: not counted; llmplan plans for text"


def test_norms_and_activations_may_have_no_weights_or_some():
    olmo, llama = read(LLAMA | {"model_type": "olmo"}), read(LLAMA)
    assert (parameters(olmo)["norms"], parameters(llama)["norms"]) == (0, 9 * 64)
    apertus = read(LLAMA | {"model_type": "apertus"})
    assert parameters(apertus)["ffn"] == 4 * (2 * 64 * 256 + 2)


def test_a_key_that_equals_another_changes_nothing():
    opt = without(LLAMA, "num_key_value_heads") | {"model_type": "opt"}
    assert read(opt, word_embed_proj_dim=64) == read(opt)
    with pytest.raises(InputError, match="unknown block kind 'word_embed_proj_dim'"):
        read(opt, word_embed_proj_dim=32)
    with pytest.raises(InputError, match="unknown block kind 'do_layer_norm_before: false'"):
        read(opt, do_layer_norm_before=False)


@pytest.mark.parametrize(
    "model_type", ["falcon_h1", "gemma3n_text", "minimax", "longcat_flash", "zamba2", "jetmoe", "qwen4_exp_text"]
)
def test_an_architecture_that_is_not_modeled_is_refused(model_type):
    with pytest.raises(InputError, match=f"unknown attention kind '{model_type}'"):
        read(LLAMA | {"model_type": model_type})


def test_layers_that_repeat_are_written_once():
    model = read(QWEN3_NEXT, num_hidden_layers=12)
    assert model.layers == (Repeated(repeat=3, layers=read(QWEN3_NEXT).layers),)
    assert model.layer_count == 12
    assert [count for *_, count in model.runs()] == [9, 3]


def test_an_mtp_layer_is_a_layer_and_a_projection_of_two_vectors():
    model = read(DEEPSEEK)
    layer = (sum(parameters(model).values()) - sum(parameters(read(DEEPSEEK, num_hidden_layers=5)).values())) - 2 * 64
    assert mtp_parameters(model) == layer + 2 * 64 * 64 + (2 + 3) * 64
    assert mtp_parameters(read(QWEN3)) == 0


def test_a_file_that_names_no_architecture_may_be_told():
    nameless = without(LLAMA, "model_type")
    assert model_from_config(nameless, WHERE, model_type="llama")[0] == read(LLAMA)
    with pytest.raises(InputError, match="unknown attention kind 'lama'"):
        model_from_config(nameless, WHERE, model_type="lama")


def test_deepseeks_own_names_are_those_of_the_hub():
    names = {
        "hidden_size": "dim",
        "intermediate_size": "inter_dim",
        "moe_intermediate_size": "moe_inter_dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "num_experts_per_tok": "n_activated_experts",
        "first_k_dense_replace": "n_dense_layers",
    }
    left_out = ("model_type", "num_key_value_heads", "moe_layer_freq", "topk_method", "num_nextn_predict_layers")
    own = {names.get(key, key): value for key, value in without(DEEPSEEK, *left_out).items()}
    hub = without(DEEPSEEK, "num_nextn_predict_layers")
    assert read(own | {"route_scale": 2.5, "score_func": "sigmoid"}) == read(hub)
    assert read(own | {"dtype": "fp8"}).weights.scale_block == (128, 128)


def test_a_vision_tower_is_counted_beside_the_language_model():
    tower = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "patch_size": 16, "spatial_merge_size": 2}
    model, warnings = model_from_config({"text_config": QWEN3, "vision_config": tower}, WHERE)
    layers = 2 * (4 * 32 * 32 + 2 * 32 * 64 + 9 * 32)
    assert model.vision_parameters == layers + 3 * 16 * 16 * 32 + 128 * 128 + 128 * 64
    assert warnings == [f"{WHERE}: vision_config: its weights are counted; llmplan plans for text"]
    assert sum(parameters(model).values()) == sum(parameters(read(QWEN3)).values())
