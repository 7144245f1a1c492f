"""What each solver says, in the four situations that matter, and what happens without any."""

import random
import sys

import pulp
import pytest

from llmplan.errors import SolverError
from llmplan.plan.solver import relax, solve

BOTH = pytest.mark.parametrize("solver", ["highs", "cbc"])


def knapsack(seed=0, items=12):
    """Most value in a sack of half the weight."""
    draw = random.Random(seed)
    problem = pulp.LpProblem("sack", pulp.LpMaximize)
    take = [problem.add_variable(f"take_{i}", 0, 1, cat="Integer") for i in range(items)]
    value, weight = ([draw.randint(5, 30) for _ in take] for _ in range(2))
    problem += pulp.lpDot(value, take) + 7
    problem += pulp.lpDot(weight, take) <= sum(weight) // 2, "weight"
    return problem


def market_split(exact, rows=5, items=40):
    """Split every row in equal halves: exactly, or with the least slack. Neither is found by any solver in a second."""
    draw = random.Random(1)
    problem = pulp.LpProblem("split", pulp.LpMinimize)
    side = [problem.add_variable(f"side_{i}", 0, 1, cat="Integer") for i in range(items)]
    slacks = []
    for row in range(rows):
        weight = [draw.randrange(100) for _ in side]
        over, under = problem.add_variable(f"over_{row}", 0), problem.add_variable(f"under_{row}", 0)
        slack = 0 if exact else over - under
        slacks += [over, under]
        problem += pulp.lpDot(weight, side) + slack == sum(weight) // 2, f"half_{row}"
    problem.setObjective(pulp.lpSum(side if exact else slacks))
    return problem


@BOTH
def test_proven_optimum_is_optimal(solver):
    problem = knapsack()
    outcome = solve(problem, 0.0, prefer=solver)
    assert outcome.status == "optimal"
    assert outcome.bound >= pulp.value(problem.objective) - 1e-6
    assert outcome.solver.casefold().startswith(solver)


def test_bound_of_highs_meets_its_optimum_with_sign_and_constant():
    problem = knapsack()
    outcome = solve(problem, 0.0)
    assert outcome.bound == pytest.approx(pulp.value(problem.objective))


@BOTH
@pytest.mark.parametrize("limit", [{"time_limit_s": 0.3}, {"node_limit": 5}])
def test_stop_with_an_incumbent_is_feasible(solver, limit):
    problem = market_split(exact=False)
    outcome = solve(problem, 0.0, prefer=solver, **limit)
    assert outcome.status == "feasible"
    assert outcome.bound < pulp.value(problem.objective)


@BOTH
@pytest.mark.parametrize("limit", [{"time_limit_s": 0.3}, {"node_limit": 5}])
def test_stop_without_an_incumbent_is_unknown(solver, limit):
    assert solve(market_split(exact=True), 0.0, prefer=solver, **limit).status == "unknown"


@BOTH
def test_infeasible_relaxation_is_infeasible(solver):
    problem = knapsack()
    problem += problem.variables()[0] >= 2, "twice"
    assert solve(problem, 0.0, prefer=solver).status == "infeasible"


def test_infeasible_integers_are_infeasible_for_highs_and_unknown_for_cbc():
    def odd_sum_of_evens():
        problem = pulp.LpProblem("odd", pulp.LpMinimize)
        a, b = (problem.add_variable(name, 0, 10, cat="Integer") for name in "ab")
        problem += a + b
        problem += 2 * a + 2 * b == 7, "odd"
        return problem

    assert solve(odd_sum_of_evens(), 0.0).status == "infeasible"
    assert solve(odd_sum_of_evens(), 0.0, prefer="cbc").status == "unknown"


def test_solvers_agree_on_thirty_instances():
    for seed in range(30):
        problems = knapsack(seed), knapsack(seed)
        outcomes = [solve(p, 0.0, prefer=s) for p, s in zip(problems, ["highs", "cbc"], strict=True)]
        values = [pulp.value(p.objective) for p in problems]
        assert [o.status for o in outcomes] == ["optimal", "optimal"]
        assert values[0] == pytest.approx(values[1], abs=1e-6)
        assert min(o.bound for o in outcomes) >= values[0] - 1e-6


@BOTH
def test_relaxation_bounds_the_optimum_and_has_duals(solver):
    problem = knapsack()
    relaxed = relax(problem, prefer=solver)
    assert relaxed.status == "optimal"
    assert problem.get_constraint_by_name("weight").pi != 0
    solve(problem, 0.0)
    assert relaxed.bound > pulp.value(problem.objective)


def test_cbc_answers_when_highspy_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "highspy", None)
    assert solve(knapsack(), 0.0).solver == "CBC"


def test_cbc_answers_when_highs_fails(monkeypatch):
    def fail(*_):
        raise pulp.PulpSolverError("broken\ninstallation")

    monkeypatch.setattr(pulp.HiGHS, "actualSolve", fail)
    assert solve(knapsack(), 0.0).solver == "CBC"


def test_no_solver_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "highspy", None)
    monkeypatch.setattr(pulp.PULP_CBC_CMD, "available", lambda _: False)
    monkeypatch.setattr(pulp.COIN_CMD, "available", lambda _: False)
    with pytest.raises(SolverError, match="install highspy") as caught:
        solve(knapsack(), 0.0)
    assert "\n" not in str(caught.value)


def test_unknown_solver_is_refused():
    with pytest.raises(SolverError, match="pick one of highs, cbc"):
        solve(knapsack(), 0.0, prefer="gurobi")


def test_highs_with_all_threads_before_does_not_disturb():
    import highspy

    other = highspy.Highs()
    other.setOptionValue("output_flag", False)
    other.addVar(0, 1)
    other.run()
    assert solve(knapsack(), 0.0).solver.startswith("HiGHS")


def test_same_problem_gives_the_same_values():
    first, second = knapsack(3), knapsack(3)
    solve(first, 0.0)
    solve(second, 0.0)
    assert [v.value() for v in first.variables()] == [v.value() for v in second.variables()]
