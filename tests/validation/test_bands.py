"""The error bands that every answer prints are percentiles of scored runs, and say what they rest on."""

import csv
import math
from functools import cache
from pathlib import Path

import pytest

from llmplan.spec.catalog import Catalog

ROOT = Path(__file__).resolve().parents[2]
BASES = ("calibrated", "transferred", "datasheet")
METRICS = ("ttft_s", "tpot_s", "throughput")


@cache
def bands():
    return Catalog().bands.bands


@cache
def serving():
    with (ROOT / "validation" / "serving.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def width(basis, metric):
    row = bands()[basis][metric]
    return math.log(row.high / row.low)


def test_every_basis_has_every_metric():
    assert set(bands()) == {*BASES, "profile"}
    for basis in bands():
        assert set(bands()[basis]) == set(METRICS)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("basis", BASES)
def test_a_band_contains_the_truth_half_the_time(basis, metric):
    row = bands()[basis][metric]
    median = float(row.source.rsplit("median ", 1)[1])
    assert row.low < 1 < row.high
    assert row.low < median < row.high
    assert row.rows >= 100
    assert row.mdape > 0


def test_a_measured_table_has_no_band():
    for row in bands()["profile"].values():
        assert (row.low, row.high) == (1, 1)


@pytest.mark.parametrize("metric", METRICS)
def test_less_knowledge_is_hardly_ever_a_narrower_band(metric):
    assert width("calibrated", metric) < 1.3 * width("datasheet", metric)


def test_latency_is_surer_where_the_gpu_was_measured():
    assert width("calibrated", "tpot_s") < width("datasheet", "tpot_s")
    assert width("calibrated", "ttft_s") < width("datasheet", "ttft_s")


def test_aggregates_hide_every_single_run():
    assert len(serving()) > 200
    assert min(int(row["n"]) for row in serving()) >= 5
    assert set(serving()[0]).isdisjoint({"row_id", "measured", "predicted", "concurrency"})


def test_aggregates_name_what_was_scored():
    assert {row["basis"] for row in serving()} == set(BASES)
    assert set(METRICS) <= {row["metric"] for row in serving()}
    assert {row["grade"] for row in serving()} == {"gold", "silver"}
