from __future__ import annotations

import math
from dataclasses import replace
from math import inf

import numpy as np
import pytest

from llmplan.perf.replica import (
    FEWEST_DECODES,
    LOAD_CEILING,
    at_load,
    bounds_of,
    keeps,
    largest_load,
    mixed,
    most_decodes,
    operating,
    replica_cost,
    requests_of,
    step_features,
    upper_normal,
)
from llmplan.spec.workload import Bucket, Slo

KINDS = [
    ("dense", {}),
    ("windowed", {"tp": 2}),
    ("sparse", {"tp": 2, "dp": 2, "ep": 4}),
    ("latent", {"pp": 2}),
    ("indexed", {"tp": 2}),
    ("compressed", {}),
    ("linear", {"tp": 4}),
    ("single", {}),
]
LENGTHS = [(100, 100), (1000, 2), (5000, 50), (20, 2000), (20_000, 100)]
CASES = [(kind, lengths) for kind in range(len(KINDS)) for lengths in LENGTHS]


def one(number):
    return np.array([[float(number)]])


def cell(numbers):
    return float(np.squeeze(numbers))


P95 = one(0.95)


def bucket(prompt, output, cached=0.0, square=None, prompt_max=None, output_max=None):
    return Bucket(
        name="b",
        traffic_class="c",
        input_tokens=prompt,
        input_tokens_max=prompt_max or prompt,
        cached_share=cached,
        output_tokens=output,
        output_tokens_square=square or output**2,
        output_tokens_max=output_max or output,
        output_tokens_tail=output,
    )


def requests(cost, prompt, output, gap_cv=1.0, **more):
    return requests_of([bucket(prompt, output, **more)], cost.reaches, gap_cv)


def every(cost, gap_cv=1.0):
    """One column for each of `LENGTHS`."""
    return requests_of([bucket(*lengths) for lengths in LENGTHS], cost.reaches, gap_cv)


def slo(**bounds):
    return Slo.model_validate({name: f"{value} ms p95" for name, value in bounds.items() if value is not None})


def capacity(cost, asked, **bounds):
    state, possible = largest_load(cost, asked, keeps(bounds_of([slo(**bounds)])))
    return cell(state.requests_per_s) if cell(possible) else 0.0


def capacities(cost, asked, bounds):
    """Requests/s of each kind under its own bounds."""
    state, possible = largest_load(cost, asked, keeps(bounds_of(bounds)))
    return np.where(possible, state.requests_per_s, 0.0)


@pytest.fixture(scope="module")
def costs(toy):
    runs = toy.engine(overhead={"first_token_steps": 2})
    return [replica_cost(toy.replicas(model, layout, on_kernels=toy.real, runs=runs)) for model, layout in KINDS]


# ---- requests ----


def test_a_bucket_becomes_a_request_by_hand():
    r = requests_of([bucket(1000, 100, cached=0.25, square=20_000, output_max=400)], [inf], 1.0)
    assert cell(r.cached) == 250
    assert cell(r.prompt) == 750
    assert cell(r.decodes) == 99
    assert cell(r.context) == 1000 + 20_000 / 200
    assert cell(r.reserved) == 1100
    assert cell(r.largest) == 1400
    assert cell(r.pairs[inf]) == sum(range(251, 1001))


def test_each_reach_bounds_contexts_and_pairs():
    r = requests_of([bucket(1000, 100)], [64.0, 512.0, inf], 1.0)
    assert {reach: cell(context) for reach, context in r.contexts.items()} == {64: 64, 512: 512, inf: 1050}
    assert cell(r.pairs[64]) == sum(min(i, 64) for i in range(1, 1001))
    assert cell(r.pairs[512]) == sum(min(i, 512) for i in range(1, 1001))


def test_a_prompt_that_is_all_cached_still_has_its_last_token():
    assert cell(requests_of([bucket(100, 10, cached=1.0)], [inf], 1.0).prompt) == 1


def test_one_kind_alone_is_its_own_mean(costs):
    asked = requests(costs[0], 500, 100)
    mean = mixed(asked, one(7))
    for name in ("prompt", "cached", "decodes", "context", "reserved", "largest", "pairs"):
        assert getattr(mean, name) == getattr(asked, name)


def test_a_mean_request_weighs_prompts_by_rate_and_contexts_by_steps():
    both = requests_of([bucket(100, 11), bucket(300, 31)], [inf], 1.0)
    mean = mixed(both, np.array([[3.0, 1.0]]))
    assert cell(mean.prompt) == 150
    assert cell(mean.decodes) == 15
    assert cell(mean.context) == pytest.approx((3 * 10 * 105.5 + 30 * 315.5) / 60)
    assert cell(mean.largest) == 331
    assert cell(mixed(both, np.array([[1.0, 0.0]])).largest) == 111


