"""The published form of the mix, for comparison: buckets in equal slices, each slice whole on one replica type.

    minimize    Σ_c  price_c · y_c
    subject to  Σ_c  z_{b,c} = S                                       every slice goes somewhere
                Σ_b  z_{b,c} · load_b / (S · capacity_{b,c}) ≤ y_c     no replica type is overfull
                z and y whole

It has one binary for each slice and type in print; counting equal slices has the same answers and is faster. The
shares of `cheapest_mix` are the limit of many slices: never dearer, and mostly faster to find.

References
----------
.. [1] Griggs et al., "Mélange: Cost Efficient Large Language Model Serving by Exploiting GPU Heterogeneity",
       arXiv 2404.14527, 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import numpy as np

from llmplan.errors import SolverError
from llmplan.plan.columns import COST_TOLERANCE, ROW_TOLERANCE, Column, Counts, Floats, Limits, Mix, NoMix, Task, task
from llmplan.plan.mix import DEFAULT_EFFORT, described
from llmplan.plan.routing import one_column, price
from llmplan.plan.rows import build
from llmplan.plan.search import judged
from llmplan.plan.shortfall import unserved
from llmplan.plan.solver import Effort, Outcome, relax, solve


def cheapest_slices(
    columns: Sequence[Column], load: Sequence[float], slice_factor: int, effort: Effort = DEFAULT_EFFORT
) -> Mix | NoMix:
    """Return the cheapest mix that sends each of `slice_factor` equal slices of a bucket to one replica type.

    Parameters
    ----------
    columns : (C,) sequence
        Limits of offers are not looked at.
    load : (B,) sequence
        [requests/s]
    slice_factor : int
        Slices of each bucket.
    effort : Effort

    Raises
    ------
    SolverError
        When no solver can be started, or nothing was found within its limits.
    """
    if slice_factor < 1:
        raise ValueError(f"a bucket has at least 1 slice, not {slice_factor}")
    none = unserved(columns, load)
    if none is not None:
        return none
    columns = [replace(column, node_limit=None) for column in columns]
    asked = task(columns, load, Limits())
    shares, outcome = _asked(asked, slice_factor, effort, careful=False)
    if _price(asked, shares) > outcome.bound + COST_TOLERANCE:  # perhaps what was left out takes a replica
        careful, _ = _asked(asked, slice_factor, effort, careful=True)
        shares = careful if _price(asked, careful) < _price(asked, shares) else shares
    single = one_column(asked)
    rows = build(asked, slices=slice_factor)
    rows.problem.setObjective(rows.usd_per_hour)
    floor = relax(rows.problem, effort.prefer).bound
    answers = (None if shares is None else _filled(asked, shares), single)
    found = judged(asked, "usd_per_hour", 0.0, answers, (outcome, floor))
    if found.counts is None:
        raise SolverError(f"{found.solver} found no mix within its limits; allow more nodes or seconds")
    if shares is None or found.counts is single:
        shares = np.outer(asked.load > 0, found.counts > 0).astype(float)
    return described(columns, load, asked, found, shares)


def _asked(asked: Task, slice_factor: int, effort: Effort, careful: bool) -> tuple[Floats | None, Outcome]:
    rows = build(asked, slices=slice_factor, careful=careful)
    rows.problem.setObjective(rows.usd_per_hour)
    outcome = solve(rows.problem, 0.0, effort.node_limit, effort.time_limit_s, effort.prefer)
    return (rows.shares(asked) if outcome.status in ("optimal", "feasible") else None), outcome


def _filled(asked: Task, shares: Floats) -> Counts:
    """Return the fewest replicas that hold these shares, (C,)."""
    busy = np.multiply(asked.work, shares, out=np.zeros_like(shares), where=shares > 0).sum(axis=0)
    counts = np.ceil(busy - ROW_TOLERANCE * np.maximum(1.0, busy)).astype(np.int64)
    return np.where(busy > 0, np.maximum(counts, 1), 0)


def _price(asked: Task, shares: Floats | None) -> float:
    return inf if shares is None else price(asked, _filled(asked, shares))
