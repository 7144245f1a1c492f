from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmplan.perf.block_parts import all_reduce_s
from llmplan.perf.elementwise import ELEMENTWISE
from llmplan.perf.kernels import decode as decode_form
from llmplan.perf.kernels import prefill as prefill_form
from llmplan.perf.mixer_parts import context_feature, pairs_feature
from llmplan.perf.step import step_cost
from llmplan.spec.parameters import active_parameters

MODELS = ("dense", "windowed", "sparse", "shared", "latent", "indexed", "compressed", "linear", "single")
LAYOUTS = ({}, {"tp": 2}, {"tp": 4, "pp": 2}, {"pp": 3}, {"tp": 2, "dp": 2, "ep": 4})
FULL = "decode_context"
US = 1e-6
REACHES = (100, 128, 400, 2000)
"""Of the toys: a window, a window before entries, chosen entries, chosen tokens."""


def features(decodes=0, context=0, prompt=0):
    """A step of `decodes` sequences of `context` tokens each, and one whole prompt."""
    numbers = {
        "steps": 1,
        "tokens": decodes + prompt,
        "prefill_tokens": prompt,
        "prefill_pairs": prompt * (prompt + 1) / 2 / 1024,
        **{pairs_feature(reach): prompt * min(prompt, reach) / 1024 for reach in REACHES},
        "sequences": decodes + (prompt > 0),
        "decode_context": decodes * context,
        **{context_feature(reach): decodes * min(context, reach) for reach in REACHES},
    }
    return {name: np.array([[float(value)]]) for name, value in numbers.items()}


def shares_of(cost, x):
    """Seconds of each operator."""
    return {name: told.seconds for name, told in cost.work(x).items()}


def seconds(cost, **step):
    return float(np.squeeze(cost.latency_s(features(**step))))


@pytest.fixture(scope="module")
def costs(toy):
    """The cost of every toy model in every layout, at the roofline and with constants."""
    return {
        (model, number, real): step_cost(toy.replicas(model, layout, on_kernels=toy.real if real else toy.ideal))
        for model in MODELS
        for number, layout in enumerate(LAYOUTS)
        for real in (False, True)
    }


EVERY = [(model, number, real) for model in MODELS for number in range(len(LAYOUTS)) for real in (False, True)]
STEPS = st.fixed_dictionaries(
    {"decodes": st.integers(1, 256), "context": st.integers(1, 20_000), "prompt": st.just(0) | st.integers(1, 8000)}
)

# ---- by hand ----


def test_one_decode_of_a_dense_model_by_hand(toy):
    shares = shares_of(step_cost(toy.replicas("dense")), features(decodes=1, context=1000))
    layers = 10
    moved = {  # weights, input, output of 1000 wide layers, 16 bit
        "qkv": 2 * (1000 * 1200 + 1000 + 1200),
        "attention_output": 2 * (800 * 1000 + 800 + 1000),
        "ffn_up": 2 * (1000 * 8000 + 1000 + 8000),
        "ffn_down": 2 * (4000 * 1000 + 4000 + 1000),
    }
    for name, moved_bytes in moved.items():
        assert shares[name] == pytest.approx(layers * moved_bytes / 1e12, rel=0.02)
    assert shares["head"] == pytest.approx(2 * (1000 * 10_000 + 1000 + 10_000) / 1e12, rel=0.01)
    cache, queries = 1000 * 4 * 2 * 50 * 2, 2 * 16 * 100
    free = shares_of(memory_bound(toy, "dense"), features(decodes=1, context=1000))  # 4 heads pad a tile of 64 rows
    assert free["decode_attention"] == pytest.approx(layers * (cache + queries) / 1e12, rel=0.01)
    copies = ELEMENTWISE.passes * 1000 * 2 / (1e12 * ELEMENTWISE.memory_efficiency)
    assert shares["elementwise"] == pytest.approx(layers * (4 * 2.2 * US + copies))
    assert shares["stage_hop"] == shares["host"] == 0
    assert "all_reduce" not in shares


