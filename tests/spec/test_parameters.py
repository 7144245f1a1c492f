from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from llmplan.spec.base import folded
from llmplan.spec.model import Model
from llmplan.spec.parameters import active_parameters, parameters

FOLDER = Path(__file__).parents[2] / "models"


def shipped(name: str) -> Model:
    return Model.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))


SHIPPED = {path.stem: shipped(path.stem) for path in sorted(FOLDER.glob("*.yaml"))}


def toy(**changes: object) -> Model:
    fields: dict[str, object] = {
        "name": "toy",
        "hf_id": "toy",
        "family": "toy",
        "hidden_size": 10,
        "vocab_size": 100,
        "tie_embeddings": False,
        "max_context_tokens": 1000,
        "attention": {"full": {"kind": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 5}},
        "ffn": {"dense": {"kind": "gated", "intermediate_size": 20}},
        "layers": [{"count": 3, "attention": "full", "ffn": "dense"}],
        "source": "made up",
    }
    return Model.model_validate(fields | changes)


def toy_attention(**block: object) -> int:
    gqa = {"kind": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 5}
    layers = [{"count": 1, "attention": "full", "ffn": "dense"}]
    return parameters(toy(attention={"full": gqa | block}, layers=layers))["attention"]


def toy_ffn(**block: object) -> dict[str, int]:
    layers = [{"count": 1, "attention": "full", "ffn": "it"}]
    counts = parameters(toy(ffn={"it": block}, layers=layers))
    return {name: counts[name] for name in ("ffn", "experts", "shared_experts", "router") if counts[name]}


def test_a_toy_is_counted_by_hand():
    assert parameters(toy()) == {
        "embedding": 1000,
        "head": 1000,
        "attention": 3 * (10 * 20 + 2 * 10 * 10 + 20 * 10),
        "state": 0,
        "ffn": 3 * 3 * 10 * 20,
        "experts": 0,
        "latent": 0,
        "shared_experts": 0,
        "router": 0,
        "norms": 3 * 2 * 10 + 10,
    }


def test_a_tied_head_is_not_counted_twice():
    assert parameters(toy(tie_embeddings=True))["head"] == 0


def test_each_option_of_attention_adds_its_weights():
    plain = toy_attention()
    assert toy_attention(qkv_bias=True) - plain == 20 + 10 + 10
    assert toy_attention(output_bias=True) - plain == 10
    assert toy_attention(qk_norm="per_head") - plain == 5 + 5
    assert toy_attention(qk_norm="full") - plain == 20 + 10
    assert toy_attention(sinks=True) - plain == 4
    assert toy_attention(window=7) == plain
    assert plain - toy_attention(k_eq_v=True) == 10 * 10


def test_latent_attention_has_two_or_no_query_matrices():
    mla = {"kind": "mla", "heads": 2, "kv_lora_rank": 6, "qk_nope_head_dim": 4, "qk_rope_head_dim": 2, "v_head_dim": 3}
    rest = 10 * (6 + 2) + 6 + 6 * 2 * (4 + 3) + 2 * 3 * 10
    assert toy_attention_of(mla | {"q_lora_rank": None}) == 10 * 2 * 6 + rest
    assert toy_attention_of(mla | {"q_lora_rank": 8}) == 10 * 8 + 8 + 8 * 2 * 6 + rest


def toy_attention_of(block: dict[str, object]) -> int:
    layers = [{"count": 1, "attention": "it", "ffn": "dense"}]
    return parameters(toy(attention={"it": block}, layers=layers))["attention"]


def test_each_kind_of_ffn_has_its_matrices_and_biases():
    assert toy_ffn(kind="gated", intermediate_size=20) == {"ffn": 3 * 10 * 20}
    assert toy_ffn(kind="plain", intermediate_size=20) == {"ffn": 2 * 10 * 20}
    assert toy_ffn(kind="gated", intermediate_size=20, bias=True) == {"ffn": 3 * 10 * 20 + 2 * 20 + 10}
    assert toy_ffn(kind="plain", intermediate_size=20, bias=True) == {"ffn": 2 * 10 * 20 + 20 + 10}


