"""Routing to replicas that are there, and a good mix without a solver's word for it.

    minimize    u
    subject to  Σ_c share_{b,c} = 1
                Σ_b (load_b / capacity_{b,c}) · share_{b,c} ≤ u · y_c,  share ≥ 0

with the counts y fixed. The replicas serve the load when u ≤ 1; the routing found leaves the most headroom.
One bucket, or one pool, needs no program: all pools are then equally full, share_c ∝ y_c · capacity_c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmplan.errors import SolverError
from llmplan.plan.columns import COST_TOLERANCE, ROW_TOLERANCE, Counts, Floats, Task, cost_of, nodes_of, over

Booleans = NDArray[np.bool_]

SWAPS = 200
"""Swaps that the ceiling heuristic tries at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Shares of every bucket, and the use of the fullest pool."""

    shares: Floats  # (B, C)
    busy: float
    """Replicas busy over replicas there, in the fullest pool; 0 when nothing arrives."""


def route(task: Task, counts: Counts) -> Routing | None:
    """Return the routing with the most headroom, or None when a bucket has no replica that can serve it."""
    shares = np.zeros(task.work.shape)
    buckets = np.flatnonzero(task.load > 0)
    pools = np.flatnonzero(counts > 0)
    work = task.work[np.ix_(buckets, pools)]  # (b, c)
    able = np.isfinite(work)
    if not able.any(axis=1).all():
        return None
    if not buckets.size:
        return Routing(shares=shares, busy=0.0)
    if work.shape[0] == 1 or work.shape[1] == 1:
        found = np.divide(counts[pools], work, out=np.zeros_like(work), where=able)
        found = found / found.sum(axis=1, keepdims=True)
    else:
        found = _balanced(work, able, counts[pools])
    shares[np.ix_(buckets, pools)] = found
    return Routing(shares=shares, busy=_busy(work, found, counts[pools]))


def _balanced(work: Floats, able: Booleans, counts: Counts) -> Floats:
    """Return the shares (b, c) that leave the fullest pool the most headroom, by linear programming."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    use = work[able] / np.broadcast_to(counts, work.shape)[able]  # (pairs,)
    b, c = np.nonzero(able)
    pairs = len(use)
    scale = max(float(use.max()), 1.0)
    fill = coo_array((use / scale, (c, np.arange(pairs))), shape=(len(counts), pairs + 1)).tolil()
    fill[:, pairs] = -1.0
    serve = coo_array((np.ones(pairs), (b, np.arange(pairs))), shape=(len(work), pairs + 1))
    objective = np.zeros(pairs + 1)
    objective[pairs] = 1.0
    program: Any = linprog
    answer = program(
        objective,
        A_ub=fill.tocsr(),
        b_ub=np.zeros(len(counts)),
        A_eq=serve.tocsr(),
        b_eq=np.ones(len(work)),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if answer.x is None:
        raise SolverError("the routing program was not solved; please report the question")
    found = np.zeros(work.shape)
    found[able] = np.clip(answer.x[:pairs], 0.0, 1.0)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def _busy(work: Floats, shares: Floats, counts: Counts) -> float:
    used = np.multiply(work, shares, out=np.zeros_like(shares), where=shares > 0).sum(axis=0)
    return float((used / counts).max())


def serves(task: Task, counts: Counts) -> bool:
    """Return whether `counts` replicas serve the load."""
    routing = route(task, counts)
    return routing is not None and routing.busy <= 1 + ROW_TOLERANCE


def keeps(task: Task, counts: Counts) -> bool:
    """Return whether `counts` replicas serve the load within the limits."""
    return not over(task.columns, task.limits, nodes_of(task.columns, counts)) and serves(task, counts)


def price(task: Task, counts: Counts) -> float:
    """Return the cost of the nodes under `counts` replicas. [USD/h]"""
    return cost_of(task.columns, nodes_of(task.columns, counts))


def tidy(task: Task, counts: Counts) -> Counts:
    """Return the fewest replicas of each column, dearest first, that still serve the load."""
    counts = counts.copy()
    for c in reversed(range(len(counts))):
        low, high = -1, int(counts[c])  # `low` is too few, `high` is enough
        trial = high - 1  # mostly none can go, so that is asked first
        while high - low > 1:
            counts[c] = trial
            if serves(task, counts):
                high = trial
            else:
                low = trial
            trial = (low + high) // 2 if low >= 0 else 0
        counts[c] = high
    return counts


def ceiling(task: Task, relaxed: Floats) -> Counts | None:
    """Return a good mix made without branching, or None when none within the limits was found.

    The LP relaxation's fractional replicas are rounded up; the other start is one column for everything. From the
    better one, replicas are dropped, and swapped for one of another column, while the load is served and the plan
    gets cheaper or nearer to its limits.
    """
    rounded = np.ceil(np.maximum(relaxed, 0.0) - ROW_TOLERANCE).astype(np.int64)
    starts = [start for start in (rounded, one_column(task)) if start is not None and serves(task, start)]
    if not starts:
        return None
    best = _improved(task, min((tidy(task, start) for start in starts), key=lambda counts: _score(task, counts)))
    return best if _score(task, best)[0] <= 0 else None


def one_column(task: Task) -> Counts | None:
    """Return the cheapest way to serve everything with one column, limits aside; None when no column can."""
    need = task.work.sum(axis=0)  # (C,)
    trials = []
    for c in np.flatnonzero(np.isfinite(need)):
        counts = np.zeros(len(need), dtype=np.int64)
        counts[c] = np.ceil(need[c] - ROW_TOLERANCE * max(1.0, need[c]))
        counts[c] += need[c] > 0 and counts[c] < 1
        trials.append(counts)
    return min(trials, key=lambda counts: _score(task, counts), default=None)


def _improved(task: Task, best: Counts) -> Counts:
    """Swap single replicas while that helps."""
    score = _score(task, best)
    left = SWAPS
    cheap = _promising(task)
    improved = True
    while improved and left > 0:
        improved = False
        for give, take in _swaps(best, cheap):
            left -= 1
            trial = best.copy()
            trial[give] -= 1
            trial[take] += 1
            if _less(_score(task, trial), score) and serves(task, trial):
                best = tidy(task, trial)
                score = _score(task, best)
                improved = True
                break
            if left <= 0:
                break
    return best


def _score(task: Task, counts: Counts) -> tuple[float, float]:
    nodes = nodes_of(task.columns, counts)
    excess = sum(had / cap - 1 if cap else had for _, had, cap in over(task.columns, task.limits, nodes))
    return excess, cost_of(task.columns, nodes)


def _less(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] < b[0] - ROW_TOLERANCE or (a[0] <= b[0] and a[1] < b[1] - COST_TOLERANCE)


def _promising(task: Task) -> list[int]:
    """Return the two cheapest columns for each bucket, by money a request."""
    prices = np.array([column.usd_per_hour for column in task.columns])
    dear = np.where(np.isfinite(task.work), task.work * prices, np.inf)
    first = np.argsort(dear, axis=1, kind="stable")[:, :2]
    return sorted({int(c) for b in range(len(dear)) for c in first[b] if np.isfinite(dear[b, c])})


def _swaps(counts: Counts, cheap: list[int]) -> list[tuple[int, int]]:
    """Return (column that loses a replica, column that gets one), dearest loser first."""
    used = [int(c) for c in np.flatnonzero(counts > 0)]
    takers = sorted(set(used) | set(cheap))
    return [(give, take) for give in reversed(used) for take in takers if take != give]