def test_a_long_prompt_is_bound_by_arithmetic(toy):
    shares = shares_of(step_cost(toy.replicas("dense")), features(prompt=5000))
    assert shares["ffn_up"] == pytest.approx(10 * 2 * 5000 * 1000 * 8000 / 1e14, rel=0.03)  # of whole tiles
    pairs = 5000 * 5001 / 2
    least = 10 * 2 * 16 * pairs * 100 / 1e14
    assert least < shares["prefill_attention"] < 1.3 * least  # tiles on the diagonal are half empty; keys are written


@pytest.mark.parametrize("tokens", [1, 7, 512, 3000, 16384])
def test_one_new_prompt_is_the_form_itself(toy, tokens):
    found = shares_of(step_cost(toy.replicas("dense", on_kernels=toy.real)), features(prompt=tokens))[
        "prefill_attention"
    ]
    r, p = toy.replicas("dense"), toy.real("attn_prefill", "bfloat16").parameters
    form = prefill_form.seconds(1, tokens, 0, 16.0, 4.0, 50.0, 50.0, 0, 2.0, r.chip(), p)
    assert found == pytest.approx(10 * form, rel=1e-3)


@pytest.mark.parametrize("batch", [1, 3, 64, 200])
def test_sequences_of_1024_tokens_are_the_form_itself(toy, batch):
    step = features(decodes=batch, context=1024)
    found = shares_of(step_cost(toy.replicas("dense", on_kernels=toy.real)), step)["decode_attention"]
    r, p = toy.replicas("dense"), toy.real("attn_decode", "bfloat16").parameters
    form = decode_form.seconds(batch, 1024, 16.0, 4.0, 50.0, 50.0, 100.0, 2.0, r.chip(), p, cold=True)
    assert found == pytest.approx(10 * form, rel=1e-9)


@pytest.mark.parametrize("context", [128, 4096, 16_384, 65_536])
@pytest.mark.parametrize("batch", [1, 4, 64, 512])
def test_at_other_contexts_the_sum_stays_near_the_form(toy, batch, context):
    step = features(decodes=batch, context=context)
    found = shares_of(step_cost(toy.replicas("dense", on_kernels=toy.real)), step)["decode_attention"]
    r, p = toy.replicas("dense"), toy.real("attn_decode", "bfloat16").parameters
    form = decode_form.seconds(batch, context, 16.0, 4.0, 50.0, 50.0, 100.0, 2.0, r.chip(), p, cold=True)
    assert found == pytest.approx(10 * form, rel=0.4)


def test_one_token_reads_its_own_experts(toy):
    shares = shares_of(step_cost(toy.replicas("sparse")), features(decodes=1, context=1))
    weights, route = 2 * 3 * 1000 * 1000 * 2, 4 * 1000 + 2 * (4 * 1000 + 6 * 1000)
    assert shares["experts"] == pytest.approx(10 * (weights + route) / 1e12, rel=0.01)
    assert shares["router"] >= 10 * 2 * (1000 * 16 + 1000 + 16) / 1e12


def test_the_host_takes_its_time_of_each_step_layer_and_sequence(toy):
    overhead = {"step_s": "1 ms", "layer_s": "100 us", "sequence_s": "10 us"}
    busy, idle = step_cost(toy.replicas("dense", runs=toy.engine(overhead=overhead))), step_cost(toy.replicas("dense"))
    for decodes in (1, 7):
        step = {"decodes": decodes, "context": 10}
        extra = seconds(busy, **step) - seconds(idle, **step)
        assert extra == pytest.approx(1e-3 + 10 * 100 * US + decodes * 10 * US, rel=0.005)


def test_work_units_of_decode_attention_fill_the_multiprocessors(toy):
    slow, free = (
        step_cost(toy.replicas("dense", on_kernels=toy.kernels(decode={"unit_s": unit}))) for unit in (1e-4, 0.0)
    )
    step = {"decodes": 25, "context": 10}
    extra = seconds(slow, **step) - seconds(free, **step)
    assert extra == pytest.approx(
        10 * 25 * 4 * 100 * US / 100, rel=0.01
    )  # layers, sequences, KV heads over 100 of them


