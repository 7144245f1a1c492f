"""Replica types on offers, the nodes a choice of them fills, and the check that a mix keeps every row.

A replica type c of n_c GPUs is on an offer of nodes with G GPUs each. Replicas fill nodes in three ways:

    together   n_c divides G and is a power of two, or G itself: all such types of an offer share its nodes.
               Sizes that divide each other pack without waste, so  nodes = ceil(Σ_c n_c · y_c / G)  is exact.
    alone      n_c < G otherwise: floor(G / n_c) replicas a node, the rest of the node stays empty.
    whole      n_c > G: a replica takes n_c / G nodes, which must be a whole number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

COST_TOLERANCE = 1e-6
"""Two costs this near are the same. [USD/h]"""
ROW_TOLERANCE = 1e-7
"""A row is kept when it is broken by no more than this: of a share, or of a replica's capacity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A replica type on an offer: what it serves, and what it stands on."""

    name: str
    gpu: str
    """GPU type."""
    gpus: int
    """GPUs of one replica."""
    requests_per_s: tuple[float, ...]
    """Capacity of one replica for each bucket alone; 0 = cannot serve it."""
    offer: str
    node_gpus: int
    node_usd_per_hour: float
    node_limit: int | None = None
    """Nodes of the offer that can be had."""

    def __post_init__(self) -> None:
        if self.gpus < 1 or self.node_gpus < 1:
            raise ValueError(f"{self.name}: a replica and a node have at least 1 GPU")
        if self.gpus > self.node_gpus and self.gpus % self.node_gpus:
            raise ValueError(f"{self.name}: {self.gpus} GPUs are no whole number of {self.node_gpus}-GPU nodes")
        if any(not (isfinite(rate) and rate >= 0) for rate in self.requests_per_s):
            raise ValueError(f"{self.name}: a capacity is a finite number of requests/s; 0 means cannot")
        if not (isfinite(self.node_usd_per_hour) and self.node_usd_per_hour >= 0):
            raise ValueError(f"{self.name}: a price is finite and not negative")
        if self.node_limit is not None and self.node_limit < 0:
            raise ValueError(f"{self.name}: a limit is not negative")

    @property
    def packing(self) -> Literal["together", "alone", "whole"]:
        """How its replicas fill nodes."""
        if self.gpus > self.node_gpus:
            return "whole"
        chained = self.gpus.bit_count() == 1 or self.gpus == self.node_gpus
        return "together" if chained and self.node_gpus % self.gpus == 0 else "alone"

    @property
    def per_node(self) -> int:
        """Replicas that fit in one node; 0 when a replica is wider than a node."""
        return self.node_gpus // self.gpus

    @property
    def nodes_each(self) -> int:
        """Nodes of one replica that is wider than a node."""
        return self.gpus // self.node_gpus

    @property
    def usd_per_hour(self) -> float:
        """Price of one replica in full nodes."""
        return self.node_usd_per_hour * (self.nodes_each if self.packing == "whole" else 1 / self.per_node)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Hard caps on the whole plan."""

    gpus: int | None = None
    """GPUs rented, idle ones included."""
    usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mix:
    """How many replicas of each type serve the load, and for what money."""

    replicas: Mapping[str, int]
    """By column, cheapest replica first; only those in use."""
    nodes: Mapping[str, int]
    """By offer."""
    shares: Floats  # (B, C), columns in the order they were given; a bucket without load has no shares
    usd_per_hour: float
    bound_usd_per_hour: float
    """No mix of these columns can cost less."""
    gap: float
    """(cost - bound) / cost."""
    status: Literal["optimal", "feasible"]
    """optimal: proven, within the gap that was asked."""
    solver: str
    verified: bool
    """Every row was recomputed from the counts, outside the solver."""
    flag: str = ""
    """What was wrong with the solver's own answer, when another was kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMix:
    """Why nothing serves the load."""

    reason: str
    binding: str
    """`bucket 3`, or the limits: gpus, usd_per_hour, node_limit; joined by `or` when lifting either is enough, by
    `and` when all must be lifted."""
    served: float
    """The largest rate of this mix of requests that is served within the limits. [requests/s]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A question with its arrays: sorted columns, the load, and the work of each bucket on each column."""

    columns: tuple[Column, ...]
    places: tuple[int, ...]
    """Position of each column among those that were given."""
    width: int
    """How many were given."""
    load: Floats  # (B,)
    work: Floats  # (B, C): replicas that the whole bucket keeps busy; inf = cannot, 0 = no load
    limits: Limits


