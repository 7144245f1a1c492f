"""The longest context of a file, by each kind of scaling."""

from __future__ import annotations

from typing import Any

import pytest

from llmplan.errors import InputError
from llmplan.spec.config_json import model_from_config

WHERE = "small/config.json"
LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 1000,
    "max_position_embeddings": 1000,
}


def context(**changes: Any) -> int:
    return model_from_config({**LLAMA, **changes}, WHERE)[0].max_context_tokens


@pytest.mark.parametrize(
    ("scaling", "tokens"),
    [
        (None, 1000),
        ({"rope_type": "default"}, 1000),
        ({"type": "yarn", "factor": 40, "original_max_position_embeddings": 25}, 1000),  # the product, not twice
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1000}, 4000),
        ({"rope_type": "yarn", "factor": 4.0}, 4000),
        ({"type": "linear", "factor": 2.0}, 2000),
        ({"type": "dynamic", "factor": 2.5}, 2500),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 125}, 1000),
        ({"type": "longrope", "factor": 8.0}, 1000),
        ({"type": "su", "factor": 8.0}, 1000),
        ({"mrope_section": [1, 2, 3], "type": "mrope"}, 1000),
    ],
)
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_a_scaling_stretches_the_context_as_in_vllm(key: str, scaling: Any, tokens: int):
    assert context(**{key: scaling}) == tokens


def test_parameters_may_be_given_for_each_kind_of_layer():
    layers = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        "full_attention": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 500},
    }
    assert context(rope_parameters=layers) == 4000


def test_gemma_3_states_the_stretched_length():
    text = {**LLAMA, "model_type": "gemma3_text", "head_dim": 16, "rope_scaling": {"type": "linear", "factor": 8.0}}
    assert model_from_config({"model_type": "gemma3", "text_config": text}, WHERE)[0].max_context_tokens == 1000


def test_model_max_length_governs():
    assert context(model_max_length=16000) == 16000


@pytest.mark.parametrize(
    ("scaling", "words"),
    [
        ("linear", "give a JSON object"),
        ({"type": "linear", "factor": "2"}, "factor: '2' is no factor"),
        ({"type": "linear", "factor": 0}, "0 is no factor"),
        ({"type": "linear", "factor": float("nan")}, "no factor"),
        ({"type": "linear", "factor": 1e6, "x": 1}, "stretches the context"),
        ({"type": "yarn", "factor": 2, "original_max_position_embeddings": -1}, "no count"),
    ],
)
def test_a_wrong_scaling_is_refused(scaling: Any, words: str):
    with pytest.raises(InputError, match=words):
        context(rope_scaling=scaling, max_position_embeddings=10_000)


@pytest.mark.parametrize("dtype", ["bfloat16", "torch.float16", "auto", None])
def test_a_dtype_of_16_bit_is_silent(dtype: str | None):
    assert model_from_config({**LLAMA, "torch_dtype": dtype}, WHERE)[1] == []


def test_float32_is_warned_of():
    warning = f"{WHERE}: torch_dtype: float32 is planned as bf16, as engines serve it"
    assert model_from_config({**LLAMA, "torch_dtype": "float32"}, WHERE)[1] == [warning]


@pytest.mark.parametrize("dtype", ["int3", "float8_e4m3fn", ""])
def test_an_unknown_dtype_is_refused(dtype: str):
    with pytest.raises(InputError, match="dtype: unknown dtype"):
        model_from_config({**LLAMA, "dtype": dtype}, WHERE)


LLAMA_4_TOWER = {
    "hidden_size": 10,
    "intermediate_size": 20,
    "num_hidden_layers": 1,
    "patch_size": 2,
    "projector_input_dim": 8,
    "projector_output_dim": 8,
}


def test_towers_with_projectors_of_their_own_are_counted():
    plain = 4 * 100 + 2 * 200 + 90 + 3 * 4 * 10
    whole = {"text_config": LLAMA, "vision_config": LLAMA_4_TOWER}
    assert model_from_config(whole, WHERE)[0].vision_parameters == plain + 20 * 8 + 8 * 8 + 8 * 64
    tower = {k: v for k, v in LLAMA_4_TOWER.items() if not k.startswith("projector")}
    merged = {"img_token_compression_config": {"spatial_merge_size": 2}, "projector_hidden_size": 64}
    late = 10 * 64 + 64 * 64 + 4 * 64 * 64 + 64 * 64
    found = model_from_config({"text_config": LLAMA, "vision_config": tower, **merged}, WHERE)[0]
    assert found.vision_parameters == plain + late


def test_a_tower_that_is_only_named_is_counted():
    named = {"img_processor": {"model_name": "openai/clip-vit-large-patch14-336", "image_dim_out": 1024}}
    model, warnings = model_from_config({**LLAMA, **named}, WHERE)
    assert model.vision_parameters == 303_507_456 + 4096 * 64 + 64 * 64 + 2 * 64 + 2 * 4096
    assert warnings == [f"{WHERE}: img_processor: its weights are counted; llmplan plans for text"]
