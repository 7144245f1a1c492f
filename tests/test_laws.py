"""Laws of the whole answer on random questions: seeds are fixed, figures are not."""

from __future__ import annotations

import random

import pytest

from llmplan.recommend import recommend_plan
from llmplan.settle import Options
from llmplan.spec.catalog import Catalog
from llmplan.spec.plan import Answer
from llmplan.spec.workload import WorkloadFile

CATALOG = Catalog()
EXACT = Options(gap=0.0, top=0)
MODELS = ("llama-3.1-8b", "qwen3-32b", "qwen3-30b-a3b", "llama-3.1-70b")


def answer(model: str, workload: dict[str, object], slo: dict[str, str], **shared: object) -> Answer:
    asked = WorkloadFile.model_validate({"model": model, "workload": workload, "slo": slo, **shared}, context={})
    return recommend_plan(asked.fleet(), CATALOG, EXACT)


def usd(found: Answer) -> float:
    assert found.cost is not None, found.infeasible
    return found.cost.usd_per_hour


def traffic(dice: random.Random) -> dict[str, object]:
    lengths = {"input_tokens": dice.choice((100, 500, 2000, 8000)), "output_tokens": dice.choice((20, 200, 800))}
    return {**lengths, "rate": f"{10 ** dice.uniform(-0.5, 1.6):.3g} requests/s"}


@pytest.mark.parametrize("seed", range(10))
def test_two_classes_cost_no_more_than_each_on_its_own(seed: int) -> None:
    dice = random.Random(seed)
    model = dice.choice(MODELS)
    slos = [{"ttft": dice.choice(("500 ms p99", "1 s p95", "4 s p90"))} for _ in range(2)]
    parts = [traffic(dice) for _ in range(2)]
    alone = [answer(model, part, slo) for part, slo in zip(parts, slos, strict=True)]
    if any(one.status == "infeasible" for one in alone):
        pytest.skip("a class has no plan of its own")
    classes = [{"name": f"c{i}", **part, "slo": slo} for i, (part, slo) in enumerate(zip(parts, slos, strict=True))]
    both = answer(model, {"classes": classes}, {})
    assert both.findings == ()
    assert usd(both) <= sum(usd(one) for one in alone) + 1e-6
    assert all(told.utilization is not None and told.utilization <= 1 + 1e-6 for told in both.pools.values())


@pytest.mark.parametrize("seed", range(6))
def test_a_looser_bound_never_costs_more(seed: int) -> None:
    dice = random.Random(100 + seed)
    model, load = dice.choice(MODELS), traffic(dice)
    costs = [usd(answer(model, load, {"ttft": "3 s p95", "tpot": f"{ms} ms p95"})) for ms in (30, 45, 46, 60, 90)]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("seed", range(8))
def test_a_budget_just_above_the_plan_changes_nothing(seed: int) -> None:
    dice = random.Random(200 + seed)
    model, load, slo = dice.choice(MODELS), traffic(dice), {"ttft": "2 s p95", "tpot": "60 ms p95"}
    free = usd(answer(model, load, slo))
    capped = answer(model, load, slo, limits={"usd_per_hour": f"{free * 1.0005:.6f} USD/h"})
    assert usd(capped) == pytest.approx(free, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_more_traffic_never_costs_less(seed: int) -> None:
    dice = random.Random(300 + seed)
    model, load, slo = dice.choice(MODELS), traffic(dice), {"ttft": "2 s p95", "tpot": "60 ms p95"}
    costs = [usd(answer(model, {**load, "rate": f"{rate} requests/s"}, slo)) for rate in (0.01, 1, 3, 3.3, 11, 40)]
    assert costs == sorted(costs)


def test_one_token_answers_have_no_tpot() -> None:
    load = {"input_tokens": 2000, "output_tokens": 1, "rate": "24 requests/s"}
    bounded = answer("llama-3.1-70b", load, {"ttft": "2 s p95", "tpot": "50 ms p95"})
    assert usd(bounded) == usd(answer("llama-3.1-70b", load, {"ttft": "2 s p95"}))
    assert "tpot_p95_s" not in bounded.predicted
