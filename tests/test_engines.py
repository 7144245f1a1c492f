"""What an engine cannot run is refused in one line; what it runs at the edge is warned of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmplan.errors import InputError
from llmplan.estimate import estimate_plan, estimate_workload
from llmplan.recommend import recommend_plan
from llmplan.settle import Options
from llmplan.spec.catalog import Catalog
from llmplan.spec.plan import Answer
from llmplan.spec.workload import Fleet, WorkloadFile

CATALOG = Catalog()
LIGHT = {"input_tokens": 1000, "output_tokens": 200, "rate": "0.05 requests/s"}


def fleet(model: str, engine: str, gpu: str, workload: dict[str, object] = LIGHT, **deployment: object) -> Fleet:
    question = {"model": model, "engine": engine, "workload": workload, "deployment": {"gpu": gpu, **deployment}}
    return WorkloadFile.model_validate(question, context={}).fleet()


def both(asked: Fleet, catalog: Catalog = CATALOG) -> list[Answer]:
    options = Options(gap=0.0, top=0)
    return [estimate_workload(asked, catalog), recommend_plan(asked, catalog, options)]


def config(folder: Path, **changes: object) -> str:
    fields = {
        "model_type": "qwen3",
        "hidden_size": 1024,
        "num_hidden_layers": 4,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "intermediate_size": 3072,
        "vocab_size": 32000,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(fields | changes))
    return str(folder)


def shelf(folder: Path, engine: str, **changes: object) -> Catalog:
    """A catalog whose engine has another table."""
    (folder / "engines").mkdir()
    fields = CATALOG.engine(engine).model_dump(mode="json") | changes
    for part, end, unit in (("memory", "_bytes", "B"), ("overhead", "_s", "s")):
        fields[part] = {k: f"{v} {unit}" if k.endswith(end) else v for k, v in fields[part].items()}
    if fields["scheduler"]["small"]:
        fields["scheduler"]["small"]["below_bytes"] = f"{fields['scheduler']['small']['below_bytes']} B"
    (folder / "engines" / f"{engine}.yaml").write_text(json.dumps(fields))
    return Catalog([folder])


# ---- families ----


@pytest.mark.parametrize("ask", [estimate_workload, recommend_plan])
def test_a_family_that_the_engine_does_not_run_is_refused_with_those_that_do(ask, tmp_path):
    asked = fleet(config(tmp_path, model_type="olmo3", sliding_window=4096), "sglang", "1xh100-sxm")
    with pytest.raises(InputError, match=r"engine: SGLang 0\.5\.14 does not run olmo3 models \(.*\); vllm does$"):
        ask(asked, CATALOG)


def test_a_table_of_ones_own_may_lack_a_family(tmp_path):
    models = {family: {} for family in CATALOG.engine("trtllm").models if family != "deepseek"}
    catalog = shelf(tmp_path, "trtllm", models=models)
    with pytest.raises(InputError, match=r"does not run deepseek models \(deepseek-v3\); sglang or vllm does$"):
        recommend_plan(fleet("deepseek-v3", "trtllm", "8xh200-sxm"), catalog)


def test_a_gpu_that_cannot_run_the_family_is_an_excuse_or_one_line():
    asked = fleet("deepseek-v3", "trtllm", "8xl40s")
    with pytest.raises(InputError, match=r"l40s: TensorRT-LLM 1\.3\.0rc20 does not run deepseek models on ada$"):
        estimate_workload(asked, CATALOG)
    found = recommend_plan(asked, CATALOG)
    assert found.status == "infeasible"
    assert [e.message for e in found.excuses if e.reason == "unsupported"] == [
        "TensorRT-LLM 1.3.0rc20 does not run deepseek models on ada"
    ]


def test_a_cut_that_the_family_lacks_is_one_line():
    asked = fleet("gemma-3-27b", "sglang", "2xh100-sxm", pp=2)
    said = r"SGLang 0\.5\.14 does not run gemma3 models pipeline parallel \(pp 2\)"
    with pytest.raises(InputError, match=said):
        estimate_workload(asked, CATALOG)
    found = recommend_plan(asked, CATALOG)
    assert found.status == "infeasible"
    assert any("pipeline parallel (pp 2)" in e.message for e in found.excuses)


def test_a_plan_of_what_the_engine_no_longer_runs_is_refused(tmp_path):
    found = recommend_plan(fleet("qwen3-8b", "vllm", "1xh100-sxm"), CATALOG, Options(top=0))
    models = {family: {} for family in CATALOG.engine("vllm").models}
    models["qwen3"] = {"weight_dtypes": ["fp8"]}
    with pytest.raises(InputError, match=r"plan\.pools\[0\]: h100-sxm: .* qwen3 models with bf16 weights on hopper$"):
        estimate_plan(found, shelf(tmp_path, "vllm", models=models))


def test_a_newer_version_that_the_plan_needs_is_told(tmp_path):
    models = {family: {} for family in CATALOG.engine("vllm").models}
    models["qwen3"] = {"since": "0.99"}
    told = "qwen3 models need vLLM 0.99 or newer; memory, limits and kernels here are those of 0.24.0"
    for found in both(fleet("qwen3-8b", "vllm", "1xh100-sxm"), shelf(tmp_path, "vllm", models=models)):
        assert told in found.warnings


# ---- memory: measured refusals of vLLM 0.19 on one H100, and the cliff of another engine ----


@pytest.mark.parametrize(
    ("model", "weight", "tokens", "said"),
    [
        ("llama-3.1-70b", "fp8", (15_000, 1000), "no room for KV: weights 67.7 GiB and activations 4.97 GiB"),
        ("qwen3-32b", "bf16", (31_000, 1000), "holds no request of 32000 tokens"),
        ("deepseek-v3", "fp8", (15_000, 1000), "weights 627 GiB a GPU of 79.6 GiB"),
    ],
)
def test_what_vllm_refused_is_refused_with_the_reason(model, weight, tokens, said):
    load = {"input_tokens": tokens[0], "output_tokens": tokens[1], "rate": "0.01 requests/s"}
    for found in both(fleet(model, "vllm", "1xh100-sxm", load, tp=1, weight_dtype=weight)):
        assert found.status == "infeasible"
        assert said in found.infeasible.reason
        assert found.infeasible.binding == "memory"


def test_the_same_model_starts_on_tensorrt_llm_at_a_cliff():
    for found in both(fleet("llama-3.1-70b", "trtllm", "1xh100-sxm", tp=1, weight_dtype="fp8")):
        assert found.plan is not None
        (pool,) = found.pools.values()
        assert pool.fragile
        assert 0 < pool.memory.kv_pool_bytes < 0.1 * pool.memory.device_bytes
        assert any("memory cliff" in said and "8.4 % of its memory" in said for said in found.warnings)
    roomy = estimate_workload(fleet("llama-3.1-70b", "trtllm", "2xh100-sxm", tp=2, weight_dtype="fp8"), CATALOG)
    assert not any("memory cliff" in said for said in roomy.warnings)
