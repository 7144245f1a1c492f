"""How many rows each expert gets: the work of the rank whose experts are chosen most.

A router is stated by its skew α. 0 is balanced: token i takes experts i + j·ceil(E/k) mod E. Else the popularity of an
expert follows a power law, x ~ x^−α between bounds, as measured benchmarks draw it; loads are scaled to T·k choices,
no expert gets a token twice, and ranks hold contiguous groups of experts. Six fixed draws stand for all: their
pseudo-random numbers come from a hash of the expert's number, so that every machine draws alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from llmplan.perf.roofline import Floats

ROW_TILES = (16, 32, 64, 128)
DRAWS = 6
FEW = (0.01, 2.0)
"""Bounds of popularity where there are no more choices than experts."""
MOST = 0.8
"""Upper bound of popularity, a share of the tokens, where there are more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """Work of the busiest rank, arrays of one shape."""

    rows: Floats
    """Pairs of a token and an expert."""
    active: Floats
    """Experts with at least one row."""
    tiles: dict[int, Floats]
    """Tiles of rows, all experts, by the height of a tile."""


def routed(tokens: Floats, experts: Floats, topk: Floats, ep: Floats, skew: Floats, blend: bool = False) -> Routed:
    """Return the work of the busiest rank.

    Parameters
    ----------
    tokens, experts, topk, ep, skew : array
        Tokens of a step, experts of a layer, experts of a token, ranks that share them, exponent of popularity.
    blend : bool
        Pass from few choices to many between half and twice as many choices as experts, as no benchmark does and
        every batch that grows must; else at once, as measured rows were drawn.
    """
    keys = np.stack(np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (tokens, experts, topk, ep, skew))))
    unique, inverse = np.unique(keys.reshape(5, -1), axis=1, return_inverse=True)
    found = np.array([_busiest(int(t), int(e), int(k), int(r), float(a), blend) for t, e, k, r, a in unique.T])
    columns = found[inverse.reshape(-1)].T.reshape(-1, *keys.shape[1:])
    return Routed(rows=columns[0], active=columns[1], tiles=dict(zip(ROW_TILES, columns[2:], strict=True)))


@lru_cache(maxsize=65536)
def _busiest(tokens: int, experts: int, topk: int, ep: int, skew: float, blend: bool) -> tuple[float, ...]:
    if skew <= 0:
        return _work(_balanced(tokens, experts, topk)[None], ep)
    choices = tokens * topk
    many = np.clip(math.log2(choices / experts) / 2 + 0.5, 0.0, 1.0) if blend else float(choices > experts)
    sides = [
        (share, _work(_skewed(tokens, experts, topk, skew, bounds), ep))
        for share, bounds in ((1 - many, FEW), (many, (1.0, MOST * tokens)))
        if share > 0
    ]
    return tuple(sum(share * side[i] for share, side in sides) for i in range(len(sides[0][1])))


def _work(loads: Floats, ep: int) -> tuple[float, ...]:
    """Return rows, active experts and tiles of the busiest rank, the mean over draws."""
    groups = loads.reshape(len(loads), ep, -1)
    busiest = groups[np.arange(len(loads)), groups.sum(axis=2).argmax(axis=1)]
    tiles = (np.ceil(busiest / height).sum(axis=1).mean() for height in ROW_TILES)
    return (busiest.sum(axis=1).mean(), (busiest > 0).sum(axis=1).mean(), *tiles)


def _balanced(tokens: int, experts: int, topk: int) -> Floats:
    """Return the rows of each expert, (experts,)."""
    step = -(-experts // topk)
    rounds, rest = divmod(tokens, experts)
    chosen = (np.arange(rest)[:, None] + step * np.arange(topk)) % experts
    return np.asarray(rounds * float(topk) + np.bincount(chosen.reshape(-1), minlength=experts))


def _skewed(tokens: int, experts: int, topk: int, skew: float, bounds: tuple[float, float]) -> Floats:
    """Return the rows of each expert in each draw, (draws, experts)."""
    choices = tokens * topk
    low, high = bounds
    uniform = _hashed(DRAWS, experts)
    power = 1.0 - skew
    if abs(power) < 1e-6:
        popularity = low * (high / low) ** uniform
    else:
        popularity = (low**power + uniform * (high**power - low**power)) ** (1 / power)
    share = popularity / popularity.sum(axis=1, keepdims=True)
    loads: Floats = np.minimum(np.round(share * choices), tokens)
    for row, weights in zip(loads, share, strict=True):
        _spread(row, weights, choices - row.sum(), tokens)
    return loads


def _spread(row: Floats, weights: Floats, rest: float, most: int) -> None:
    """Give or take what rounding left, the most popular experts first, in place."""
    order = np.argsort(-weights, kind="stable")
    while rest != 0:
        free = order[row[order] < most] if rest > 0 else order[row[order] > 0]
        room = float((most - row[free]).min() if rest > 0 else row[free].min())
        each = max(1.0, min(abs(rest) // len(free), room))
        part = free[: int(abs(rest))]
        row[part] += np.sign(rest) * each
        rest -= np.sign(rest) * each * len(part)


def _hashed(draws: int, count: int) -> Floats:
    """Return numbers in (0, 1) without order, (draws, count): splitmix64 of their place (Steele et al., 2014)."""
    with np.errstate(over="ignore"):
        z = (np.arange(draws * count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(11)).astype(float) + 0.5).reshape(draws, count) / 2.0**53
