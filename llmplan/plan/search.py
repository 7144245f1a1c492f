"""The cheapest counts, from a solver whose answer is checked against the truth and against a heuristic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Literal

import numpy as np

from llmplan.errors import SolverError
from llmplan.plan.columns import COST_TOLERANCE, Counts, Floats, Limits, Task, gpus_of, nodes_of
from llmplan.plan.routing import ceiling, keeps, price, tidy
from llmplan.plan.rows import build
from llmplan.plan.solver import Effort, Outcome, Status, relax, solve

Goal = Literal["usd_per_hour", "gpus"]

FREEZE = 0.005
"""Part of the cost that may be spent on a later goal."""


SECOND_SOLVER = "cbc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best counts, verified, and what is known about better ones."""

    counts: Counts | None
    status: Status
    value: float
    """Of the counts; inf without counts."""
    bound: float
    solver: str
    flag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """The LP relaxation: fractional replicas, and the marginal cost of each bucket."""

    replicas: Floats  # (C,)
    duals: Floats  # (B,): what serving a bucket costs at the margin, were replicas divisible
    outcome: Outcome


def relaxation(task: Task, goal: Goal = "usd_per_hour", prefer: str | None = None) -> Relaxation:
    """Solve the LP relaxation; its duals are hints, not prices, because replicas are whole."""
    rows = build(task)
    rows.problem.setObjective(getattr(rows, goal))
    outcome = relax(rows.problem, prefer)
    duals = np.zeros(len(task.load))
    for bucket in np.flatnonzero(task.load > 0):
        duals[bucket] = rows.problem.get_constraint_by_name(f"serve_{bucket}").pi or 0.0
    replicas = np.array([y.value() or 0.0 for y in rows.replicas])
    return Relaxation(replicas=replicas, duals=duals, outcome=outcome)


def least(task: Task, gap: float, effort: Effort, goal: Goal = "usd_per_hour") -> Found:
    """Return the counts that serve the load for the least `goal`, asking a second solver when the first is in doubt."""
    found = _least(task, gap, effort, goal)
    doubtful = bool(found.flag) or found.counts is None
    if not doubtful or effort.prefer is not None:
        return found
    try:
        again = _least(task, gap, replace(effort, prefer=SECOND_SOLVER), goal)
    except SolverError:
        return found
    if again.counts is None:
        return found
    if again.value < found.value - COST_TOLERANCE or (not again.flag and again.value <= found.value + COST_TOLERANCE):
        bound = min(max(found.bound, again.bound) if found.counts is not None else again.bound, again.value)
        proven = again.value - bound <= gap * again.value + COST_TOLERANCE
        return replace(again, bound=bound, status="optimal" if proven else again.status)
    return found


def _least(task: Task, gap: float, effort: Effort, goal: Goal) -> Found:
    """Return what one solver and the witnesses say.

    Notes
    -----
    Counts from the solver are accepted only when a routing with every coefficient serves the load; otherwise it is
    asked once more, carefully. Two witnesses stand beside it: the ceiling heuristic above, the LP relaxation below.
    """
    if not task.load.any():
        nothing = np.zeros(len(task.columns), dtype=np.int64)
        return Found(counts=nothing, status="optimal", value=0.0, bound=0.0, solver="none")
    relaxed = relaxation(task, goal, effort.prefer)
    if relaxed.outcome.status == "infeasible":
        return Found(counts=None, status="infeasible", value=inf, bound=inf, solver=relaxed.outcome.solver)
    known = relaxed.outcome.status == "optimal"
    rounded = ceiling(task, relaxed.replicas) if known else None
    counts, outcome = _confirmed(task, gap, effort, goal)
    counts = None if counts is None else tidy(task, counts)
    floor = relaxed.outcome.bound if known else -inf
    return judged(task, goal, gap, (counts, rounded), (outcome, floor))