def test_stages_pass_activations_over_the_network_or_the_link(toy):
    step = features(decodes=100, context=10)
    near, far = (
        shares_of(step_cost(toy.replicas("dense", {"pp": 3}, spans_hosts=hosts)), step)["stage_hop"]
        for hosts in (False, True)
    )
    message = 2 * 100 * 1000
    assert near == pytest.approx(2 * (1e-6 + message / 1e11))
    assert far == pytest.approx(2 * (1e-6 + message / 1e10))


def memory_bound(toy, model, **more):
    """The cost of a model on a device whose arithmetic takes no time."""
    rates = {"bf16": "100000 TFLOP/s", "fp8": "100000 TFLOP/s"}
    return step_cost(toy.replicas(model, on=toy.gpu(flop_per_s=rates), **more))


def test_chosen_tokens_are_read_and_all_are_looked_at(toy):
    shares = shares_of(memory_bound(toy, "indexed"), features(decodes=10, context=50_000))
    latents = 10 * 10 * 2000 * 120 * 2
    queries = 10 * 10 * 2 * 16 * 220
    assert shares["decode_attention"] == pytest.approx((latents + queries) / 1e12, rel=1e-3)
    assert shares["decode_indexer"] == pytest.approx(10 * 10 * 50_000 * 32 * (1 + 4 / 128) / 1e12, rel=1e-3)


def test_entries_are_a_fraction_of_the_tokens(toy):
    shares = shares_of(memory_bound(toy, "compressed"), features(decodes=10, context=50_000))
    assert shares["decode_entries"] == pytest.approx(8 * 10 * 400 / 4 * 64 * 2 / 1e12, rel=1e-3)
    assert shares["decode_indexer"] == pytest.approx(8 * 10 * 50_000 / 4 * 16 * (1 + 4 / 128) / 1e12, rel=1e-3)
    near = shares_of(memory_bound(toy, "compressed"), features(decodes=10, context=100))
    assert near["decode_entries"] == pytest.approx(8 * 10 * 100 / 4 * 64 * 2 / 1e12, rel=1e-3)


def test_a_state_is_read_and_written_whatever_the_context(toy):
    for context in (10, 10_000):
        shares = shares_of(step_cost(toy.replicas("linear")), features(decodes=10, context=context))
        state = 16 * 32 * 32 * 4 + 3 * (8 * 32 * 2 + 16 * 32) * 2
        assert shares["decode_state"] == pytest.approx(8 * 10 * 2 * state / 1e12)


def test_a_state_over_a_long_prompt_is_arithmetic_by_token(toy):
    shares = shares_of(step_cost(toy.replicas("linear")), features(prompt=5000))
    flop = 5000 * 2 * 16 * (3 * 32 * 32 + 64 * 64)
    moved = 5000 * 2 * (2 * 8 * 32 + 2 * 16 * 32)
    assert shares["prefill_state"] == pytest.approx(8 * (flop / 1e14 + moved / 1e12))


def test_a_layer_of_one_block_reduces_once(toy):
    found = shares_of(step_cost(toy.replicas("single", {"tp": 2}, on_kernels=toy.real)), features(decodes=8, context=1))
    r = toy.replicas("single", {"tp": 2}, on_kernels=toy.real)
    assert found["all_reduce"] == pytest.approx(8 * all_reduce_s(r, np.array([[2.0 * 8 * 1000]])))


# ---- laws ----


@given(step=STEPS, which=st.sampled_from(EVERY))
def test_the_curves_add_up_to_the_operators(costs, step, which):
    cost = costs[which]
    shares = shares_of(cost, features(**step))
    parts = sum(float(np.squeeze(part)) for part in shares.values())
    miss = abs(seconds(cost, **step) / parts - 1)
    assert miss <= 0.15  # stairs of whole tiles and experts, and a line through them


