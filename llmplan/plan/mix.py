"""The cheapest mix of replicas that serves a workload.

    minimize    Σ_o  price_o · nodes_o
    subject to  Σ_c  share_{b,c} = 1                                   each bucket is served
                Σ_b  load_b / capacity_{b,c} · share_{b,c} ≤ y_c       no replica type is overfull
                Σ_{c on o}  gpus_c · y_c ≤ gpus_o · nodes_o            replicas stand on whole nodes
                Σ_o  gpus_o · nodes_o ≤ gpus,   Σ_o  price_o · nodes_o ≤ money,   nodes_o ≤ limit_o
                share ≥ 0,   y and nodes whole

The shares are continuous: a router can send any part of a bucket anywhere. `rows` states the model for a solver,
`search` judges what the solver says, `routing` finds the shares, `shortfall` says why there is no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llmplan.errors import SolverError
from llmplan.plan.columns import (
    COST_TOLERANCE,
    Column,
    Floats,
    Limits,
    Mix,
    NoMix,
    Task,
    cost_of,
    nodes_of,
    task,
    verify,
)
from llmplan.plan.routing import route
from llmplan.plan.search import Found, fewest, least
from llmplan.plan.shortfall import explain, largest_load_factor, unserved
from llmplan.plan.solver import Effort

__all__ = ["Column", "Effort", "Limits", "Mix", "NoMix", "cheapest_mix", "largest_load_factor", "only_types", "verify"]

NO_LIMITS = Limits()
DEFAULT_EFFORT = Effort()


def cheapest_mix(
    columns: Sequence[Column],
    load: Sequence[float],
    limits: Limits = NO_LIMITS,
    gap: float = 0.005,
    goals: Sequence[str] = ("cost",),
    effort: Effort = DEFAULT_EFFORT,
    rivals: Sequence[Mix] = (),
) -> Mix | NoMix:
    """Return the cheapest mix of `columns` that serves `load`, or why there is none.

    Parameters
    ----------
    columns : (C,) sequence
        Replica types on offers; their order does not matter to the answer.
    load : (B,) sequence
        Arrivals of each bucket. [requests/s]
    limits : Limits
        Caps on the whole plan.
    gap : float
        Relative distance to the bound at which to stop.
    goals : sequence of {'cost', 'configurations'}
        With `configurations`, the fewest columns for at most 0.5 % more money.
    effort : Effort
        Limits of the solver.
    rivals : sequence of Mix
        Feasible answers to the same question, with the same columns; a cheaper one is kept.

    Raises
    ------
    SolverError
        When no solver can be started, or its limit was hit before anything was found.
    """
    _check_goals(goals)
    asked = task(columns, load, limits)
    none = unserved(columns, load)
    if none is not None:
        return none
    rivals = [rival for rival in rivals if not _broken(columns, load, limits, rival)]
    found = least(asked, gap, effort)
    if found.counts is None and not rivals:
        if found.status == "infeasible":
            return explain(asked, gap, effort)
        raise SolverError(f"{found.solver} found no mix within its limits; allow more nodes or seconds")
    if "configurations" in goals:
        found = fewest(asked, found, effort)
    mix = None
    routing = None if found.counts is None else route(asked, found.counts)
    if routing is not None:
        mix = described(columns, load, asked, found, routing.shares)
    return _cheapest(mix, rivals, found, gap)


def only_types(
    columns: Sequence[Column],
    load: Sequence[float],
    limits: Limits = NO_LIMITS,
    gap: float = 0.005,
    effort: Effort = DEFAULT_EFFORT,
) -> dict[str, Mix | NoMix]:
    """Return the cheapest mix on each GPU type alone; shares keep the width of all `columns`."""
    answers: dict[str, Mix | NoMix] = {}
    for gpu in sorted({column.gpu for column in columns}):
        places = [c for c, column in enumerate(columns) if column.gpu == gpu]
        answer = cheapest_mix([columns[c] for c in places], load, limits, gap, effort=effort)
        if isinstance(answer, Mix):
            shares = np.zeros((len(load), len(columns)))
            shares[:, places] = answer.shares
            answer = replace(answer, shares=shares)
        answers[gpu] = answer
    return answers


def _check_goals(goals: Sequence[str]) -> None:
    if tuple(goals) not in (("cost",), ("cost", "configurations")):
        raise ValueError(f"goals {tuple(goals)!r}: cost first, then configurations or nothing")


def _broken(columns: Sequence[Column], load: Sequence[float], limits: Limits, mix: Mix) -> list[str]:
    return verify(columns, load, limits, mix.replicas, mix.nodes, mix.shares)


def described(columns: Sequence[Column], load: Sequence[float], asked: Task, found: Found, shares: Floats) -> Mix:
    """Return what was found as a mix: priced, in the order the columns were given, every row recomputed."""
    counts = np.zeros(len(asked.columns), dtype=np.int64) if found.counts is None else found.counts
    spread = np.zeros((len(load), asked.width))
    spread[:, list(asked.places)] = shares
    nodes = nodes_of(asked.columns, counts)
    cost = cost_of(asked.columns, nodes)
    mix = Mix(
        replicas={column.name: int(count) for column, count in zip(asked.columns, counts, strict=True) if count},
        nodes=nodes,
        shares=spread,
        usd_per_hour=cost,
        bound_usd_per_hour=min(found.bound, cost),
        gap=relative_gap(cost, found.bound),
        status="optimal" if found.status == "optimal" else "feasible",
        solver=found.solver,
        verified=True,
        flag=found.flag,
    )
    broken = _broken(columns, load, asked.limits, mix)
    if broken:
        raise SolverError(f"{found.solver} gave an answer that breaks a row: {broken[0]}")
    return mix


def relative_gap(cost: float, bound: float) -> float:
    """Return how much of the cost is not proven to be needed."""
    return max(0.0, (cost - bound) / cost) if cost > 0 else 0.0


def _cheapest(mix: Mix | None, rivals: Sequence[Mix], found: Found, gap: float) -> Mix:
    """Keep a rival that is cheaper than the mix, and say what was wrong with the solver."""
    best = min(rivals if mix is None else [mix, *rivals], key=lambda known: known.usd_per_hour)
    if mix is not None and mix.usd_per_hour <= best.usd_per_hour + COST_TOLERANCE:
        return mix
    flag = ""
    if mix is None or mix.usd_per_hour * (1 - gap) > best.usd_per_hour + COST_TOLERANCE:
        said = "found nothing" if mix is None else f"answered {mix.usd_per_hour:.6g}"
        flag = f"{found.solver} {said}; a plan of {best.usd_per_hour:.6g} was known and is kept"
    bound = found.bound if found.bound <= best.usd_per_hour else 0.0
    distance = relative_gap(best.usd_per_hour, bound)
    return replace(
        best,
        bound_usd_per_hour=bound,
        gap=distance,
        status="optimal" if distance <= gap + COST_TOLERANCE else "feasible",
        solver=found.solver,
        flag=flag,
    )
