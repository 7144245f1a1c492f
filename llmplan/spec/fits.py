"""What a number rests on, and how far it may be off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from llmplan.spec.base import Spec

Basis = Literal["calibrated", "transferred", "datasheet", "profile"]
"""What a number rests on: a fit of this GPU, a fit of another of its family, a datasheet and typical constants, or
the user's own table."""
BASES: tuple[Basis, ...] = ("calibrated", "profile", "transferred", "datasheet")
"""From the surest to the least sure (a user's own table counts as measured)."""


class BandRow(Spec):
    """Percentiles of measured / predicted over the validation rows of one class."""

    low: float = Field(gt=0)
    """5th percentile of measured / predicted."""
    high: float = Field(gt=0)
    """95th percentile."""
    rows: int = Field(ge=0)
    mdape: float | None = None
    source: str


class Bands(Spec):
    """How far a prediction may be off, by basis and metric (`ttft_s`, `tpot_s`, `throughput`)."""

    bands: Mapping[Basis, Mapping[str, BandRow]]
    architectures: Mapping[str, Mapping[str, BandRow]] = {}
    """Bands of architectures whose measured devices are far from those of their basis."""

    def row(self, basis: Basis, architecture: str, metric: str) -> BandRow:
        """Return the band of a metric on a device: never narrower than that of measured devices."""
        if basis in ("calibrated", "profile"):
            return self.bands[basis][metric]
        own = self.architectures.get(architecture, {}).get(metric) or self.bands[basis][metric]
        sure = self.bands["calibrated"][metric]
        return own.model_copy(update={"low": min(own.low, sure.low), "high": max(own.high, sure.high)})


class KernelBands(Spec):
    """How far the time of a kernel may be off: nine in ten rows left out of the fits miss by less, in percent."""

    p90: Mapping[str, Mapping[Basis, float]]
    """By operator and basis: the median over formats and devices."""
    source: str
