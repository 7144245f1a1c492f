"""Device memory: by hand, by law, and against what vLLM reported on H100.

The measured parts of `MEASURED` and the refusals of `REFUSED` are facts from docs/empirical-vllm-memory-results.md of
github.com/llm-d-incubation/llm-d-planner (Apache-2.0): device memory 79.18 GiB as the engine sees it, sizes in GiB.
"""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmplan.kernel_library import kernels_on, library_of
from llmplan.perf.fits import Device, gathered
from llmplan.perf.memory import MemoryBudget, layer_weight_bytes, memory_budget
from llmplan.spec.catalog import Catalog
from llmplan.spec.deployment import Deployment
from llmplan.spec.model import Model
from llmplan.spec.parameters import parameters

GIB = 2**30
CATALOG = Catalog()


def cell(numbers):
    return float(np.squeeze(numbers))


def one(number):
    return np.array([[float(number)]])


# ---- toys by hand ----


def test_a_dense_model_by_hand(toy):
    runs = toy.engine(
        memory={
            "utilization": 0.9,
            "reserved_bytes": "10 GB",
            "framework_bytes": "1 GB",
            "activation_copies": 2,
            "sampler_bytes": "4 B",
        }
    )
    b = memory_budget(toy.replicas("dense", runs=runs, max_num_seqs=100, max_num_batched_tokens=1000))
    layer = 1000 * 1200 + 800 * 1000 + 3 * 1000 * 4000 + 2 * 1000
    assert cell(b.weights_bytes) == 2 * (10 * layer + 2 * 10_000 * 1000 + 1000)
    assert cell(b.activation_bytes) == 2 * 2 * 1000 * 1000 + 4 * 100 * 10_000
    assert cell(b.reserved_bytes) == pytest.approx(100e9 - 81e9)
    taken = b.weights_bytes + b.activation_bytes + b.framework_bytes
    assert cell(b.pool_bytes) == pytest.approx(81e9 - cell(taken))
    assert cell(b.kept_bytes[inf]) == 10 * 4 * 50 * 2 * 2
    assert cell(b.sequence_bytes(one(7))) == 7 * 8000


def test_chosen_tokens_are_all_kept_with_a_small_key_each(toy):
    plain, indexed = (memory_budget(toy.replicas(name)) for name in ("latent", "indexed"))
    small = 10 * 32 * (1 + 4 / 128)
    assert cell(indexed.kept_bytes[inf] - plain.kept_bytes[inf]) == pytest.approx(small)


def test_compressed_entries_keep_a_window_and_a_fraction_of_the_rest(toy):
    b = memory_budget(toy.replicas("compressed"))
    entries = 8 * 64 * 2 / 4 + 8 * 16 * (1 + 4 / 128) / 4
    assert {back: cell(kept) for back, kept in b.kept_bytes.items()} == pytest.approx({128: 10 * 64 * 2, inf: entries})
    assert cell(b.sequence_bytes(one(50))) == pytest.approx(50 * (1280 + entries))
    assert cell(b.sequence_bytes(one(1000))) == pytest.approx(128 * 1280 + 1000 * entries)


def test_a_state_is_as_large_for_one_token_as_for_many(toy):
    b = memory_budget(toy.replicas("linear"))
    state = 8 * (16 * 32 * 32 * 4 + 3 * (8 * 32 * 2 + 16 * 32) * 2)
    assert cell(b.state_bytes) == state
    assert cell(b.kept_bytes[inf]) == 2 * 4 * 50 * 2 * 2
    assert cell(b.sequence_bytes(one(1))) == state + 1600
    assert cell(b.sequence_bytes(one(1000))) == state + 1600 * 1000
    halved = memory_budget(toy.replicas("linear", {"tp": 2}))
    assert cell(halved.state_bytes) == state / 2