def test_mean_square_of_prompts_tells_their_spread():
    both = requests_of([bucket(100, 11), bucket(300, 31)], [inf], 1.0)
    mean = mixed(both, np.array([[1.0, 1.0]]))
    assert cell(mean.prompt_square / mean.prompt**2 - 1) == pytest.approx(0.25)


# ---- steady state ----


@pytest.mark.parametrize(("kind", "lengths"), CASES)
def test_decodes_in_flight_are_rate_times_stay(costs, kind, lengths):
    """Little: n = X · o₁ · s̄."""
    asked = requests(costs[kind], *lengths)
    for share in (1e-3, 0.1, 0.5, 1.0):
        state = operating(costs[kind], asked, share * most_decodes(costs[kind], asked))
        assert cell(state.in_decode) == pytest.approx(cell(state.requests_per_s * asked.decodes * state.step_s))


@pytest.mark.parametrize(("kind", "lengths"), CASES)
def test_prompt_tokens_come_in_as_fast_as_they_are_worked_off(costs, kind, lengths):
    cost = costs[kind]
    asked = requests(cost, *lengths)
    state = operating(cost, asked, 0.5 * most_decodes(cost, asked))
    assert cell(state.prefill_tokens * cost.pp / state.step_s) == pytest.approx(
        cell(state.requests_per_s * asked.prompt)
    )
    assert cell(state.decodes_in_step + state.prefill_tokens) <= cell(cost.max_num_batched_tokens)


@pytest.mark.parametrize(("kind", "lengths"), CASES)
def test_everything_rises_with_the_batch(costs, kind, lengths):
    cost = costs[kind]
    asked = requests(cost, *lengths)
    top = cell(most_decodes(cost, asked))
    state = operating(cost, asked, np.geomspace(top / 1000, top, 300)[None, :])
    measured = {
        "rate": state.requests_per_s,
        "load": state.lane_load,
        "step": state.step_s,
        "tpot": state.tpot_s(asked, P95),
        "ttft": state.ttft_s(asked, P95),
        "mean": state.ttft_mean_s(asked),
        "e2e": state.e2e_s(asked, P95),
        "concurrency": state.concurrency,
    }
    for name, values in measured.items():
        finite = values[np.isfinite(values)]
        slack = 1e-3 if name in ("rate", "load", "step", "concurrency") else 5e-3  # a crowd may stand on a flat stair
        assert np.all(finite[1:] >= finite[:-1] * (1 - slack)), name
        assert np.all(np.isinf(values[0, finite.size :])), name


@pytest.mark.parametrize(("kind", "lengths"), CASES)
def test_a_higher_quantile_is_no_smaller(costs, kind, lengths):
    asked = requests(costs[kind], *lengths)
    state = operating(costs[kind], asked, 0.3 * most_decodes(costs[kind], asked))
    for metric in (state.ttft_s, state.tpot_s, state.e2e_s):
        values = [cell(metric(asked, one(q))) for q in (0.5, 0.9, 0.95, 0.99)]
        assert values == sorted(values)
    assert cell(state.tpot_s(asked, one(0.5))) == cell(state.step_s)


def test_an_end_is_the_first_token_and_an_answer(costs):
    asked = requests(costs[0], 500, 100)
    state = operating(costs[0], asked, one(20))
    ends = state.ttft_s(asked, P95) + 99 * state.tpot_s(asked, P95)
    assert cell(state.e2e_s(asked, P95)) == pytest.approx(cell(ends))


def test_a_mean_step_lies_between_one_without_and_one_with_a_chunk(costs):
    asked = requests(costs[0], 500, 100)
    state = operating(costs[0], asked, one(20))
    assert cell(state.chunk_share) == pytest.approx(20 / 99)
    assert cell(state.decode_step_s) < cell(state.step_s) < cell(state.mixed_step_s)
    mean = (1 - 20 / 99) * state.decode_step_s + 20 / 99 * state.mixed_step_s
    assert cell(state.step_s) == pytest.approx(cell(mean))


def test_the_steps_of_steady_state_are_those_of_the_cost(costs):
    cost = costs[0]
    asked = requests(cost, 500, 100)
    state = operating(cost, asked, one(20))
    x = step_features(asked, one(20), one(500), one(1))
    assert {name: cell(value) for name, value in x.items()} == {
        "steps": 1,
        "tokens": 520,
        "prefill_tokens": 500,
        "prefill_pairs": 500 * 501 / 2 / 1024,
        "sequences": 21,
        "decode_context": 20 * 550,
    }
    assert cell(state.mixed_step_s) == pytest.approx(cell(cost.step.cycle_s(x)))


