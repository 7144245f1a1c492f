"""`recommend --profile`: the published toy table through the whole use case, every row to the cent."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from llmplan.recommend import recommend_plan
from llmplan.settle import Options
from llmplan.spec.catalog import Catalog
from llmplan.spec.readers import ProfileRow
from llmplan.spec.workload import WorkloadFile

TABLE = (Path(__file__).parent / "plan" / "data" / "melange_toy.csv").read_text("utf-8")
ROWS = list(csv.DictReader(line for line in TABLE.splitlines() if not line.startswith("#")))
CELLS = ((1, 1), (1, 2), (2, 1), (2, 2))
TOY = {
    "head": ((2, 1, 5, 2), (20, 20, 40, 20), (0.2, 0.1, 0.5, 0.2)),
    "834ad00": ((5, 1, 10, 5), (20, 2, 50, 20), (0.25, 0.125, 0.375, 0.25)),
}
"""Requests/s of A10G and A100 in the four cells, and the share of requests in each (facts of the published toy)."""
CATALOG = Catalog()


def table(config: str) -> tuple[ProfileRow, ...]:
    a10g, a100, _ = TOY[config]
    return tuple(
        ProfileRow(gpu=gpu, usd_per_hour=usd, input_tokens=i, output_tokens=o, requests_per_s=float(rate))
        for gpu, usd, rates in (("A10G", 1.01, a10g), ("A100-80GB", 3.67, a100))
        for (i, o), rate in zip(CELLS, rates, strict=True)
    )


def traffic(config: str, rate: float) -> WorkloadFile:
    classes = [
        {"input_tokens": i, "output_tokens": o, "rate": f"{share * rate:.12g} requests/s"}
        for (i, o), share in zip(CELLS, TOY[config][2], strict=True)
    ]
    return WorkloadFile.model_validate({"workload": {"classes": classes}})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(list(row.values())[:3]))
def test_cost_is_the_published_one(row: dict[str, str]) -> None:
    config, rate = row["config"], float(row["rate_requests_per_s"])
    fleet = traffic(config, rate).fleet()
    mix = recommend_plan(fleet, CATALOG, Options(profile=table(config), top=0))
    sliced = recommend_plan(
        fleet, CATALOG, Options(profile=table(config), top=0, slice_factor=int(row["slice_factor"]))
    )
    assert mix.cost is not None
    assert sliced.cost is not None
    assert mix.cost.usd_per_hour == pytest.approx(float(row["mix_usd_per_hour"]), abs=1e-6)
    assert sliced.cost.usd_per_hour == pytest.approx(float(row["slice_usd_per_hour"]), abs=1e-6)
    assert mix.predicted["ttft_mean_s"].value is None
    assert {told.capacity_requests_per_s.basis for told in mix.pools.values()} == {"profile"}
