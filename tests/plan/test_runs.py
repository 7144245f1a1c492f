"""What an engine runs: its table by hand, and that no candidate is ever outside of it."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmplan.plan.candidates import Kind, Question, enumerate_candidates
from llmplan.plan.runs import newer_version, runs, why_not_formats, why_not_layout, why_not_model
from llmplan.spec.catalog import Catalog
from llmplan.spec.config_families import FAMILIES
from llmplan.spec.deployment import DeploymentRequest, Layout
from llmplan.spec.engine import Engine
from llmplan.spec.model import Ffn, Gqa, Model

CATALOG = Catalog()
ENGINES = [CATALOG.engine(name) for name in CATALOG.names("engines")]
MODELS = [CATALOG.model(name) for name in CATALOG.names("models")]
GPUS = [CATALOG.gpu(name) for name in CATALOG.names("gpus")]

READ = {family.name for family in FAMILIES.values()}
TO_COME = {
    "qwen",
    "qwen2-moe",
    "qwen3-next",
    "qwen3.5",
    "qwen3.5-moe",
    "gemma4",
    "deepseek-v32",
    "deepseek-v4",
    "glm-dsa",
    "minimax-m3",
    "llama4",
    "mimo-v2",
    "kimi-linear",
    "nemotron-h",
    "nemotron-nas",
    "jamba",
    "mamba",
    "mamba2",
    "zamba2",
    "falcon",
    "bloom",
    "opt",
    "gpt2",
    "gptj",
    "starcoder2",
    "stablelm",
    "phi",
    "phimoe",
    "chatglm",
    "step3p7",
}
"""Families that an engine runs and whose models llmplan may not read yet."""


def engine(**changes) -> Engine:
    fields = ENGINES[-1].model_dump(mode="json", exclude={"support", "models", "features"})
    table = {
        "name": "toy",
        "title": "Toy",
        "version": "2.0",
        "support": {
            "hopper": {"weight_dtypes": ["bf16", "fp8"], "kv_dtypes": ["bf16", "fp8"]},
            "ada": {"weight_dtypes": ["bf16", "fp8"], "kv_dtypes": ["bf16"], "block_scaled_fp8": False},
            "ampere": {"weight_dtypes": ["bf16"], "kv_dtypes": ["bf16"], "families": ["llama"], "since": "2.2"},
        },
        "models": {
            "llama": {},
            "qwen3": {"without": ["pp"], "weight_dtypes": ["bf16"]},
            "deepseek": {"only": {"hopper": {"kv_dtypes": ["fp8"]}, "ada": {}}, "also": ["cp"], "since": "2.1"},
        },
        "features": ["tp", "pp"],
    }
    return Engine.model_validate(fields | table | changes, context={"base_units": True})


def model(family: str, dtype: str = "bf16", block: bool = False) -> Model:
    weights = {"dtype": dtype, "scale_block": (128, 128) if block else None}
    return MODELS[0].model_copy(update={"family": family, "weights": MODELS[0].weights.model_copy(update=weights)})


@pytest.mark.parametrize(
    ("family", "architecture", "weight", "kv", "said"),
    [
        ("llama", "hopper", "fp8", "fp8", ""),
        ("llama", "ampere", "bf16", "bf16", ""),
        ("deepseek", "hopper", "bf16", "fp8", ""),
        ("llama", "gaudi", "bf16", "bf16", "Toy 2.0 does not run on gaudi"),
        ("qwen3", "ampere", "bf16", "bf16", "Toy 2.0 does not run qwen3 models on ampere"),
        ("deepseek", "ampere", "bf16", "bf16", "Toy 2.0 does not run deepseek models on ampere"),
        ("llama", "ampere", "fp8", "bf16", "Toy 2.0 does not run fp8 weights on ampere"),
        ("llama", "ada", "bf16", "fp8", "Toy 2.0 does not run bf16 weights with fp8 KV on ada"),
        ("qwen3", "hopper", "fp8", "bf16", "Toy 2.0 does not run qwen3 models with fp8 weights on hopper"),
        ("deepseek", "hopper", "bf16", "bf16", "Toy 2.0 does not run deepseek models with bf16 KV on hopper"),
    ],
)
def test_the_first_thing_that_stands_in_the_way(family, architecture, weight, kv, said):
    assert why_not_formats(engine(), model(family), architecture, weight, kv) == said


def test_scales_of_blocks_need_kernels_of_their_own():
    said = "Toy 2.0 does not run fp8 weights with block scales on ada"
    assert why_not_formats(engine(), model("llama", "fp8", block=True), "ada", "fp8", "bf16") == said
    assert why_not_formats(engine(), model("llama", "fp8"), "ada", "fp8", "bf16") == ""
    assert why_not_formats(engine(), model("llama"), "ada", "fp8", "bf16") == ""


@pytest.mark.parametrize(
    ("family", "layout", "said"),
    [
        ("llama", {"tp": 8, "pp": 2}, ""),
        ("qwen3", {"pp": 2}, "Toy 2.0 does not run qwen3 models pipeline parallel (pp 2)"),
        ("llama", {"tp": 2, "ep": 2}, "Toy 2.0 does not run llama models expert parallel (ep 2)"),
        ("llama", {"dp": 4}, "Toy 2.0 does not run llama models attention data parallel (dp 4)"),
        ("llama", {"cp": 2}, "Toy 2.0 does not run llama models context parallel (cp 2)"),
        ("deepseek", {"cp": 2}, ""),
    ],
)
def test_a_cut_needs_its_feature(family, layout, said):
    assert why_not_layout(engine(), model(family), Layout.model_validate(layout)) == said


def test_a_family_that_is_not_listed_is_not_run():
    assert why_not_model(engine(), model("falcon")) == "Toy 2.0 does not run falcon models"
    assert not runs(engine(), model("falcon"), "hopper", "bf16", "bf16", Layout())


def test_a_newer_version_is_told():
    assert newer_version(engine(), model("llama"), "hopper") == ""
    assert newer_version(engine(), model("deepseek"), "hopper") == "deepseek models need Toy 2.1 or newer"
    both = "deepseek models need Toy 2.1 or newer and ampere needs Toy 2.2 or newer"
    assert newer_version(engine(), model("deepseek"), "ampere") == both


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": {"llama": {"only": {"volta": {}}}}}, "models.llama.only: volta is not in support"),
        ({"models": {"llama": {"without": ["lora"]}}}, "models.llama.without: lora is not in features"),
        ({"models": {"qwen3": {}}}, "support.ampere.families: llama is not in models"),
    ],
)
def test_a_table_contradicts_itself_never(changes, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        engine(**changes)


# ---- the shipped tables ----


@pytest.mark.parametrize("table", ENGINES, ids=lambda e: e.name)
def test_every_family_of_a_table_is_known(table):
    assert set(table.models) <= READ | TO_COME


@pytest.mark.parametrize("found", MODELS, ids=lambda m: m.name)
def test_every_shipped_model_is_run_by_some_engine_on_some_gpu(found):
    architectures = {gpu.architecture for gpu in GPUS}
    assert any(architectures & set(engine.architectures_of(found.family)) for engine in ENGINES)


def numbers(version: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", version)]


@pytest.mark.parametrize("table", ENGINES, ids=lambda e: e.name)
def test_since_is_said_only_where_it_is_newer_and_with_its_source(table):
    for entry in [*table.models.values(), *table.support.values()]:
        assert not entry.since or numbers(entry.since) > numbers(table.version)
    assert all(entry.source for entry in table.models.values() if entry.since)


def test_scaled_fp4_needs_blackwell():
    for table in ENGINES:
        able = {name for name, device in table.support.items() if "nvfp4" in device.weight_dtypes}
        assert able == {"blackwell", "blackwell-rtx"} & set(table.support)


WIDTH = st.sampled_from([None, None, 1, 2, 4, 8])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ENGINES),
    st.sampled_from(MODELS),
    st.sampled_from(sorted(READ | TO_COME)),
    st.builds(
        DeploymentRequest,
        tp=WIDTH,
        pp=WIDTH,
        weight_dtype=st.sampled_from([None, "bf16", "fp8", "int4", "nvfp4", "mxfp4"]),
        kv_dtype=st.sampled_from([None, "bf16", "fp8"]),
    ),
    st.booleans(),
)
def test_no_candidate_is_outside_the_table(table, found, family, wanted, lossy):
    asked = found.model_copy(update={"family": family})
    kinds = [Kind(gpu=gpu, gpus=n, network_bytes_per_s=0.0, link_domain=n) for gpu, n in product(GPUS, (1, 8))]
    candidates, excuses = enumerate_candidates(
        Question(model=asked, engine=table, wanted=wanted, allow_lossy=lossy), kinds
    )
    for candidate in candidates:
        stage, kv = candidate.deployment.stage, candidate.deployment.kv_dtype
        assert runs(table, asked, candidate.kind.gpu.architecture, stage.weight_dtype, kv, stage.layout)
        assert_cut_evenly(found, stage.layout.tp)
    served = {c.kind.gpu.name for c in candidates}
    assert not served & {e.candidate for e in excuses}
    assert all("\n" not in e.message and e.message for e in excuses)
    if family not in table.models:
        assert not candidates
        assert len(excuses) == len(GPUS)


def assert_cut_evenly(model: Model, tp: int) -> None:
    """Assert that ranks hold whole heads, and that each KV head is cut off or held by as many ranks."""
    for mixer in model.attention.values():
        if isinstance(mixer, Gqa):
            assert mixer.heads % tp == 0
            assert mixer.kv_heads % tp == 0 or tp % mixer.kv_heads == 0
    assert all(ffn.intermediate_size % tp == 0 for ffn in model.ffn.values() if isinstance(ffn, Ffn))