def test_a_long_prompt_comes_in_chunks(costs):
    cost = costs[0]
    asked = requests(cost, 20_000, 100)
    state = operating(cost, asked, one(1))
    assert cell(state.own_prefill_s(asked)) > 2 * cell(state.full_step_s)  # 8,191 + 8,191 + 3,618 tokens
    assert cell(state.own_prefill_s(asked)) < 3 * cell(state.full_step_s)


def test_a_step_that_does_not_mix_pays_for_both(toy):
    asked = {}
    for mixes in (True, False):
        cost = replica_cost(toy.replicas("dense", on_kernels=toy.real, mixes_prefill_and_decode=mixes))
        asked[mixes] = operating(cost, requests(cost, 500, 100), one(20))
    assert cell(asked[False].mixed_step_s) > cell(asked[True].mixed_step_s)
    assert cell(asked[False].decode_step_s) == cell(asked[True].decode_step_s)


# ---- waiting ----


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_equal_prompts_at_random_wait_as_in_an_m_d_1_queue(costs, load):
    """W = ρ·D / (2·(1 − ρ))."""
    asked = requests(costs[0], 8000, 20)
    state = replace(operating(costs[0], asked, one(1)), lane_load=one(load), lane_service_s=one(2.0))
    assert cell(state.wait_s(None)) == pytest.approx(load * 2.0 / (2 * (1 - load)))


def test_the_same_holds_for_a_load_that_was_asked_for(costs):
    cost = costs[0]
    asked = requests(cost, 8000, 20)
    state = at_load(cost, asked, one(7), closed=False)
    busy = cell(state.lane_load)
    assert busy == pytest.approx(7 * cell(state.lane_service_s), rel=1e-6)
    assert cell(state.wait_s(None)) == pytest.approx(busy * cell(state.lane_service_s) / (2 * (1 - busy)))


def test_prompts_as_spread_as_the_arrivals_wait_twice_as_long(costs):
    asked = requests(costs[0], 8000, 20)
    spread = replace(asked, prompt_square=2 * asked.prompt**2)
    state = operating(costs[0], asked, one(1))
    assert cell(replace(state, requests=spread).wait_s(None)) == pytest.approx(2 * cell(state.wait_s(None)))


def test_the_tail_of_the_wait_is_exponential(costs):
    asked = requests(costs[0], 8000, 20)
    state = replace(operating(costs[0], asked, one(1)), lane_load=one(0.8), lane_service_s=one(1.0))
    mean = cell(state.wait_s(None))
    assert cell(state.wait_s(P95)) == pytest.approx(mean / 0.8 * math.log(0.8 / 0.05))
    assert cell(state.wait_s(one(0.1))) == 0


def test_clockwork_of_equal_prompts_never_waits(costs):
    asked = requests(costs[0], 8000, 20, gap_cv=0.0)
    state = operating(costs[0], asked, one(1))
    assert cell(state.wait_s(None)) == cell(state.wait_s(P95)) == 0


def test_a_lane_that_is_full_has_an_endless_queue(costs):
    asked = requests(costs[0], 8000, 20)
    state = replace(operating(costs[0], asked, one(1)), lane_load=one(1.0))
    assert cell(state.wait_s(None)) == cell(state.ttft_s(asked, P95)) == math.inf


def test_a_crowd_is_a_poisson_one(costs):
    asked = requests(costs[0], 100, 100)
    state = operating(costs[0], asked, one(100))
    assert cell(state.crowd(P95)) == pytest.approx(100 + 1.6449 * 10, rel=1e-4)
    assert cell(state.crowd(one(0.5))) == 100


def test_quantiles_below_the_median_are_taken_for_it():
    assert upper_normal(np.array([[0.1, 0.5, 0.95]])) == pytest.approx(np.array([[0, 0, 1.6449]]), abs=1e-4)


# ---- loads ----


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_a_load_is_met(costs, kind):
    cost = costs[kind]
    asked = every(cost)
    most = operating(cost, asked, most_decodes(cost, asked)).requests_per_s
    for share in (1e-4, 0.01, 0.3, 0.9):
        state = at_load(cost, asked, share * most, closed=False)
        assert state.requests_per_s == pytest.approx(share * most, rel=1e-6)