def test_at_a_knot_the_curve_is_the_sum_of_its_operators(costs):
    for which in EVERY:
        cost = costs[which]
        for name, curve in cost.latency.items():
            x = curve.start[None, 1:8].astype(float)
            parts = sum(part.seconds(x) for part in cost.parts() if part.feature == name)
            assert np.max(np.abs(curve.seconds(x) - np.maximum.accumulate(parts, axis=1))) <= 0.51e-12


def test_shares_come_largest_first(costs):
    for cost in costs.values():
        sizes = [float(np.sum(part)) for part in shares_of(cost, features(decodes=8, context=100, prompt=500)).values()]
        assert sizes == sorted(sizes, reverse=True)


@given(step=STEPS, which=st.sampled_from(EVERY), more=st.integers(1, 500))
def test_a_step_takes_longer_with_more_of_anything(costs, step, which, more):
    cost = costs[which]
    now = seconds(cost, **step)
    for name in ("decodes", "context", "prompt"):
        assert seconds(cost, **(step | {name: step[name] + more})) >= now * (1 - 1e-6)


def test_a_step_without_features_is_a_mistake(costs):
    with pytest.raises(ValueError, match="at least one feature"):
        costs[EVERY[0]].latency_s({})


@given(step=STEPS, which=st.sampled_from(EVERY))
def test_a_turn_of_the_pipeline_is_no_shorter_than_its_slowest_stage(costs, step, which):
    cost = costs[which]
    x = features(**step)
    period = sum(cost.period[name].seconds(value) for name, value in x.items() if name in cost.period)
    assert period <= cost.latency_s(x) * (1 + 1e-9)
    assert cost.cycle_s(x) >= cost.latency_s(x)
    assert cost.cycle_s(x) >= cost.replicas.pp * period * (1 - 1e-9)


def test_without_stages_latency_period_and_cycle_are_one(costs):
    x = features(decodes=10, context=1000, prompt=100)
    cost = costs["dense", 1, True]
    period = sum(curve.seconds(x[name]) for name, curve in cost.period.items())
    assert cost.cycle_s(x) == cost.latency_s(x) == pytest.approx(period)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("layout", LAYOUTS[:4])
def test_the_roofline_is_never_beaten(toy, model, layout):
    """Weights that one token touches, over the bandwidth of all ranks; and the arithmetic of many, over their peak."""
    r = toy.replicas(model, layout)
    cost = step_cost(r)
    ranks = layout.get("tp", 1)
    found = toy.models[model]
    touched = 0.99 * (active_parameters(found) - 10_000 * 1000)  # all but the embedding and some small vectors
    assert seconds(cost, decodes=1, context=1) >= 2 * touched / (ranks * 1e12)
    assert seconds(cost, prompt=4096) >= 2 * 4096 * (touched - 10_000 * 1000) / (ranks * 1e14)


@given(step=STEPS, model=st.sampled_from(MODELS), number=st.integers(0, len(LAYOUTS) - 1))
def test_constants_never_make_a_step_faster(costs, step, model, number):
    assert seconds(costs[model, number, True], **step) >= seconds(costs[model, number, False], **step) * (1 - 0.03)


def test_more_bandwidth_and_more_arithmetic_are_no_slower(toy):
    base = step_cost(toy.replicas("sparse", {"tp": 2}, on_kernels=toy.real))
    for change in ({"memory_bytes_per_s": "2 TB/s"}, {"flop_per_s": {"bf16": "200 TFLOP/s"}}, {"clock_hz": "2 GHz"}):
        better = step_cost(toy.replicas("sparse", {"tp": 2}, on_kernels=toy.real, on=toy.gpu(**change)))
        for step in ({"decodes": 1, "context": 100}, {"prompt": 8000}, {"decodes": 200, "context": 5000}):
            assert seconds(better, **step) <= seconds(base, **step)


