"""What measured rows say beside a form: local interpolation of ln(measured / physical).

    ln factor(x) = Σᵢ wᵢ·fadeᵢ·rᵢ / Σᵢ wᵢ,   wᵢ = (dᵢ + 0.05)⁻³,   over the 8 nearest rows i

with dᵢ the distance in octaves, log2(1 + number), each number stretched by what it matters; fadeᵢ is 1 up to two
octaves in every number, 0 from three on. Rows whose numbers are those of a stored row take what was stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmplan.perf.roofline import Floats

NEIGHBORS = 8
NEAR, POWER = 0.05, 3
FADES_FROM, FADES_TO = 2.0, 3.0
"""In octaves of any number."""

_COLLECTIVE = {"ranks": 3.0, "bytes": 0.5}
STRETCH: Mapping[str, Mapping[str, float]] = {
    "attn_prefill": {"head_dim": 3.0},
    "attn_decode": {"ctx_len": 0.5, "heads": 0.5, "kv_heads": 2.0, "head_dim": 4.0},
    "mla_decode": {"batch": 2.0, "ctx_len": 2.0},
    "moe": {"hidden": 3.0, "inter": 3.0, "experts": 0.5},
    **dict.fromkeys(("all_reduce", "all_reduce_vllm_graph", "all_reduce_vllm_eager"), _COLLECTIVE),
    **dict.fromkeys(("all_gather", "reduce_scatter", "all_to_all"), _COLLECTIVE),
}
"""By how much the distance in a number counts, where not once: chosen on rows that fits were made from."""


def octaves(columns: Mapping[str, Floats], names: Sequence[str]) -> Floats:
    """Return log2(1 + number) of each row, (n, d)."""
    return np.log2(1.0 + np.column_stack([np.asarray(columns[name], dtype=float) for name in names]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Stored values at points, ready to be asked between them."""

    points: Floats
    """(n, d), in octaves."""
    values: Floats
    """(n,)"""
    stretch: Floats
    """(d,)"""
    kept: tuple[int, ...]
    """Numbers in which a neighbor must be equal."""
    fades: bool
    """Whether far neighbors count as 0."""
    tree: Any

    @classmethod
    def of(
        cls, points: Floats, values: Floats, stretch: Floats, kept: tuple[int, ...] = (), fades: bool = True
    ) -> Field:
        """Return a field of (n, d) points and (n,) values."""
        from scipy.spatial import cKDTree

        tree = cKDTree(points * stretch)
        return cls(points=points, values=values, stretch=stretch, kept=kept, fades=fades, tree=tree)

    def at(self, asked: Floats) -> Floats:
        """Return the value at each of (m, d) points; 0 where nothing is near."""
        count = min(NEIGHBORS, len(self.values))
        distance, place = self.tree.query(asked * self.stretch, k=np.arange(1, count + 1))
        weight = (distance + NEAR) ** -POWER
        near = weight * self._fade(np.abs(self.points[place] - asked[:, None, :]))
        found = (near * self.values[place]).sum(axis=1) / weight.sum(axis=1)
        same = distance == 0
        hits = same.sum(axis=1)
        stored = np.where(same, self.values[place], 0.0).sum(axis=1) / np.maximum(hits, 1)
        return np.asarray(np.where(hits > 0, stored, found))

    def _fade(self, apart: Floats) -> Floats:
        """Return what counts of each neighbor that is so many octaves apart, (m, k, d) to (m, k)."""
        if not self.fades:
            return np.ones(apart.shape[:2])
        fade = np.clip((FADES_TO - apart.max(axis=2)) / (FADES_TO - FADES_FROM), 0.0, 1.0)
        if self.kept:
            fade = np.where(apart[:, :, list(self.kept)].max(axis=2) == 0, fade, 0.0)
        return np.asarray(fade)


def stretch_of(operator: str, names: Sequence[str]) -> Floats:
    """Return by how much each number of an operator counts."""
    own = STRETCH.get(operator, {})
    return np.array([own.get(name, 1.0) for name in names])