def test_more_than_a_replica_can_carry_is_its_largest_batch(costs):
    asked = requests(costs[0], 1000, 100)
    state = at_load(costs[0], asked, one(1e9), closed=False)
    assert cell(state.in_decode) == pytest.approx(cell(most_decodes(costs[0], asked)))


@pytest.mark.parametrize("kind", range(len(KINDS)))
@pytest.mark.parametrize("tpot", [5, 20, 1000])
def test_the_rate_of_the_largest_load_leads_back_to_its_step(costs, kind, tpot):
    cost = costs[kind]
    asked = every(cost)
    state, possible = largest_load(cost, asked, keeps(bounds_of([slo(ttft=5000, tpot=tpot)] * len(LENGTHS))))
    again = at_load(cost, asked, state.requests_per_s, closed=False)
    assert np.any(possible)
    assert again.step_s[possible] == pytest.approx(state.step_s[possible], rel=1e-6)
    assert again.in_decode[possible] == pytest.approx(state.in_decode[possible], rel=1e-6)


@pytest.mark.parametrize("kind", range(len(KINDS)))
@pytest.mark.parametrize("users", [0.01, 1.0, 7.0, 40.0])
def test_a_closed_loop_holds_its_users(costs, kind, users):
    """N = X · (TTFT + o₁ · s̄), unless the replica holds fewer."""
    cost = costs[kind]
    asked = every(cost, gap_cv=0.0)
    state = at_load(cost, asked, np.full((1, len(LENGTHS)), users), closed=True)
    held = state.requests_per_s * (state.ttft_mean_s(asked) + asked.decodes * state.step_s)
    full = state.in_decode >= most_decodes(cost, asked) * (1 - 1e-6)
    assert held[~full] == pytest.approx(users, rel=1e-4)
    assert np.all(full <= (users > 7))  # only a crowd fills a replica


def test_more_users_get_more_out_of_a_replica(costs):
    asked = requests(costs[0], 500, 100, gap_cv=0.0)
    rates = [cell(at_load(costs[0], asked, one(n), closed=True).requests_per_s) for n in (1, 2, 5, 20, 100, 300)]
    assert rates == sorted(rates)


@pytest.mark.parametrize("prompt", [10, 1000, 8000, 20_000])
def test_a_request_of_one_token_never_decodes(costs, prompt):
    cost = costs[0]
    asked = requests(cost, prompt, 1)
    assert cell(asked.decodes) == FEWEST_DECODES
    ttfts = []
    for rate in (0.01, 0.5, 2.0):
        state = at_load(cost, asked, one(rate), closed=False)
        assert cell(state.requests_per_s) == pytest.approx(rate, rel=1e-6)
        assert 0 < cell(state.lane_load) < 1
        ttfts.append(cell(state.ttft_s(asked, P95)))
    assert ttfts == sorted(ttfts)
    assert math.isfinite(ttfts[-1])


# ---- capacity ----


@pytest.mark.parametrize("kind", range(len(KINDS)))
@pytest.mark.parametrize("metric", ["ttft", "tpot", "e2e"])
def test_capacity_never_rises_when_a_bound_tightens(costs, kind, metric):
    rng = np.random.default_rng(kind)
    tight, loose, kinds = [], [], []
    for lengths in LENGTHS:
        for _ in range(40):
            bounds = {name: 10 ** rng.uniform(0, 4) for name in ("ttft", "tpot", "e2e") if rng.random() < 0.7}
            own = bounds.get(metric, 10_000)
            loose.append(slo(**bounds))
            tight.append(slo(**(bounds | {metric: own * rng.uniform(0.1, 1)})))
            kinds.append(bucket(*lengths))
    asked = requests_of(kinds, costs[kind].reaches, 1.0)
    more, less = capacities(costs[kind], asked, loose), capacities(costs[kind], asked, tight)
    assert np.all(less <= more * (1 + 1e-6))
    assert np.mean(less > 0) > 0.1
    assert np.mean(less < more * 0.99) > 0.05  # many a bound is not the one that binds


@pytest.mark.parametrize(("model", "layout"), KINDS)
def test_capacity_rises_with_bandwidth(toy, model, layout):
    bounds = [slo(ttft=5000, tpot=tpot) for tpot in (None, 4, 20) for _ in LENGTHS]
    found = []
    for bandwidth in ("500 GB/s", "1 TB/s", "1.1 TB/s", "4 TB/s"):
        device = toy.gpu(memory_bytes_per_s=bandwidth)
        cost = replica_cost(toy.replicas(model, layout, on_kernels=toy.real, on=device))
        asked = requests_of([bucket(*lengths) for lengths in LENGTHS] * 3, cost.reaches, 1.0)
        found.append(capacities(cost, asked, bounds))
    assert np.all(np.diff(found, axis=0) >= 0)
    assert np.all(found[-1] > 0)