def task(columns: Sequence[Column], load: Sequence[float], limits: Limits) -> Task:
    """Check the question, sort the columns by price and name, drop the dominated ones."""
    check(columns, load)
    order = sorted(range(len(columns)), key=lambda c: (columns[c].usd_per_hour, columns[c].name))
    rates = np.array([columns[c].requests_per_s for c in order], dtype=float).reshape(len(order), len(load))
    kept = [place for place, keep in zip(order, _undominated([columns[c] for c in order], rates), strict=True) if keep]
    return Task(
        columns=tuple(columns[c] for c in kept),
        places=tuple(kept),
        width=len(columns),
        load=np.asarray(load, dtype=float),
        work=work([columns[c] for c in kept], load),
        limits=limits,
    )


def work(columns: Sequence[Column], load: Sequence[float]) -> Floats:
    """Return the replicas that each bucket would keep busy on each column alone, (B, C); inf = cannot."""
    rates = np.array([column.requests_per_s for column in columns], dtype=float).reshape(len(columns), len(load)).T
    arriving = np.asarray(load, dtype=float)[:, None]  # (B, 1)
    busy = np.divide(arriving, rates, out=np.full(rates.shape, np.inf), where=rates > 0)  # (B, C)
    return np.where(arriving > 0, busy, 0.0)


def check(columns: Sequence[Column], load: Sequence[float]) -> None:
    """Raise ValueError unless names are unique, shapes agree and offers mean one thing."""
    if any(not (isfinite(rate) and rate >= 0) for rate in load):
        raise ValueError("a load is a finite number of requests/s for each bucket, and not negative")
    offers: dict[str, tuple[int, float, int | None]] = {}
    names = set()
    for column in columns:
        if column.name in names:
            raise ValueError(f"two columns are named {column.name!r}")
        names.add(column.name)
        if len(column.requests_per_s) != len(load):
            raise ValueError(f"{column.name}: {len(column.requests_per_s)} capacities for {len(load)} buckets")
        facts = (column.node_gpus, column.node_usd_per_hour, column.node_limit)
        if offers.setdefault(column.offer, facts) != facts:
            raise ValueError(f"{column.name}: offer {column.offer!r} has two sizes, prices or limits")


def _undominated(columns: Sequence[Column], rates: Floats) -> list[bool]:
    """Mark columns that no other of their offer replaces: as many GPUs of it serve every bucket at least as fast.

    Exact, because whole replicas of the other fill the same part of the same nodes.
    """
    keep = [True] * len(columns)
    by_offer: dict[str, list[int]] = {}
    for c, column in enumerate(columns):
        if column.packing != "alone":
            by_offer.setdefault(column.offer, []).append(c)
    for members in by_offer.values():
        gpus = np.array([columns[c].gpus for c in members])
        for c in members:
            times = columns[c].gpus / gpus  # (M,)
            able = (times >= 1) & (columns[c].gpus % gpus == 0)
            better = able & np.all(times[:, None] * rates[members] >= rates[c], axis=1)
            for other in (members[m] for m in np.flatnonzero(better)):
                twins = columns[other].gpus == columns[c].gpus and bool(np.all(rates[other] == rates[c]))
                if other != c and not (twins and other > c):
                    keep[c] = False
                    break
    return keep