def test_layers_of_one_block_hold_one(toy):
    model = toy.models["single"]
    counts = parameters(model)
    assert counts["norms"] == 8 * 1000 + 1000
    assert cell(memory_budget(toy.replicas("single")).weights_bytes) == 2 * sum(counts.values())
    state = 4 * (16 * 32 * 64 * 4 + 3 * (16 * 32 + 2 * 2 * 64) * 2)
    assert cell(memory_budget(toy.replicas("single")).state_bytes) == state


def test_context_parallel_ranks_share_the_kv_and_repeat_the_rest(toy):
    whole, shared = (memory_budget(toy.replicas("windowed", {"cp": cp})) for cp in (1, 4))
    assert shared.kept_bytes[inf] == whole.kept_bytes[inf] / 4
    assert shared.kept_bytes[100] == whole.kept_bytes[100] / 4
    assert shared.weights_bytes == whole.weights_bytes


def test_residual_streams_take_room_and_weights(toy):
    several = Model.model_validate(toy.dense | {"residual_streams": 4})
    one_stream, four = (memory_budget(toy.replicas(model)) for model in ("dense", several))
    assert cell(four.activation_bytes - one_stream.activation_bytes) == 3 * 2 * 8192 * 1000
    mixing = 2 * 10 * (6 * 16 * 1000 + 6 * 4 + 3) + 16 * 1000 + 4 + 1
    assert cell(four.weights_bytes - one_stream.weights_bytes) == 2 * mixing


def test_a_latent_cache_is_small_and_not_cut(toy):
    whole, cut = (memory_budget(toy.replicas("latent", {"tp": tp})) for tp in (1, 4))
    assert cell(whole.kept_bytes[inf]) == cell(cut.kept_bytes[inf]) == 10 * (100 + 20) * 2


def test_a_rank_keeps_at_least_one_kv_head(toy):
    per_token = [cell(memory_budget(toy.replicas("dense", {"tp": tp})).kept_bytes[inf]) for tp in (1, 2, 4, 8, 16)]
    assert per_token == [8000, 4000, 2000, 2000, 2000]


def test_a_window_keeps_no_more_than_its_tokens(toy):
    b = memory_budget(toy.replicas("windowed"))
    assert {back: cell(kept) for back, kept in b.kept_bytes.items()} == {inf: 3200, 100: 4800}
    assert cell(b.sequence_bytes(one(50))) == 50 * 8000
    assert cell(b.sequence_bytes(one(1000))) == 1000 * 3200 + 100 * 4800


@pytest.mark.parametrize(("kv_dtype", "share"), [("fp8", 0.5), ("int4", 0.265625)])
def test_a_smaller_format_keeps_less(toy, kv_dtype, share):
    plain, small = (memory_budget(toy.replicas("dense", kv_dtype=dtype)) for dtype in ("bf16", kv_dtype))
    assert small.kept_bytes[inf] == share * plain.kept_bytes[inf]


def test_ends_stay_in_16_bit(toy):
    ends = 2 * 2 * 10_000 * 1000
    norms = 2 * (2 * 1000 * 10 + 1000)
    plain, small = (
        cell(memory_budget(toy.replicas("dense", weight_dtype=dtype)).weights_bytes) - ends - norms
        for dtype in ("bf16", "fp8")
    )
    assert small == plain / 2


def test_a_tied_head_is_kept_once_but_by_both_ends_of_a_pipeline(toy):
    tied = Model.model_validate(toy.dense | {"tie_embeddings": True})
    end = 2 * 10_000 * 1000

    def weights(model, **layout):
        return cell(memory_budget(toy.replicas(model, layout)).weights_bytes)

    assert weights("dense") - weights(tied) == end
    assert weights("dense", pp=2) == weights(tied, pp=2)


def test_modules_that_the_checkpoint_keeps_stay_in_16_bit(toy):
    def weights(*kept):
        format_of = {"dtype": "fp8", "bf16_modules": ["embedding", "head", "router", "norms", *kept]}
        model = Model.model_validate(toy.dense | {"weights": format_of})
        return cell(memory_budget(toy.replicas(model, weight_dtype="fp8")).weights_bytes)

    assert weights("attention") - weights() == 10 * 2_000_000
    assert weights("ffn") - weights() == 10 * 12_000_000
    assert weights() - weights_without_head(toy) == 10_000 * 1000