@pytest.mark.parametrize(("weight_dtype", "share"), [("fp8", 0.5), ("int4", 0.2578125), ("nvfp4", 0.28125)])
def test_smaller_weights_are_read_faster(toy, weight_dtype, share):
    plain, small = (
        shares_of(step_cost(toy.replicas("dense", weight_dtype=dtype)), features(decodes=1, context=1))["ffn_up"]
        for dtype in ("bf16", weight_dtype)
    )
    assert small / plain == pytest.approx(share, rel=0.02)


def test_a_smaller_cache_is_read_faster(toy):
    plain, small = (
        memory_bound(toy, "dense", kv_dtype=dtype).latency[FULL].seconds(np.array([[1e6]])) for dtype in ("bf16", "fp8")
    )
    assert plain == pytest.approx(2 * small)


def test_a_window_that_does_not_bind_changes_nothing(toy):
    dense, windowed = step_cost(toy.replicas("dense")), step_cost(toy.replicas("windowed"))
    x = features(decodes=10, context=50)
    whole = dense.latency_s({k: v for k, v in x.items() if "100" not in k})
    assert windowed.latency_s(x) == pytest.approx(whole, rel=0.02)


def test_a_window_saves_the_tokens_beyond_it(toy):
    dense, windowed = memory_bound(toy, "dense"), memory_bound(toy, "windowed")
    step = {"decodes": 10, "context": 10_000}
    saved = seconds(dense, **step) - seconds(windowed, **step)
    assert saved == pytest.approx(10 * (10_000 - 100) * 6 * 4 * 2 * 50 * 2 / 1e12, rel=0.01)


@pytest.mark.parametrize("model", MODELS)
def test_two_ranks_halve_the_matrices(toy, model):
    step = features(decodes=1, context=1)
    one, two = (shares_of(step_cost(toy.replicas(model, {"tp": tp})), step) for tp in (1, 2))
    for name in set(one) & {"qkv", "attention_output", "ffn_up", "ffn_down", "head", "experts", "shared_experts_up"}:
        assert two[name] == pytest.approx(one[name] / 2, rel=0.01)


def test_ranks_that_share_a_layer_reduce_twice_in_it(toy):
    r = toy.replicas("dense", {}, {"tp": 2}, {"tp": 4}, on_kernels=toy.real)
    found = shares_of(
        step_cost(r), {name: np.repeat(x, 3, axis=0) for name, x in features(decodes=8, context=1).items()}
    )
    assert found["all_reduce"][0, 0] == 0
    assert found["all_reduce"] == pytest.approx(10 * 2 * all_reduce_s(r, np.full((3, 1), 2.0 * 8 * 1000)))


def test_attention_on_several_ranks_splits_the_batch_and_not_the_heads(toy):
    alone, spread = (step_cost(toy.replicas("sparse", {"dp": dp, "ep": dp})) for dp in (1, 4))
    context = np.array([[4e6]])
    assert alone.latency[FULL].seconds(context) == pytest.approx(4 * spread.latency[FULL].seconds(context))
    step = features(decodes=64, context=1)
    assert shares_of(spread, step)["expert_exchange"] > 0
    assert "expert_exchange" not in shares_of(alone, step)
    assert shares_of(spread, step)["experts"] == pytest.approx(shares_of(alone, step)["experts"] / 4, rel=0.05)


def test_each_replica_of_a_batch_costs_what_it_costs_alone(toy):
    together = step_cost(toy.replicas("sparse", *LAYOUTS[:4], on_kernels=toy.real))
    x = features(decodes=20, context=500, prompt=700)
    found = together.cycle_s({name: np.repeat(value, 4, axis=0) for name, value in x.items()})
    for row, layout in enumerate(LAYOUTS[:4]):
        alone = step_cost(toy.replicas("sparse", layout, on_kernels=toy.real))
        assert found[row, 0] == pytest.approx(float(np.squeeze(alone.cycle_s(x))), rel=1e-9)
