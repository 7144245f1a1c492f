"""One operator of all layers of a replica: its seconds over one feature of a step, and what it does in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from llmplan.perf.roofline import Floats, Work
from llmplan.spec.fits import Basis

Cost = Callable[[Floats], Floats]
"""Values of a feature, (C, K) → seconds, (C, K)."""
WorkOf = Callable[[Floats], Work]
"""Values of a feature, (C, K) → FLOP and bytes, (C, K)."""
Where = Literal["layers", "last", "between"]
"""Spread over the stages of a pipeline, on the last one, or between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One operator of all layers of a replica."""

    operator: str
    feature: str
    seconds: Cost
    work: WorkOf
    flop_per_s: Floats  # (C, 1)
    """Peak of its compute type."""
    link_bytes_per_s: Floats | None = None  # (C, 1)
    """What it sends over; none: nothing is sent."""
    fed: Cost | None = None
    """The same seconds with an L2 that feeds any number of bytes."""
    kernel: str = ""
    """The measured operator that it is; none: what is not a measured kernel."""
    straight: bool = False
    """From 1 on its cost is a straight line."""
    where: Where = "layers"
    basis: tuple[Basis, ...] = ()
    """Of each replica; none: what is not a measured kernel."""
