"""The published form reproduces the toy example and the tables made from measured-by-simulation profiles."""

from dataclasses import replace

import numpy as np
import pytest
from toys import gpu, table, toy

from llmplan.errors import SolverError
from llmplan.plan import slices
from llmplan.plan.mix import Effort, Limits, NoMix, cheapest_mix, verify
from llmplan.plan.slices import cheapest_slices
from llmplan.plan.solver import Outcome, solve

CELLS = table("aibrix.csv")
AIBRIX = [
    gpu("a100", 1.0, [cell["a100_requests_per_s"] for cell in CELLS]),
    gpu("a40", 0.3, [cell["a40_requests_per_s"] for cell in CELLS]),
]


def aibrix_load(workload, rate):
    return [float(cell[workload]) * rate for cell in CELLS]


def test_all_rows_of_the_toy():
    rows = table("melange_toy.csv")
    assert len(rows) == 130
    for row in rows:
        columns, load = toy(row["config"], float(row["rate_requests_per_s"]))
        mix = cheapest_slices(columns, load, int(row["slice_factor"]))
        assert mix.usd_per_hour == pytest.approx(float(row["slice_usd_per_hour"]), abs=1e-6), row
        assert (mix.status, mix.flag) == ("optimal", "")


@pytest.mark.parametrize(("slice_factor", "usd", "counts"), [(1, 6.70, (3, 1)), (2, 5.69, (2, 1)), (16, 5.69, (2, 1))])
def test_more_slices_are_cheaper_at_30_requests_a_second(slice_factor, usd, counts):
    mix = cheapest_slices(*toy("head", 30), slice_factor)
    assert mix.usd_per_hour == pytest.approx(usd)
    assert (mix.replicas["a10g"], mix.replicas["a100"]) == counts


def test_all_rows_of_the_simulated_profiles():
    rows = table("aibrix_costs.csv")
    assert len(rows) == 72
    for row in rows:
        load = aibrix_load(row["workload"], float(row["rate_requests_per_s"]))
        mix = cheapest_slices(AIBRIX, load, int(row["slice_factor"]))
        assert mix.usd_per_hour == pytest.approx(float(row["slice_usd_per_hour"]), abs=1e-6), row


@pytest.mark.parametrize("solver", ["highs", "cbc"])
def test_tiny_coefficients_do_not_hide_the_optimum(solver):
    """As published (82 integers, coefficients down to 1e-9), HiGHS 1.15 calls 1.6 optimal here."""
    mix = cheapest_slices(AIBRIX, aibrix_load("doc", 8), 4, Effort(prefer=solver))
    assert mix.usd_per_hour == pytest.approx(1.2, abs=1e-6)
    assert dict(mix.replicas) == {"a40": 4}


def test_false_optimum_is_replaced_and_said(monkeypatch):
    def lie(problem, *limits):
        problem += problem.variablesDict()["y_1"] >= 1, "dear"
        outcome = solve(problem, *limits)
        return Outcome(status="optimal", bound=outcome.bound, solver=outcome.solver)

    monkeypatch.setattr(slices, "solve", lie)
    mix = cheapest_slices(AIBRIX, aibrix_load("doc", 8), 4)
    assert mix.usd_per_hour == pytest.approx(1.2, abs=1e-6)
    assert "wrong" in mix.flag
    assert mix.bound_usd_per_hour <= 1.2


def test_slices_are_whole_and_every_row_is_kept():
    columns, load = toy("head", 48)
    mix = cheapest_slices(columns, load, 4)
    assert np.all(mix.shares * 4 == np.round(mix.shares * 4))
    assert verify(columns, load, Limits(), mix.replicas, mix.nodes, mix.shares) == []


def test_slices_are_never_cheaper_than_shares():
    for rate in (7, 23, 55, 91):
        columns, load = toy("head", rate)
        sliced = cheapest_slices(columns, load, 3)
        assert sliced.usd_per_hour >= cheapest_mix(columns, load, gap=0.0).usd_per_hour - 1e-6


def test_tiny_bucket_still_gets_its_replica():
    columns = [gpu("wide", 5.0, (1, 1)), gpu("narrow", 1.0, (10, 0))]
    mix = cheapest_slices(columns, [30.0, 1e-7], 4)
    assert dict(mix.replicas) == {"narrow": 3, "wide": 1}


def test_bucket_without_a_column_is_named():
    answer = cheapest_slices([gpu("narrow", 1.0, (10, 0))], [1.0, 1.0], 2)
    assert isinstance(answer, NoMix)
    assert answer.binding == "bucket 1"


def test_limits_of_offers_are_not_looked_at():
    columns, load = toy("head", 30)
    limited = [replace(column, node_limit=1) for column in columns]
    assert cheapest_slices(limited, load, 2).usd_per_hour == pytest.approx(5.69)


def test_no_answer_and_no_plain_way_is_an_error(monkeypatch):
    nothing = Outcome(status="unknown", bound=0.0, solver="HiGHS")
    monkeypatch.setattr(slices, "solve", lambda *_: nothing)
    with pytest.raises(SolverError, match="allow more"):
        cheapest_slices([gpu("left", 1.0, (1, 0)), gpu("right", 1.0, (0, 1))], [1.0, 1.0], 2)


def test_a_bucket_has_at_least_one_slice():
    with pytest.raises(ValueError, match="at least 1 slice"):
        cheapest_slices(*toy("head", 1), 0)