def fewest(task: Task, found: Found, effort: Effort) -> Found:
    """Return counts that use fewer columns for at most `FREEZE` more money than `found`, or `found` itself."""
    if found.counts is None:
        return found
    budget = inf if task.limits.usd_per_hour is None else task.limits.usd_per_hour
    cap = min(found.value * (1 + FREEZE), budget)
    frozen = replace(task, limits=Limits(gpus=task.limits.gpus, usd_per_hour=cap))
    for careful in (False, True):
        rows = build(frozen, careful=careful, used=True)
        rows.problem.setObjective(rows.configurations)
        outcome = solve(rows.problem, 0.0, effort.node_limit, effort.time_limit_s, effort.prefer)
        if outcome.status in ("optimal", "feasible") and keeps(frozen, rows.counts()):
            counts = tidy(frozen, rows.counts())
            fewer = np.count_nonzero(counts) < np.count_nonzero(found.counts)
            return replace(found, counts=counts, value=price(task, counts)) if fewer else found
    return found


def _confirmed(task: Task, gap: float, effort: Effort, goal: Goal) -> tuple[Counts | None, Outcome]:
    """Return counts that serve in truth, with the bound of the problem that was not made harder."""
    counts, outcome = _asked(task, gap, effort, goal, careful=False)
    if counts is None or keeps(task, counts):
        return counts, outcome
    counts, second = _asked(task, gap, effort, goal, careful=True)
    if counts is not None and keeps(task, counts):
        return counts, replace(second, status="feasible", bound=outcome.bound)
    status: Status = "infeasible" if second.status == "infeasible" else "unknown"
    return None, replace(second, status=status, bound=outcome.bound)


def _asked(task: Task, gap: float, effort: Effort, goal: Goal, careful: bool) -> tuple[Counts | None, Outcome]:
    rows = build(task, careful=careful)
    rows.problem.setObjective(getattr(rows, goal))
    outcome = solve(rows.problem, gap, effort.node_limit, effort.time_limit_s, effort.prefer)
    return (rows.counts() if outcome.status in ("optimal", "feasible") else None), outcome


def _value(task: Task, goal: Goal, counts: Counts | None) -> float:
    if counts is None:
        return inf
    return price(task, counts) if goal == "usd_per_hour" else gpus_of(task.columns, nodes_of(task.columns, counts))


def judged(
    task: Task,
    goal: Goal,
    gap: float,
    answers: tuple[Counts | None, Counts | None],
    proofs: tuple[Outcome, float],
) -> Found:
    """Keep the better of the solver's answer and a witness's, and of the solver's bound and the relaxation's.

    Parameters
    ----------
    task : Task
    goal : {'usd_per_hour', 'gpus'}
    gap : float
        That the solver was asked for.
    answers : (solver's, witness's)
        Counts that are known to serve the load, or None.
    proofs : (solver's, relaxation's)
        What the solver said, and a bound that does not depend on it.
    """
    (solved, plain), (outcome, floor) = answers, proofs
    claimed, witness = _value(task, goal, solved), _value(task, goal, plain)
    counts, value = (plain, witness) if witness < claimed - COST_TOLERANCE else (solved, claimed)
    if counts is None:
        return Found(counts=None, status=outcome.status, value=inf, bound=floor, solver=outcome.solver)
    flag = ""
    if counts is plain and claimed * (1 - gap) > witness + COST_TOLERANCE:
        flag = _doubt(outcome, claimed, witness)
    bound = outcome.bound
    if bound > value + COST_TOLERANCE * max(1.0, value):
        bound, flag = floor, flag or f"the solver's bound {bound:.6g} is above a verified answer of {value:.6g}"
    bound = min(max(bound, floor, 0.0), value)
    proven = (outcome.status == "optimal" and not flag) or value - bound <= gap * value + COST_TOLERANCE
    return Found(
        counts=counts,
        status="optimal" if proven else "feasible",
        value=value,
        bound=bound,
        solver=outcome.solver,
        flag=flag,
    )


def _doubt(outcome: Outcome, claimed: float, witness: float) -> str:
    if outcome.status == "infeasible":
        return f"{outcome.solver} called it infeasible; a plain way costs {witness:.6g} and is kept"
    said = f"{outcome.solver} answered {claimed:.6g}" if isfinite(claimed) else f"{outcome.solver} found nothing"
    why = "wrong" if outcome.status == "optimal" else "cut short"
    return f"{said} ({why}); a plain way costs {witness:.6g} and is kept"
