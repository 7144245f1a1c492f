"""`recommend` end to end: laws of the answer, the proof, the loop over mixed requests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmplan.errors import InputError
from llmplan.estimate import estimate_plan, estimate_workload
from llmplan.placing import cheapest_offers
from llmplan.recommend import recommend_plan
from llmplan.settle import Options
from llmplan.spec.catalog import Catalog
from llmplan.spec.plan import Answer
from llmplan.spec.workload import OfferFilter, WorkloadFile

EXACT = Options(gap=0.0, top=0)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog()


def asked(**changes: object) -> WorkloadFile:
    question: dict[str, object] = {
        "model": "llama-3.1-8b",
        "workload": {"input_tokens": 600, "output_tokens": 200, "rate": "12 requests/s"},
        "slo": {"ttft": "1 s p95", "tpot": "60 ms p95"},
    }
    return WorkloadFile.model_validate({**question, **changes}, context={})


def answer(catalog: Catalog, options: Options = EXACT, **changes: object) -> Answer:
    return recommend_plan(asked(**changes).fleet(), catalog, options)


def usd(found: Answer) -> float:
    assert found.cost is not None, found.infeasible
    return found.cost.usd_per_hour


def load(rate: float) -> dict[str, object]:
    return {"input_tokens": 600, "output_tokens": 200, "rate": f"{rate} requests/s"}


def test_cost_never_falls_when_demand_grows(catalog: Catalog) -> None:
    costs = [usd(answer(catalog, workload=load(rate))) for rate in (1, 2, 4, 8, 16, 32, 64)]
    assert costs == sorted(costs)


def test_cost_never_rises_when_a_gpu_is_added(catalog: Catalog) -> None:
    gpus = ["l4", "a10g", "l40s", "h100-sxm"]
    costs = [usd(answer(catalog, offers={"gpus": gpus[: n + 1]})) for n in range(len(gpus))]
    assert costs == sorted(costs, reverse=True)


def test_cost_never_falls_when_a_bound_tightens(catalog: Catalog) -> None:
    costs = [usd(answer(catalog, slo={"ttft": "2 s p95", "tpot": f"{ms} ms p95"})) for ms in (100, 60, 30, 15)]
    assert costs == sorted(costs)


def test_a_mix_is_never_dearer_than_the_best_single_gpu_type(catalog: Catalog) -> None:
    found = answer(catalog, options=Options(gap=0.0))
    singles = [a.usd_per_hour for a in found.alternatives if a.usd_per_hour is not None and not a.reason]
    assert usd(found) <= min(singles) + 1e-6


def test_the_shipped_mix_example_beats_every_single_gpu_type(catalog: Catalog) -> None:
    found = answer(
        catalog,
        options=Options(gap=0.0),
        workload={"input_tokens": 500, "output_tokens": 200, "rate": "24 requests/s"},
    )
    assert found.plan is not None
    assert len({pool.gpu for pool in found.plan.pools}) > 1
    assert usd(found) < min(a.usd_per_hour for a in found.alternatives if a.usd_per_hour is not None)


def test_the_plan_pays_for_whole_nodes(catalog: Catalog) -> None:
    found = answer(catalog, model="llama-3.1-70b", workload=load(10))
    plan = found.plan
    assert plan is not None
    offers = {o.name: o for o in plan.offers}
    assert usd(found) == pytest.approx(sum(offers[r.offer].usd_per_hour * r.nodes for r in plan.rentals))
    for rental in plan.rentals:
        used = sum(pool.gpus * pool.count for pool in plan.pools if pool.offer == rental.offer)
        assert used <= rental.nodes * offers[rental.offer].node.gpus


def test_every_bucket_is_served_once(catalog: Catalog) -> None:
    lengths = {"p50": 500, "p90": 3000, "p99": 9000}
    found = answer(catalog, workload={"input_tokens": lengths, "output_tokens": 200, "rate": "20 requests/s"})
    assert found.plan is not None
    for bucket in found.plan.buckets:
        served = sum(share.share for share in found.plan.shares if share.bucket == bucket.name)
        assert served == pytest.approx(1.0)


def test_mixed_requests_keep_their_bounds_after_the_loop(catalog: Catalog) -> None:
    classes = [
        {"name": "chat", "input_tokens": 500, "output_tokens": 200, "rate": "20 requests/s"},
        {
            "name": "long",
            "input_tokens": 12000,
            "output_tokens": 500,
            "rate": "3 requests/s",
            "slo": {"ttft": "5 s p95"},
        },
    ]
    found = answer(catalog, workload={"classes": classes}, slo={"ttft": "600 ms p95", "tpot": "50 ms p95"})
    assert found.search is not None
    assert found.optimality is not None
    assert found.search.rounds > 1
    assert found.status == "feasible"
    assert found.findings == ()
    assert found.optimality.bound_usd_per_hour < usd(found)
    assert (found.predicted["chat.ttft_p95_s"].value or 9) <= 0.6
    assert (found.predicted["chat.tpot_p95_s"].value or 9) <= 0.050
    assert (found.predicted["long.ttft_p95_s"].value or 9) <= 5


def test_bounds_hold_in_the_plans_own_prediction(catalog: Catalog) -> None:
    found = answer(catalog)
    assert (found.predicted["ttft_p95_s"].value or 9) <= 1.0
    assert (found.predicted["tpot_p95_s"].value or 9) <= 0.060
    assert all(told.utilization <= 1 + 1e-6 for told in found.pools.values())


def test_predictions_carry_basis_band_and_method(catalog: Catalog) -> None:
    found = answer(catalog, offers={"gpus": ["h100-sxm"]})
    ttft = found.predicted["ttft_p95_s"]
    assert (ttft.basis, ttft.method) == ("calibrated", "approximation")
    assert ttft.low is not None
    assert ttft.high is not None
    assert ttft.low < ttft.high


def test_a_device_nobody_measured_says_so(catalog: Catalog) -> None:
    found = answer(catalog, offers={"gpus": ["mi300x"]})
    assert found.predicted["tpot_mean_s"].basis == "datasheet"
    assert any("mi300x" in warning and "datasheet" in warning for warning in found.warnings)


def test_estimate_returns_the_plans_own_figures(catalog: Catalog) -> None:
    found = answer(catalog)
    read = Answer.model_validate(found.document(), context={"base_units": True})
    again = estimate_plan(read, catalog)
    assert (again.cost, again.predicted, again.pools) == (found.cost, found.predicted, found.pools)


def test_an_answer_survives_the_way_through_json(catalog: Catalog) -> None:
    found = answer(catalog)
    assert Answer.model_validate(found.document(), context={"base_units": True}) == found


def test_closed_loop_counts_requests_in_flight(catalog: Catalog) -> None:
    found = answer(catalog, workload={"input_tokens": 600, "output_tokens": 200, "concurrency": 64})
    told = next(iter(found.pools.values()))
    assert told.concurrency is not None
    total = sum(t.concurrency * p.count for t, p in zip(found.pools.values(), found.plan.pools, strict=True))
    assert total == pytest.approx(64, rel=1e-3)


def test_gpu_cap_is_never_exceeded(catalog: Catalog) -> None:
    found = answer(catalog, workload=load(12), limits={"gpus": 2})
    assert found.plan is not None
    offers = {o.name: o for o in found.plan.offers}
    assert sum(r.nodes * offers[r.offer].node.gpus for r in found.plan.rentals) <= 2


def test_a_budget_too_small_is_infeasible_with_the_least_cost(catalog: Catalog) -> None:
    free = answer(catalog)
    found = answer(catalog, limits={"usd_per_hour": "1 USD/h"})
    assert found.status == "infeasible"
    assert found.infeasible is not None
    assert found.infeasible.binding == "usd_per_hour"
    assert any(n.usd_per_hour == pytest.approx(usd(free), rel=1e-6) for n in found.infeasible.nearest)


def test_an_unreachable_bound_names_the_best_that_can_be_reached(catalog: Catalog) -> None:
    found = answer(catalog, slo={"ttft": "1 ms p95", "tpot": "60 ms p95"})
    assert found.infeasible is not None
    assert found.infeasible.binding == "slo.ttft"
    assert "ttft_p95" in found.infeasible.best_reachable
    nearest = found.infeasible.nearest[0]
    assert nearest.change.startswith("ttft ")
    assert nearest.usd_per_hour is not None


def test_a_model_too_large_for_its_gpu_is_infeasible_by_memory(catalog: Catalog) -> None:
    found = answer(catalog, model="deepseek-v3", offers={"gpus": ["t4"]})
    assert found.infeasible is not None
    assert found.infeasible.binding in ("memory", "formats")


def test_lossy_formats_are_used_only_when_allowed(catalog: Catalog) -> None:
    strict = answer(catalog, model="llama-3.1-70b", workload=load(10))
    lossy = answer(catalog, Options(gap=0.0, top=0, allow_lossy=True), model="llama-3.1-70b", workload=load(10))
    kept = {(p.deployment.stage.weight_dtype, p.deployment.kv_dtype) for p in strict.plan.pools}
    assert kept == {("bf16", "bf16")}
    assert usd(lossy) <= usd(strict) + 1e-6


def test_cached_prompts_cost_less(catalog: Catalog) -> None:
    traffic = {"input_tokens": 4000, "output_tokens": 200, "rate": "12 requests/s"}
    cold = usd(answer(catalog, workload=traffic))
    warm = usd(answer(catalog, workload={**traffic, "prefix": {"hit_rate": 0.8}}))
    assert warm < cold


def test_answers_of_one_token_are_served_like_those_of_two(catalog: Catalog) -> None:
    traffic = {"input_tokens": 1000, "rate": "1 requests/s"}
    one, two = (answer(catalog, workload={**traffic, "output_tokens": n}, slo={"ttft": "10 s p95"}) for n in (1, 2))
    assert usd(one) <= usd(two) + 1e-6


def test_an_e2e_bound_counts_long_answers(catalog: Catalog) -> None:
    lengths = {"p50": 100, "p90": 800, "p99": 2000}
    traffic = {"input_tokens": 500, "output_tokens": lengths, "rate": "4 requests/s"}
    found = answer(catalog, workload=traffic, slo={"e2e": "60 s p99"})
    e2e, tpot = found.predicted["e2e_p99_s"].value, found.predicted["tpot_mean_s"].value
    assert e2e is not None
    assert tpot is not None
    assert 2000 * tpot < e2e <= 60


def test_a_request_beyond_the_models_context_is_refused(catalog: Catalog) -> None:
    with pytest.raises(InputError, match=r"exceed the context of llama-3\.1-8b, 131,072 tokens"):
        answer(catalog, workload={"input_tokens": 200_000, "output_tokens": 200, "rate": "1 requests/s"})


def test_estimate_picks_the_cheapest_offers_for_all_replicas(catalog: Catalog) -> None:
    fixed = {"gpu": "a100-40-sxm", "replicas": 7}
    found = estimate_workload(asked(deployment=fixed).fleet(), catalog)
    offers = catalog.offers(OfferFilter(gpus=("a100-40-sxm",)))
    assert usd(found) == min(-(-7 // o.node.gpus) * o.usd_per_hour for o in offers)


def test_more_in_flight_than_the_batch_holds_wait_for_a_place(catalog: Catalog) -> None:
    traffic = {"input_tokens": 8000, "output_tokens": 50, "concurrency": 100}
    fixed = {"gpu": "1xh100-sxm", "replicas": 1}
    found = estimate_workload(asked(workload=traffic, deployment=fixed, slo={}).fleet(), catalog)
    ttft, tpot = found.predicted["ttft_mean_s"].value, found.predicted["tpot_mean_s"].value
    rate = found.predicted["requests_per_s"].value
    assert ttft is not None
    assert tpot is not None
    assert rate is not None
    assert rate * (ttft + 49 * tpot) == pytest.approx(100, rel=0.02)  # Little's law


def test_an_overloaded_replica_serves_what_it_can_and_queues_without_end(catalog: Catalog) -> None:
    traffic = {"input_tokens": 2000, "output_tokens": 400, "rate": "1000 requests/s"}
    fixed = {"gpu": "1xh100-sxm", "replicas": 1}
    found = estimate_workload(asked(workload=traffic, deployment=fixed).fleet(), catalog)
    assert (found.predicted["requests_per_s"].value or 1000) < 100
    assert found.predicted["ttft_p95_s"].value is None
    assert "queue" in (found.predicted["ttft_p95_s"].reason or "")
    assert found.findings


def test_without_measured_kernels_a_gpu_wins_only_when_it_is_named(catalog: Catalog) -> None:
    free = answer(catalog, Options(gap=0.0), model="llama-3.1-70b", workload=load(24))
    cheaper = [a for a in free.alternatives if a.reason and a.usd_per_hour is not None]
    assert all(told.capacity_requests_per_s.basis != "datasheet" for told in free.pools.values())
    cap = 0.99 * usd(free)
    capped = answer(catalog, model="llama-3.1-70b", workload=load(24), limits={"usd_per_hour": f"{cap} USD/h"})
    assert capped.status == "infeasible"
    assert capped.infeasible is not None
    assert any("nobody measured" in n.change for n in capped.infeasible.nearest) == (
        min(a.usd_per_hour for a in cheaper) <= cap
    )


def test_without_measured_kernels_a_gpu_wins_where_no_other_is_on_offer(catalog: Catalog) -> None:
    found = answer(catalog, Options(gap=0.0), offers={"regions": ["us-south1"], "providers": ["gcp"]})
    assert found.plan is not None
    assert {pool.gpu for pool in found.plan.pools} == {"rtx-pro-6000-server"}
    assert not [e for e in found.excuses if e.reason == "evidence"]
    assert not any(alternative.reason for alternative in found.alternatives)


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        (Options(), {"deployment": {"replicas": 2}}, "deployment.replicas: recommend finds the count"),
        (Options(slice_factor=4), {"limits": {"gpus": 8}}, "limits: the published slice form has none"),
    ],
)
def test_what_is_no_part_of_a_search_is_refused_from_python_too(
    catalog: Catalog, options: Options, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        answer(catalog, options, **changes)


def test_a_band_is_never_narrower_where_less_is_known(catalog: Catalog) -> None:
    for metric in ("ttft_s", "tpot_s", "throughput"):
        sure = catalog.bands.row("calibrated", "hopper", metric)
        for basis in ("transferred", "datasheet"):
            less = catalog.bands.row(basis, "ampere", metric)
            assert less.low <= sure.low
            assert less.high >= sure.high


@pytest.mark.parametrize(
    "wanted",
    [
        OfferFilter(),
        OfferFilter(markets=("on_demand", "spot")),
        OfferFilter(gpus=("l4", "H100")),
        OfferFilter(providers=("gcp", "vultr")),
        OfferFilter(regions=("us-east-1", "us-central1", "westeurope")),
    ],
)
def test_the_cheapest_regions_hold_all_that_reaches_the_solver(catalog: Catalog, wanted: OfferFilter) -> None:
    everything, (few, others) = catalog.offers(wanted), catalog.cheapest_regions(wanted)
    assert len(few) + others.total() == len(everything)
    assert cheapest_offers(few, others) == cheapest_offers(everything)
    for provider in {o.provider for o in everything}:
        own = [[o for o in offers if o.provider == provider] for offers in (few, everything)]
        assert cheapest_offers(own[0])[0] == cheapest_offers(own[1])[0]


@pytest.fixture
def announced(tmp_path: Path) -> Catalog:
    """Return a catalog with cheap Rubin hosts and an engine for them."""
    root = Path(__file__).parents[1]
    files = {
        "engines/vllm.yaml": re.sub(r"\bturing:", "rubin:", (root / "engines/vllm.yaml").read_text("utf-8")),
        "hardware/nodes/r200-4.yaml": "{name: r200-4, provider: acme, gpu: rubin-r200-nvl72, gpus: 4, sources: {}}",
        "hardware/prices/acme.yaml": (
            "{provider: acme, snapshot: 2026-11-01, source: quote, offers: {r200-4: {x: {on_demand: 0.1 USD/h}}}}"
        ),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    return Catalog.with_folders([str(tmp_path)])


def test_a_preliminary_gpu_is_never_chosen_by_default(announced: Catalog) -> None:
    found = answer(announced, options=Options())
    assert found.plan is not None
    assert {o.provider for o in found.plan.offers} != {"acme"}
    assert not any("rubin" in text for text in (*found.warnings, *(a.name for a in found.alternatives)))


@pytest.mark.parametrize(
    "named", [{"offers": {"gpus": ["R200"]}}, {"offers": {"nodes": ["r200-4"]}}, {"deployment": {"gpu": "2xR200"}}]
)
def test_every_answer_with_a_preliminary_gpu_says_so(announced: Catalog, named: dict[str, object]) -> None:
    found = answer(announced, **named)
    assert found.plan is not None
    assert {pool.gpu for pool in found.plan.pools} == {"rubin-r200-nvl72"}
    again = estimate_plan(found, announced)
    fixed = estimate_workload(asked(deployment={"gpu": "1xrubin-r200-nvl72"}).fleet(), announced)
    unmet = answer(announced, **named, slo={"ttft": "1 us p95"})
    assert unmet.plan is None
    for said in (found, again, fixed, unmet):
        assert sum("rubin-r200-nvl72: preliminary" in warning for warning in said.warnings) == 1


def test_an_answer_says_that_undated_prices_are_left_out_only_where_it_would_have_taken_them(catalog: Catalog) -> None:
    def said(found: Answer) -> list[str]:
        return [text for text in found.provenance.defaults if "unknown day" in text]

    assert "(vultr)" in said(answer(catalog, offers={"gpus": ["l40s", "mi325x"]}))[0]
    assert said(answer(catalog, offers={"gpus": ["a10g"]})) == []
    assert said(estimate_workload(asked(deployment={"gpu": "1xa10g"}).fleet(), catalog)) == []
    assert said(estimate_workload(asked(deployment={"gpu": "1xmi300x"}).fleet(), catalog))


def test_a_gpu_whose_only_price_has_no_day_is_proposed_by_its_provider(catalog: Catalog) -> None:
    found = answer(catalog, offers={"gpus": ["mi325x"]})
    assert found.infeasible is not None
    assert "vultr has 1 of an unknown day" in found.infeasible.reason
    assert found.infeasible.nearest[0].change == "offers.providers: [vultr]"
    assert answer(catalog, offers={"gpus": ["mi325x"], "providers": ["vultr"]}).plan is not None
    nobody = answer(catalog, offers={"gpus": ["rtx-4090"]})
    assert nobody.infeasible is not None
    assert nobody.infeasible.reason == "no offer rents rtx-4090; add a price (llmplan prices import)"


def test_prices_without_a_day_are_left_out_and_the_answer_says_so(catalog: Catalog) -> None:
    told = [text for text in answer(catalog).provenance.defaults if "unknown day" in text]
    assert len(told) == 1
    assert "vultr" in told[0]
    named = answer(catalog, offers={"providers": ["vultr"]})
    assert not any("unknown day" in text for text in named.provenance.defaults)
    assert {o.provider for o in named.plan.offers} == {"vultr"} if named.plan else False
