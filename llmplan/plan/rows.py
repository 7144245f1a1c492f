"""The rows of the mix, as a problem for a solver.

    x_{b,c}  share of bucket b that column c serves        y_c  replicas, whole        v_k  nodes, whole

    serve    Σ_c x_{b,c} = 1                               for each bucket b with load
    fit      Σ_b w_{b,c} · x_{b,c} ≤ y_c                   w_{b,c} = load_b / capacity_{b,c}, divided by its largest
    tie      x_{b,c} ≤ y_c                                 where w_{b,c} is small against its row, or one replica does
    share    Σ_{c together on o} n_c · y_c ≤ G_o · v_o     nodes that several sizes share
    alone    y_c ≤ floor(G_o / n_c) · v_c                  nodes of one size that does not divide them
    nodes    v_o + Σ v_c + Σ_{c whole} (n_c/G_o) · y_c     = nodes of offer o,  ≤ its limit
    gpus     Σ_o G_o · nodes_o ≤ limit                     usd  Σ_o price_o · nodes_o ≤ limit

A column that cannot serve a bucket has no x there. Small coefficients make solvers wrong (HiGHS has called 1.6 optimal
where 1.2 was), so none is given to them: a w below `SMALL` of its row is left out, and `tie` keeps the bucket on
columns that are bought. That loosens the problem by less than `SMALL` of a bucket, so its bound stays valid, and the
answer is recomputed with every coefficient. Should it fail by that little, the problem is built again `careful`:
small coefficients raised to `SMALL`, all others by one part in a million, so that whatever fits there fits in truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from llmplan.plan.columns import Column, Counts, Floats, Task

if TYPE_CHECKING:
    from collections.abc import Iterable

SMALL = 1e-6
"""Coefficients of `fit` below this part of their row are left out."""


@dataclass(slots=True, kw_only=True)
class Rows:
    """A problem without an objective, and the expressions to make one of."""

    problem: Any
    replicas: list[Any]
    """y, by column."""
    parts: dict[tuple[int, int], Any]
    """x, or whole slices of a bucket, by bucket and column."""
    served: Any
    """Part of the whole load that is served: 1, or a variable in [0, 1]."""
    slices: int | None
    usd_per_hour: Any = None
    gpus: Any = None
    configurations: Any = None

    def counts(self) -> Counts:
        """Return the replicas that the solver chose, rounded."""
        return np.array([round(y.value() or 0.0) for y in self.replicas], dtype=np.int64)

    def shares(self, task: Task) -> Floats:
        """Return the shares that the solver chose, exact multiples when the buckets are sliced; (B, C)."""
        found = np.zeros(task.work.shape)
        for (b, c), x in self.parts.items():
            value = x.value() or 0.0
            found[b, c] = value if self.slices is None else round(value) / self.slices
        return found


def build(
    task: Task, slices: int | None = None, careful: bool = False, partly: bool = False, used: bool = False
) -> Rows:
    """Return the rows of `task`.

    Parameters
    ----------
    task : Task
    slices : int, optional
        Cut each bucket in so many equal slices that go whole to one column.
    careful : bool
        Raise the coefficients instead of leaving out the small ones.
    partly : bool
        Let `served` be a variable instead of 1.
    used : bool
        Count the columns in use, in `configurations`.
    """
    import pulp

    problem = pulp.LpProblem("mix", pulp.LpMinimize)
    replicas = [problem.add_variable(f"y_{c}", 0, cat="Integer") for c in range(len(task.columns))]
    cat = "Continuous" if slices is None else "Integer"
    able = np.isfinite(task.work) & (task.load > 0)[:, None]  # (B, C)
    parts = {
        (int(b), int(c)): problem.add_variable(f"x_{b}_{c}", 0, slices, cat=cat)
        for b, c in zip(*np.nonzero(able), strict=True)
    }
    served = problem.add_variable("served", 0, 1) if partly else 1
    rows = Rows(problem=problem, replicas=replicas, parts=parts, served=served, slices=slices)
    _serve(rows, task)
    _fit(rows, task, careful)
    _stand(rows, task)
    if used:
        _count(rows, task)
    return rows


def _sum(terms: Iterable[tuple[Any, float]]) -> Any:
    import pulp

    return pulp.LpAffineExpression(list(terms))


def _serve(rows: Rows, task: Task) -> None:
    by_bucket: dict[int, list[Any]] = {int(b): [] for b in np.flatnonzero(task.load > 0)}
    for (b, _), x in rows.parts.items():
        by_bucket[b].append(x)
    for b, ways in by_bucket.items():
        rows.problem += _sum((x, 1.0) for x in ways) == (rows.slices or 1) * rows.served, f"serve_{b}"


def _fit(rows: Rows, task: Task, careful: bool) -> None:
    work = np.where(np.isfinite(task.work), task.work, 0.0)
    largest = work.max(axis=0, initial=0.0)  # (C,)
    whole = work.sum(axis=0)
    cut = rows.slices or 1
    terms: dict[int, list[tuple[Any, float]]] = {}
    for (b, c), x in rows.parts.items():
        weight = work[b, c] / largest[c]
        if careful:
            weight = max(weight, SMALL) * (1 + SMALL)
        if weight >= SMALL:
            terms.setdefault(c, []).append((x, weight))
        if weight <= SMALL * (1 + SMALL) or whole[c] <= 1:
            rows.problem += x <= cut * rows.replicas[c], f"tie_{b}_{c}"
    for c, weights in terms.items():
        if whole[c] > 1 or careful:
            rows.problem += _sum([*weights, (rows.replicas[c], -cut / largest[c])]) <= 0, f"fit_{c}"


def _stand(rows: Rows, task: Task) -> None:
    """Put the replicas on nodes, and the nodes under their limits."""
    offers: dict[str, list[int]] = {}
    for c, column in enumerate(task.columns):
        offers.setdefault(column.offer, []).append(c)
    usd: list[tuple[Any, float]] = []
    gpus: list[tuple[Any, float]] = []
    for o, members in enumerate(offers.values()):
        column = task.columns[members[0]]
        nodes = _nodes(rows, task.columns, members, str(o))
        if column.node_limit is not None:
            rows.problem += _sum(nodes) <= column.node_limit, f"nodes_{o}"
        usd += [(variable, each * column.node_usd_per_hour) for variable, each in nodes]
        gpus += [(variable, each * column.node_gpus) for variable, each in nodes]
    rows.usd_per_hour, rows.gpus = _sum(usd), _sum(gpus)
    if task.limits.gpus is not None:
        rows.problem += rows.gpus <= task.limits.gpus, "gpus"
    cap = task.limits.usd_per_hour
    if cap is not None:
        scale = 1 / max(cap, 1.0)
        rows.problem += _sum((variable, usd_each * scale) for variable, usd_each in usd) <= cap * scale, "usd"


def _nodes(rows: Rows, columns: tuple[Column, ...], members: list[int], offer: str) -> list[tuple[Any, float]]:
    """Return the terms whose sum is the nodes of one offer."""
    terms: list[tuple[Any, float]] = []
    shared = [c for c in members if columns[c].packing == "together"]
    if shared:
        node = rows.problem.add_variable(f"v_{offer}", 0, cat="Integer")
        filled = [(rows.replicas[c], columns[c].gpus) for c in shared]
        rows.problem += _sum([*filled, (node, -columns[shared[0]].node_gpus)]) <= 0, f"share_{offer}"
        terms.append((node, 1.0))
    for c in members:
        if columns[c].packing == "alone":
            node = rows.problem.add_variable(f"v_{offer}_{c}", 0, cat="Integer")
            rows.problem += rows.replicas[c] <= columns[c].per_node * node, f"alone_{c}"
            terms.append((node, 1.0))
        elif columns[c].packing == "whole":
            terms.append((rows.replicas[c], columns[c].nodes_each))
    return terms


def _count(rows: Rows, task: Task) -> None:
    """Tie a binary to each column in use; more replicas than the whole load needs are never of use."""
    most = np.where(np.isfinite(task.work), task.work, 0.0).sum(axis=0)
    binaries = []
    for c, y in enumerate(rows.replicas):
        binary = rows.problem.add_variable(f"w_{c}", 0, 1, cat="Integer")
        rows.problem += y <= ceil(most[c] * (1 + SMALL) + 1) * binary, f"used_{c}"
        binaries.append((binary, 1.0))
    rows.configurations = _sum(binaries)
