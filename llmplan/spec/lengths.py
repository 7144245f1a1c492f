"""Token counts of requests as a distribution: one number, quantiles, or a histogram."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from llmplan.spec.base import Count, Spec

QUANTILE_CELLS = (0.0, 0.5, 0.9, 0.99, 1.0)
"""Where a length distribution given by quantiles is cut into cells that a router can tell apart."""


class Lengths(Spec):
    """Token counts of requests: one number, quantiles, or a histogram."""

    tokens: Annotated[int, Field(ge=0)] | None = None
    """Every request alike."""
    mean: Annotated[float, Field(ge=1)] | None = None
    p50: Annotated[float, Field(ge=1)] | None = None
    p90: Annotated[float, Field(ge=1)] | None = None
    p99: Annotated[float, Field(ge=1)] | None = None
    histogram: tuple[tuple[Count, Annotated[float, Field(ge=0)]], ...] | None = None
    """Pairs of tokens and weight."""

    @model_validator(mode="after")
    def _one_form(self) -> Lengths:
        quantiles = (self.p50, self.p90, self.p99)
        forms = [self.tokens is not None, None not in quantiles, self.histogram is not None]
        if sum(forms) != 1 or (any(q is not None for q in quantiles) and not forms[1]):
            raise ValueError("give one token count, or p50, p90 and p99 (and mean), or a histogram")
        if forms[1] and not self.p50 <= self.p90 <= self.p99:  # type: ignore[operator]
            raise ValueError(f"p50 {self.p50:g}, p90 {self.p90:g}, p99 {self.p99:g} do not rise")
        if forms[2] and not sum(weight for _, weight in self.histogram or ()) > 0:
            raise ValueError("the histogram has no weight")
        if self.mean is not None and not forms[1]:
            raise ValueError("mean goes with p50, p90 and p99")
        return self

    def cells(self) -> list[tuple[float, float, float, float]]:
        """Return (share, mean tokens, mean of tokens squared, largest tokens) of each cell, in rising order."""
        if self.tokens is not None:
            return [(1.0, float(self.tokens), float(self.tokens) ** 2, float(self.tokens))]
        if self.histogram is not None:
            total = sum(weight for _, weight in self.histogram)
            weights: dict[int, float] = {}
            for tokens, weight in self.histogram:
                weights[tokens] = weights.get(tokens, 0.0) + weight / total
            return [(w, float(t), float(t) ** 2, float(t)) for t, w in sorted(weights.items()) if w > 0]
        knots = self._knots()
        cells = []
        for (u0, low), (u1, high) in pairwise(knots):
            mean, square = _log_linear_moments(low, high)
            cells.append([u1 - u0, mean, square, high])
        if self.mean is not None:
            scale = self.mean / sum(share * mean for share, mean, _, _ in cells)
            cells = [[s, mean * scale, square * scale**2, high] for s, mean, square, high in cells]
        merged: dict[float, tuple[float, float, float, float]] = {}
        for share, mean, square, high in cells:  # quantiles that are equal bound one cell
            s, m, q, _ = merged.get(high, (0.0, 0.0, 0.0, high))
            total = s + share
            merged[high] = (total, (s * m + share * mean) / total, (s * q + share * square) / total, high)
        return list(merged.values())

    def _knots(self) -> list[tuple[float, float]]:
        p50, p90, p99 = float(self.p50 or 1), float(self.p90 or 1), float(self.p99 or 1)
        ends = (max(1.0, p50 * p50 / p99), p99 * p99 / p90)
        return list(zip(QUANTILE_CELLS, (ends[0], p50, p90, p99, ends[1]), strict=True))

    def quantile(self, share: float) -> float:
        """Return the token count that a share of the requests stays at or below."""
        if self.p50 is None:
            below = 0.0
            for weight, _, _, high in self.cells():
                below += weight
                if below >= share - 1e-12:
                    return high
            return self.largest()
        knots = self._knots()
        for (u0, low), (u1, high) in pairwise(knots):
            if share <= u1:
                return float(low * (high / low) ** ((share - u0) / (u1 - u0)))
        return knots[-1][1]

    def average(self) -> float:
        """Return the mean number of tokens."""
        return sum(share * mean for share, mean, _, _ in self.cells())

    def largest(self) -> float:
        """Return the largest number of tokens."""
        return max(high for _, _, _, high in self.cells())

    def square(self) -> float:
        """Return the mean of the squared number of tokens."""
        return sum(share * square for share, _, square, _ in self.cells())


def _log_linear_moments(low: float, high: float) -> tuple[float, float]:
    """Return mean and mean square of a quantity whose logarithm is uniform between two ends."""
    if high <= low * (1 + 1e-12):
        return low, low * low
    width = math.log(high / low)
    return (high - low) / width, (high**2 - low**2) / (2 * width)


def _read_lengths(value: Any) -> Any:
    if isinstance(value, bool | float | str):
        raise ValueError(f"{value!r} is not a token count; want an integer of 1 or more")
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f"{value} is not a token count; want an integer of 1 or more")
        return {"tokens": value}
    return value


TokenLengths = Annotated[Lengths, BeforeValidator(_read_lengths, json_schema_input_type=int | Lengths)]