def weights_without_head(toy):
    """Bytes of weights where the checkpoint quantizes the head too."""
    format_of = {"dtype": "fp8", "bf16_modules": ["embedding", "router", "norms"]}
    model = Model.model_validate(toy.dense | {"weights": format_of})
    return cell(memory_budget(toy.replicas(model, weight_dtype="fp8")).weights_bytes)


def test_a_vision_tower_takes_its_room(toy):
    seeing = Model.model_validate(toy.dense | {"vision_parameters": 5_000_000})
    blind, open_eyed = (memory_budget(toy.replicas(model)) for model in ("dense", seeing))
    assert cell(open_eyed.weights_bytes - blind.weights_bytes) == 1e7
    assert cell(blind.pool_bytes - open_eyed.pool_bytes) == 1e7


# ---- laws ----


@pytest.mark.parametrize("name", CATALOG.names("models"))
def test_the_weights_of_a_checkpoint_in_16_bit_are_its_parameters(toy, name):
    model = CATALOG.model(name)
    plain = Model.model_validate(model.model_dump() | {"weights": {"dtype": "bf16"}})
    found = cell(memory_budget(toy.replicas(plain)).weights_bytes)
    counted = sum(parameters(plain).values()) + plain.vision_parameters
    assert found == pytest.approx(2 * counted, rel=1e-9)


