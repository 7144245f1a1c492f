"""Measured constants of one device: what a fit found, from which rows, and how wrong it stays."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from llmplan.spec.base import Seconds, Spec

Basis = Literal["calibrated", "transferred", "datasheet", "profile"]
"""What a number rests on: a fit of this GPU, a fit of another of its family, a datasheet and typical constants, or
the user's own table."""
BASES: tuple[Basis, ...] = ("calibrated", "profile", "transferred", "datasheet")
"""From the surest to the least sure (a user's own table counts as measured)."""

Efficiency = Annotated[float, Field(gt=0, le=1)]


class Evidence(Spec):
    """The rows behind a fit and its error on rows left out of it, in percent."""

    kernel: str
    """Library, version and kernel that was timed."""
    rows: int = Field(ge=0)
    """Rows fitted."""
    test_rows: int = Field(ge=0)
    """Rows of shapes left out of the fit."""
    mdape: float | None = None
    p90: float | None = None
    wape: float | None = None
    bias: float | None = None


class OperatorFit(Spec):
    """Constants of one operator family and format: fixed time, share of peak compute, share of bandwidth."""

    fixed_s: Seconds
    """Time of an empty kernel."""
    unit_s: Seconds = 0.0
    """Time of one work unit on one multiprocessor: a sequence x KV head of decode attention, or a row of activations
    that a quantized matrix product quantizes first."""
    compute_efficiency: Efficiency
    memory_efficiency: Efficiency
    evidence: Evidence


class CollectiveFit(Spec):
    """Constants of one collective over the device link."""

    fixed_s: Seconds
    """Time of an empty collective of two ranks."""
    rank_s: Seconds
    """Added by each rank beyond two."""
    link_efficiency: Efficiency
    """Share of the link's bandwidth (one device, one direction) at large sizes."""
    evidence: Evidence


class Fits(Spec):
    """All constants of one device."""

    gpu: str
    """A name of `hardware/gpus`, or `generic`: typical constants for a device without rows."""
    operators: Mapping[str, OperatorFit]
    """By family and format: `gemm.bf16`, `attention_decode.fp8`, `moe.mxfp4`."""
    collectives: Mapping[str, CollectiveFit]
    """By operation: `all_reduce`, `all_reduce_one_shot`, `all_gather`, `reduce_scatter`, `all_to_all`."""
    source: str
    fitted: date
    notes: str = ""


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