@pytest.mark.parametrize(("kind", "lengths"), CASES)
def test_the_largest_load_keeps_its_bounds_and_touches_one(costs, kind, lengths):
    cost = costs[kind]
    asked = requests(cost, *lengths)
    bounds = slo(ttft=3000, tpot=12)
    state, possible = largest_load(cost, asked, keeps(bounds_of([bounds])))
    assert cell(possible)
    assert cell(state.lane_load) <= LOAD_CEILING
    assert cell(state.crowd(P95)) <= cell(most_decodes(cost, asked)) * (1 + 1e-6)
    ttft, tpot = cell(state.ttft_s(asked, P95)), cell(state.tpot_s(asked, P95))
    assert ttft <= 3.0 * (1 + 1e-9)
    assert tpot <= 0.012 * (1 + 1e-9)
    room = cell(state.crowd(P95)) / cell(most_decodes(cost, asked))
    assert max(ttft / 3.0, tpot / 0.012, cell(state.lane_load) / LOAD_CEILING, room) == pytest.approx(1, abs=0.01)


def test_a_bound_that_one_request_alone_breaks_leaves_no_capacity(costs):
    asked = requests(costs[0], 1000, 100)
    assert capacity(costs[0], asked, tpot=0.1) == 0
    assert capacity(costs[0], asked, ttft=0.1) == 0
    assert capacity(costs[0], asked, tpot=100) > 0


def test_a_request_that_does_not_fit_leaves_no_capacity(toy):
    cost = replica_cost(toy.replicas("dense", on=toy.gpu(memory_bytes="400 MB")))  # 320 MB of weights, 8 kB a token
    assert capacity(cost, requests(cost, 1000, 100)) > 0
    assert capacity(cost, requests(cost, 20_000, 100)) == 0
    assert capacity(cost, requests(cost, 1000, 100, prompt_max=20_000)) == 0


def test_sequences_memory_and_budget_each_bound_the_batch(toy):
    def most(prompt, output, **changes):
        cost = replica_cost(toy.replicas("dense", **changes))
        return cell(most_decodes(cost, requests(cost, prompt, output)))

    assert most(10, 1000) == 256
    assert most(10, 1000, max_num_seqs=8) == 8
    assert most(999, 1001, on=toy.gpu(memory_bytes="400 MB")) == pytest.approx((400e6 - 320_042_000) / (2000 * 8000))
    assert most(99_000, 1001, max_num_batched_tokens=1000) == pytest.approx(1000 * 1000 / 100_000)


def test_a_mix_keeps_the_bounds_of_each_of_its_kinds(costs):
    cost = costs[0]
    both = requests_of([bucket(100, 100), bucket(4000, 100)], cost.reaches, 1.0)
    bounds = bounds_of([slo(ttft=200, tpot=20), slo(ttft=400, tpot=20)])
    state, possible = largest_load(cost, mixed(both, np.array([[3.0, 1.0]])), keeps(bounds, both))
    assert cell(possible)
    assert np.all(state.ttft_s(both, bounds.ttft_quantile) <= bounds.ttft_s * (1 + 1e-9))
    assert np.all(state.tpot_s(both, bounds.tpot_quantile) <= bounds.tpot_s * (1 + 1e-9))
    alone = [
        capacity(cost, requests(cost, prompt, 100), ttft=ttft, tpot=20) for prompt, ttft in ((100, 200), (4000, 400))
    ]
    assert min(alone) <= cell(state.requests_per_s) <= max(alone)


def test_replicas_side_by_side_are_as_if_alone(toy):
    layouts = ({}, {"tp": 2}, {"tp": 4, "pp": 2})
    together = replica_cost(toy.replicas("dense", *layouts, on_kernels=toy.real))
    buckets = [bucket(*lengths) for lengths in LENGTHS]
    bounds = keeps(bounds_of([slo(ttft=5000, tpot=20)] * len(buckets)))
    state, _ = largest_load(together, requests_of(buckets, together.reaches, 1.0), bounds)
    assert state.requests_per_s.shape == (3, 5)
    for row, layout in enumerate(layouts):
        cost = replica_cost(toy.replicas("dense", layout, on_kernels=toy.real))
        for column, lengths in enumerate(LENGTHS):
            alone = capacity(cost, requests(cost, *lengths), ttft=5000, tpot=20)
            assert state.requests_per_s[row, column] == pytest.approx(alone, rel=1e-6)