@pytest.mark.parametrize("model", ["dense", "windowed", "sparse", "shared", "linear"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_share_the_weights(toy, model, ranks):
    whole, shared = (layer_weight_bytes(toy.replicas(model, {"tp": tp})) for tp in (1, ranks))
    assert cell(shared) == pytest.approx(cell(whole) / ranks, rel=0.005)  # norms and routers are on every rank


def test_experts_are_spread_over_all_ranks_and_attention_is_repeated(toy):
    whole, spread = (layer_weight_bytes(toy.replicas("sparse", layout)) for layout in ({}, {"dp": 4, "ep": 4}))
    experts = 10 * 16 * 3 * 1000 * 1000 * 2
    assert cell(whole - spread) == pytest.approx(experts * 3 / 4)


@pytest.mark.parametrize("model", ["dense", "sparse", "latent"])
def test_the_fullest_stage_decides(toy, model):
    def layers(pp):
        b = memory_budget(toy.replicas(model, {"pp": pp}))
        return cell(b.kept_bytes[inf])

    assert [layers(pp) / layers(1) for pp in (1, 2, 3, 5, 10)] == pytest.approx([1, 0.5, 0.4, 0.2, 0.1])


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_fewer_long_sequences_fit_than_short_ones(toy, tokens, more):
    b = memory_budget(toy.replicas("windowed"))
    assert b.sequences(one(tokens + more)) <= b.sequences(one(tokens))
    held = cell(b.sequences(one(tokens)))
    assert held * cell(b.sequence_bytes(one(tokens))) <= cell(b.pool_bytes) * (1 + 1e-9)


def test_a_sequence_that_does_not_fit_counts_none(toy):
    b = memory_budget(toy.replicas("dense"))
    room = cell(b.pool_bytes / b.kept_bytes[inf])
    assert cell(b.sequences(one(room))) == pytest.approx(1)
    assert cell(b.sequences(one(room * 1.01))) == 0


def test_a_model_that_does_not_fit_has_a_negative_pool_and_holds_nothing(toy):
    b = memory_budget(toy.replicas("dense", on=toy.gpu(memory_bytes="100 MB")))
    assert cell(b.pool_bytes) < 0
    assert cell(b.sequences(one(1))) == 0


def test_more_device_memory_is_more_room(toy):
    pools = [cell(memory_budget(toy.replicas("dense", on=toy.gpu(memory_bytes=f"{g} GB"))).pool_bytes) for g in (1, 2)]
    assert pools[1] - pools[0] == 1e9


# ---- measured: vLLM on H100 ----


MODELS = {
    name: CATALOG.model(name)
    for name in ("gpt-oss-20b", "gpt-oss-120b", "llama-3.1-8b", "qwen3-0.6b", "qwen3-32b", "mistral-small-3.2-24b")
} | {
    "llama-3.3-70b-fp8": CATALOG.model("meta-llama/Llama-3.3-70B-Instruct-FP8"),
    "deepseek-r1": CATALOG.model("deepseek-r1"),
}

MEASURED = [  # model, format, tp, utilization, weights GiB, KV pool GiB
    ("gpt-oss-20b", "mxfp4", 1, 0.90, 13.47, 50.28),
    ("gpt-oss-120b", "mxfp4", 1, 0.95, 64.38, 3.33),  # the source says 0.90, but its parts sum to 0.95 of the device
    ("llama-3.3-70b-fp8", "fp8", 2, 0.90, 33.88, 32.00),
    ("llama-3.1-8b", "bf16", 1, 0.90, 14.99, 51.38),
    ("qwen3-0.6b", "bf16", 1, 0.90, 1.12, 64.45),
    ("qwen3-32b", "bf16", 1, 0.90, 61.03, 4.45),
    ("qwen3-32b", "bf16", 2, 0.90, 30.59, 34.49),
    ("mistral-small-3.2-24b", "bf16", 1, 0.95, 44.76, 28.20),
]
REFUSED = [  # model, format, tp, context tokens, KV pool GiB where it was told
    ("llama-3.3-70b-fp8", "fp8", 1, 16_000, -1.44),
    ("qwen3-32b", "bf16", 1, 32_000, None),
    ("deepseek-r1", "fp8", 1, 16_000, None),
]


def on_h100(name: str, dtype: str, tp: int, utilization: float = 0.9, engine: str = "vllm") -> MemoryBudget:
    gpu, runs, model = CATALOG.gpu("h100-sxm"), CATALOG.engine(engine), MODELS[name]
    memory = runs.memory.model_copy(update={"utilization": utilization})
    device = Device(
        gpu=gpu,
        link=CATALOG.link("nvlink4"),
        network_bytes_per_s=0.0,
        kernel=kernels_on(gpu, runs, library_of(CATALOG)),
        basis="calibrated",
    )
    deployment = Deployment.model_validate(
        {
            "model": name,
            "engine": engine,
            "stages": [{"gpu": "h100-sxm", "layout": {"tp": tp}, "weight_dtype": dtype}],
            "batching": runs.scheduler.batching(gpu.memory_bytes, gpu.architecture),
        }
    )
    return memory_budget(gathered(model, [deployment], [device], [runs.model_copy(update={"memory": memory})], [False]))


def test_the_engine_sees_of_an_h100_what_it_reported():
    b = on_h100("llama-3.1-8b", "bf16", 1, utilization=1.0)
    assert cell(b.device_bytes - b.reserved_bytes) / GIB == pytest.approx(79.18, abs=0.01)


@pytest.mark.parametrize(("name", "dtype", "tp", "utilization", "weights", "pool"), MEASURED)
def test_weights_and_pool_are_as_measured(name, dtype, tp, utilization, weights, pool):
    b = on_h100(name, dtype, tp, utilization)
    assert cell(b.weights_bytes) / GIB == pytest.approx(weights, rel=0.02)
    assert cell(b.pool_bytes) / GIB == pytest.approx(pool, abs=max(1.5, 0.1 * pool))
    assert cell(b.sequences(one(16_000))) >= 1


@pytest.mark.parametrize(("name", "dtype", "tp", "utilization", "weights", "pool"), MEASURED[:-1])
def test_models_of_text_alone_are_met_closely(name, dtype, tp, utilization, weights, pool):
    b = on_h100(name, dtype, tp, utilization)
    assert cell(b.weights_bytes) / GIB == pytest.approx(weights, rel=0.01)
    assert cell(b.pool_bytes) / GIB == pytest.approx(pool, abs=0.15)


def test_a_model_that_sees_has_a_known_miss():
    """Its activations peaked at 2.12 GiB, where copies and sampler of a text model say 4.9: the pool is 9.6 % low."""
    name, dtype, tp, utilization, _, pool = MEASURED[-1]
    b = on_h100(name, dtype, tp, utilization)
    assert 2.6 < pool - cell(b.pool_bytes) / GIB < 2.8
    assert 2.7 < cell(b.activation_bytes) / GIB - 2.12 < 2.8


@pytest.mark.parametrize(("name", "dtype", "tp", "context", "pool"), REFUSED)
def test_what_the_engine_refused_is_refused(name, dtype, tp, context, pool):
    b = on_h100(name, dtype, tp)
    assert cell(b.sequences(one(context))) == 0
    if pool is not None:
        assert cell(b.pool_bytes) / GIB == pytest.approx(pool, abs=0.1)


# ---- what a fraction is of ----


def test_a_share_of_what_is_left_by_hand(toy):
    memory = {"utilization": 0.9, "reserved_bytes": "10 GB", "framework_bytes": "1 GB", "activation_copies": 2}
    whole, left = (
        memory_budget(toy.replicas("dense", runs=toy.engine(memory=memory | {"pool_rule": rule})))
        for rule in ("share_of_device", "share_of_free")
    )
    taken = whole.weights_bytes + whole.activation_bytes + whole.framework_bytes
    assert cell(whole.pool_bytes) == pytest.approx(81e9 - cell(taken))
    assert cell(left.pool_bytes) == pytest.approx(0.9 * (90e9 - cell(taken)))
    for b in (whole, left):
        parts = b.reserved_bytes + b.framework_bytes + b.activation_bytes + b.weights_bytes + b.pool_bytes
        assert cell(parts) == pytest.approx(100e9)


def test_a_reserve_for_each_token_of_a_step(toy):
    def pool(tokens):
        runs = toy.engine(memory={"activation_token_bytes": "1 MB"})
        return cell(memory_budget(toy.replicas("dense", runs=runs, max_num_batched_tokens=tokens)).pool_bytes)

    assert pool(1000) - pool(4000) == pytest.approx(3e9)


@given(st.floats(1e8, 1e11))
def test_a_share_of_what_is_left_refuses_only_what_does_not_fit_at_all(toy, memory_bytes):
    on = toy.gpu(memory_bytes=f"{memory_bytes:.0f} B")
    rules = [toy.engine(memory={"utilization": 0.9, "pool_rule": r}) for r in ("share_of_device", "share_of_free")]
    device, free = (cell(memory_budget(toy.replicas("dense", on=on, runs=runs)).pool_bytes) for runs in rules)
    assert free >= device
    weights = cell(memory_budget(toy.replicas("dense", on=on)).weights_bytes)
    assert (free > 0) == (on.memory_bytes > weights)


def test_one_h100_is_too_small_for_70b_on_one_engine_and_a_cliff_on_another():
    refused = on_h100("llama-3.3-70b-fp8", "fp8", 1)
    tight, roomy = (on_h100("llama-3.3-70b-fp8", "fp8", tp, engine="trtllm") for tp in (1, 2))
    assert cell(refused.pool_bytes) < 0
    assert 0 < cell(tight.pool_bytes) < 0.1 * cell(tight.device_bytes)
    assert cell(roomy.pool_bytes) > 4 * cell(tight.pool_bytes)


def test_sglang_keeps_what_its_own_default_would():
    """mem_fraction_static of an H100 at 8192 tokens a chunk and 256 sequences a graph is 0.83."""
    b = on_h100("llama-3.1-8b", "bf16", 1, utilization=1.0, engine="sglang")
    assert cell(b.weights_bytes + b.pool_bytes) / (79.18 * GIB) == pytest.approx(0.83, abs=0.01)