def test_experts_shared_experts_and_router_are_counted_apart():
    moe = {"kind": "moe", "experts": 8, "experts_per_token": 2, "intermediate_size": 4}
    assert toy_ffn(**moe) == {"experts": 8 * 3 * 10 * 4, "router": 8 * 10}
    assert toy_ffn(**moe, router_bias=True)["router"] == 8 * 10 + 8
    assert toy_ffn(**moe, expert_bias=True)["experts"] == 8 * (3 * 10 * 4 + 2 * 4 + 10)
    assert toy_ffn(**moe, shared_experts=2)["shared_experts"] == 2 * 3 * 10 * 4
    assert toy_ffn(**moe, shared_experts=1, shared_intermediate_size=7)["shared_experts"] == 3 * 10 * 7


def test_a_token_meets_only_its_chosen_experts():
    moe = {"kind": "moe", "experts": 8, "experts_per_token": 2, "intermediate_size": 4, "shared_experts": 1}
    model = toy(ffn={"dense": moe})
    assert sum(parameters(model).values()) - active_parameters(model) == 3 * 6 * 3 * 10 * 4


def test_a_dense_model_is_active_as_a_whole():
    assert active_parameters(toy()) == sum(parameters(toy()).values())


# Total: the checkpoint's tensor count (Hugging Face), which the formula meets to the digit; gemma-3-27b without its
# vision tower. Active: the same formula with the chosen experts, embedding included.
COUNTS = {
    "deepseek-v3": (671_026_419_200, 37_552_297_472),
    "gemma-3-27b": (27_009_346_304, 27_009_346_304),
    "gpt-oss-120b": (116_829_156_672, 5_711_982_912),
    "llama-3.1-405b": (405_853_388_800, 405_853_388_800),
    "llama-3.1-70b": (70_553_706_496, 70_553_706_496),
    "llama-3.1-8b": (8_030_261_248, 8_030_261_248),
    "mixtral-8x7b": (46_702_792_704, 12_879_925_248),
    "qwen2.5-7b": (7_615_616_512, 7_615_616_512),
    "qwen3-235b-a22b": (235_093_634_560, 22_190_763_520),
    "qwen3-30b-a3b": (30_532_122_624, 3_353_032_704),
    "qwen3-32b": (32_762_123_264, 32_762_123_264),
    "qwen3-8b": (8_190_735_360, 8_190_735_360),
}


@pytest.mark.parametrize("name", COUNTS)
def test_a_shipped_model_has_its_published_count_to_the_digit(name):
    total, active = COUNTS[name]
    assert sum(parameters(SHIPPED[name]).values()) == total
    assert active_parameters(SHIPPED[name]) == active
    assert SHIPPED[name].published_parameters == total


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_is_named_as_its_file(name):
    assert SHIPPED[name].name == name


def test_a_name_means_one_shipped_model():
    owners: dict[str, str] = {}
    for stem, model in SHIPPED.items():
        for name in {folded(text) for text in (stem, model.hf_id, *model.aliases)}:
            assert owners.setdefault(name, stem) == stem, f"{name} is in {owners[name]} and {stem}"


def test_no_alias_repeats_another_or_the_name():
    for model in SHIPPED.values():
        names = [folded(text) for text in (model.name, model.hf_id, *model.aliases)]
        assert len(names) == len(set(names)), model.name


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("Llama-3.1-8B", "llama-3.1-8b"),
        ("Llama-3.1-70B", "llama-3.1-70b"),
        ("Llama-3.3-70B", "llama-3.1-70b"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama-3.1-70b"),
        ("Llama-3.1-405B", "llama-3.1-405b"),
        ("Qwen3-32B", "qwen3-32b"),
        ("Qwen3-30B-A3B", "qwen3-30b-a3b"),
        ("Qwen3-235B-A22B", "qwen3-235b-a22b"),
        ("Mixtral-8x7B", "mixtral-8x7b"),
        ("gpt-oss-120b", "gpt-oss-120b"),
        ("DeepSeek-V3", "deepseek-v3"),
        ("DeepSeek-R1", "deepseek-v3"),
    ],
)
def test_a_short_name_in_use_means_a_shipped_model(alias, name):
    model = SHIPPED[name]
    assert folded(alias) in {folded(text) for text in (model.name, model.hf_id, *model.aliases)}