def nodes_of(columns: Sequence[Column], counts: Iterable[int]) -> dict[str, int]:
    """Return the fewest nodes of each offer that hold `counts` replicas of each column; offers in use only."""
    shared: dict[str, int] = {}
    nodes: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for column, count in zip(columns, counts, strict=True):
        if count < 1:
            continue
        sizes[column.offer] = column.node_gpus
        if column.packing == "together":
            shared[column.offer] = shared.get(column.offer, 0) + column.gpus * int(count)
        elif column.packing == "alone":
            nodes[column.offer] = nodes.get(column.offer, 0) - (-int(count) // column.per_node)
        else:
            nodes[column.offer] = nodes.get(column.offer, 0) + column.nodes_each * int(count)
    for offer, gpus in shared.items():
        nodes[offer] = nodes.get(offer, 0) - (-gpus // sizes[offer])
    return dict(sorted(nodes.items()))


def cost_of(columns: Sequence[Column], nodes: Mapping[str, int]) -> float:
    """Return what `nodes` cost. [USD/h]"""
    prices = {column.offer: column.node_usd_per_hour for column in columns}
    return float(sum(prices[offer] * count for offer, count in nodes.items()))


def gpus_of(columns: Sequence[Column], nodes: Mapping[str, int]) -> int:
    """Return the GPUs in `nodes`."""
    sizes = {column.offer: column.node_gpus for column in columns}
    return sum(sizes[offer] * count for offer, count in nodes.items())


def verify(
    columns: Sequence[Column],
    load: Sequence[float],
    limits: Limits,
    replicas: Mapping[str, int],
    nodes: Mapping[str, int],
    shares: Floats,
) -> list[str]:
    """Recompute every row of the mix from its rounded values.

    Parameters
    ----------
    columns : (C,) sequence
    load : (B,) sequence
        Arrivals of each bucket. [requests/s]
    limits : Limits
    replicas, nodes : mapping
        By column and by offer; what is not named is 0.
    shares : (B, C) array
        Part of each bucket that each column serves.

    Returns
    -------
    The broken rows in words; none when the mix is what it says.
    """
    known = {column.name for column in columns}, {column.offer for column in columns}
    strange = sorted((set(replicas) - known[0]) | (set(nodes) - known[1]))
    if strange:
        return [f"no column or offer {name!r}" for name in strange]
    if shares.shape != (len(load), len(columns)):
        return [f"shares have shape {shares.shape}, not {(len(load), len(columns))}"]
    checks: list[Callable[[], list[str]]] = [
        lambda: _broken_counts(replicas, nodes),
        lambda: _broken_coverage(load, shares),
        lambda: _broken_capacity(columns, load, replicas, shares),
        lambda: _broken_nodes(columns, replicas, nodes),
        lambda: _broken_limits(columns, limits, nodes),
    ]
    return [row for rows in checks for row in rows()]


def _broken_counts(replicas: Mapping[str, int], nodes: Mapping[str, int]) -> list[str]:
    counts = [*replicas.items(), *nodes.items()]
    return [f"{name}: {count!r} is not a count" for name, count in counts if count != int(count) or count < 0]


def _broken_coverage(load: Sequence[float], shares: Floats) -> list[str]:
    rows = []
    if shares.size and (shares.min() < -ROW_TOLERANCE or shares.max() > 1 + ROW_TOLERANCE):
        rows.append("a share is not between 0 and 1")
    for bucket, (rate, served) in enumerate(zip(load, shares.sum(axis=1), strict=True)):
        if rate > 0 and abs(served - 1) > ROW_TOLERANCE:
            rows.append(f"bucket {bucket}: {served:.9g} of it is served")
    return rows


def _broken_capacity(
    columns: Sequence[Column], load: Sequence[float], replicas: Mapping[str, int], shares: Floats
) -> list[str]:
    used = np.where(shares > 0, shares, 0.0)
    busy = np.multiply(work(columns, load), used, out=np.zeros_like(used), where=used > 0).sum(axis=0)  # (C,)
    rows = []
    for column, needed in zip(columns, busy, strict=True):
        count = replicas.get(column.name, 0)
        if not needed <= count + ROW_TOLERANCE * max(1, count) or (needed > 0 and count < 1):
            rows.append(f"{column.name}: {needed:.9g} replicas are busy, {count} are there")
    return rows


def _broken_nodes(columns: Sequence[Column], replicas: Mapping[str, int], nodes: Mapping[str, int]) -> list[str]:
    needed = nodes_of(columns, [int(replicas.get(column.name, 0)) for column in columns])
    return [
        f"{offer}: {count} nodes are needed, {nodes.get(offer, 0)} are there"
        for offer, count in needed.items()
        if nodes.get(offer, 0) < count
    ]


def _broken_limits(columns: Sequence[Column], limits: Limits, nodes: Mapping[str, int]) -> list[str]:
    return [f"{name}: {had:g} of at most {cap:g}" for name, had, cap in over(columns, limits, nodes)]


def over(columns: Sequence[Column], limits: Limits, nodes: Mapping[str, int]) -> list[tuple[str, float, float]]:
    """Return (limit, use, cap) of every limit that `nodes` break."""
    caps = {column.offer: column.node_limit for column in columns}
    broken: list[tuple[str, float, float]] = []
    gpus = gpus_of(columns, nodes)
    if limits.gpus is not None and gpus > limits.gpus:
        broken.append(("gpus", gpus, limits.gpus))
    usd = cost_of(columns, nodes)
    if limits.usd_per_hour is not None and usd > limits.usd_per_hour + COST_TOLERANCE:
        broken.append(("usd_per_hour", usd, limits.usd_per_hour))
    for offer, count in nodes.items():
        cap = caps[offer]
        if cap is not None and count > cap:
            broken.append((f"node_limit of {offer}", count, cap))
    return broken
