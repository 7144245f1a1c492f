"""Why nothing serves the load within the limits, by how much, and what the limits can serve instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isfinite

import numpy as np

from llmplan.errors import SolverError
from llmplan.plan.columns import Column, Counts, Limits, NoMix, Task, gpus_of, nodes_of, over, task
from llmplan.plan.routing import route
from llmplan.plan.rows import SMALL, build
from llmplan.plan.search import Found, least
from llmplan.plan.solver import Effort, relax, solve

FAMILIES = ("gpus", "usd_per_hour", "node_limit")


def unserved(columns: Sequence[Column], load: Sequence[float]) -> NoMix | None:
    """Return the answer for a load with buckets that no column can serve at all, or None."""
    lost = [b for b, rate in enumerate(load) if rate > 0 and not any(c.requests_per_s[b] > 0 for c in columns)]
    if not lost:
        return None
    which = ", ".join(map(str, lost))
    reason = f"no column can serve bucket{'s' if len(lost) > 1 else ''} {which}"
    return NoMix(reason=reason, binding=f"bucket {lost[0]}", served=0.0)


def explain(asked: Task, gap: float, effort: Effort) -> NoMix:
    """Name the limits that bind, by solving again without each of them.

    Parameters
    ----------
    asked : Task
        Infeasible by proof.
    gap : float
        Of the solves that say how much is missing.
    effort : Effort

    Raises
    ------
    SolverError
        When the solver contradicts itself: the load can be served.
    """
    set_limits = [family for family in FAMILIES if _has(asked, family)]
    factor = load_factor(asked, effort)
    if factor > 1 + SMALL:
        raise SolverError(f"the solver called it infeasible, yet {factor:.6g} times the load can be served")
    lifted = {family: _lifted(asked, gap, effort, [family]) for family in set_limits}
    enough = [family for family in set_limits if lifted[family].counts is not None]
    if enough:
        binding, reasons = " or ".join(enough), [_missing(asked, family, lifted[family]) for family in enough]
    else:
        free = _lifted(asked, gap, effort, set_limits)
        binding = " and ".join(set_limits)
        reasons = [_missing(asked, family, free) for family in set_limits]
    return NoMix(
        reason="; ".join(reason for reason in reasons if reason),
        binding=binding,
        served=float(factor * asked.load.sum()),
    )


def largest_load_factor(
    columns: Sequence[Column], load: Sequence[float], limits: Limits, effort: Effort | None = None
) -> float:
    """Return the largest factor by which the whole load can be multiplied and still be served.

    Parameters
    ----------
    columns : (C,) sequence
    load : (B,) sequence
        [requests/s]
    limits : Limits
        inf is returned when they limit nothing, 0 when a bucket has no column.
    effort : Effort, optional
    """
    return load_factor(task(columns, load, limits), effort or Effort())


def load_factor(asked: Task, effort: Effort) -> float:
    """Return the largest factor of `asked.load` that is served, verified by routing.

    Notes
    -----
    Never too high, because it is read off a routing; too low when the solver's limit was hit before its proof.
    The load is first scaled to what no choice of columns can exceed, so that the factor searched is in [0, 1] and
    every row of the mix keeps its form; the LP relaxation then scales it again, nearer.
    """
    if not np.isfinite(asked.work).any(axis=1).all():
        return 0.0
    top = _most(asked)
    if not isfinite(top) or top <= 0:
        return top
    near = _at(asked, top)
    rows = build(near, partly=True)
    rows.problem.setObjective(-rows.served)
    relaxed = relax(rows.problem, effort.prefer)
    if relaxed.status == "optimal" and 0 < -relaxed.bound < 1:
        top *= -relaxed.bound
    best = 0.0
    for careful in (False, True):
        rows = build(_at(asked, top), partly=True, careful=careful)
        rows.problem.setObjective(-rows.served)
        outcome = solve(rows.problem, 0.0, effort.node_limit, effort.time_limit_s, effort.prefer)
        if outcome.status not in ("optimal", "feasible"):
            raise SolverError(f"{outcome.solver} could not say how much load is served; allow more nodes or seconds")
        best = max(best, _carried(asked, rows.counts()))
        if best >= top * (rows.served.value() or 0.0) * (1 - SMALL):
            break
    return best


def _at(asked: Task, factor: float) -> Task:
    return replace(asked, load=asked.load * factor, work=asked.work * factor)


def _carried(asked: Task, counts: Counts) -> float:
    """Return the factor of the load that `counts` replicas serve."""
    routing = route(asked, counts)
    if routing is None or over(asked.columns, asked.limits, nodes_of(asked.columns, counts)):
        return 0.0
    return 1 / routing.busy if routing.busy > 0 else inf


def _most(asked: Task) -> float:
    """Return a factor of the load that the limits cannot exceed: the least over buckets, each served alone."""
    rates = np.divide(1.0, asked.work, out=np.zeros_like(asked.work), where=asked.work > 0)  # (B, C), of the bucket
    rates = rates[asked.load > 0]
    if not rates.size:
        return inf
    columns = asked.columns
    nodes_a_replica = np.array([c.nodes_each if c.packing == "whole" else 1 / c.per_node for c in columns])
    a_node = rates / nodes_a_replica  # (B, C)
    tops = [np.full(len(rates), inf)]
    if asked.limits.gpus is not None:
        tops.append((a_node / [c.node_gpus for c in columns]).max(axis=1) * asked.limits.gpus)
    if asked.limits.usd_per_hour is not None:
        prices = np.array([c.node_usd_per_hour for c in columns])
        free = np.where(a_node > 0, inf, 0.0)
        tops.append(np.divide(a_node, prices, out=free, where=prices > 0).max(axis=1) * asked.limits.usd_per_hour)
    offers = {c.offer: c.node_limit for c in columns}
    by_offer = np.zeros(len(rates))
    for offer, limit in offers.items():
        best = a_node[:, [c.offer == offer for c in columns]].max(axis=1)
        by_offer += np.where(best > 0, best * limit if limit is not None else inf, 0.0)
    tops.append(by_offer)
    return float(np.min(tops))


def _has(asked: Task, family: str) -> bool:
    if family == "node_limit":
        return any(column.node_limit is not None for column in asked.columns)
    return getattr(asked.limits, family) is not None


def _lifted(asked: Task, gap: float, effort: Effort, families: list[str]) -> Found:
    """Solve without these limits, for the least of the one that is lifted alone."""
    limits = Limits(
        gpus=None if "gpus" in families else asked.limits.gpus,
        usd_per_hour=None if "usd_per_hour" in families else asked.limits.usd_per_hour,
    )
    columns = asked.columns
    if "node_limit" in families:
        columns = tuple(replace(column, node_limit=None) for column in columns)
    freed = replace(asked, limits=limits, columns=columns)
    return least(freed, gap, effort, "gpus" if families == ["gpus"] else "usd_per_hour")


def _missing(asked: Task, family: str, found: Found) -> str:
    """Say how much of a limit the answer without it takes."""
    if found.counts is None:
        return ""
    nodes = nodes_of(asked.columns, found.counts)
    if family == "gpus":
        return f"{gpus_of(asked.columns, nodes)} GPUs are needed, at most {asked.limits.gpus} are allowed"
    if family == "usd_per_hour":
        return f"{found.value:.6g} USD/h are needed, at most {asked.limits.usd_per_hour:.6g} are allowed"
    caps = {column.offer: column.node_limit for column in asked.columns}
    short = [
        f"{count} nodes of {offer} are needed, {caps[offer]} can be had"
        for offer, count in nodes.items()
        if (cap := caps[offer]) is not None and count > cap
    ]
    return ", ".join(short)
