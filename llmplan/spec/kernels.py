"""Fitted parameters of measured kernels of one device: data that `calibrate fit` writes and people may read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from pydantic import Field

from llmplan.spec.base import Spec


class KernelEvidence(Spec):
    """The rows behind one set of parameters, and its error in percent on rows left out of the fit."""

    rows: int = Field(ge=0)
    """Rows of the fit."""
    test_rows: int = Field(ge=0)
    """Rows left out, on which the errors are."""
    left_out: str
    """How they were chosen: `shapes` (whole shapes), `points`, or `folds` (each fifth in turn)."""
    mdape: float
    p90: float
    wape: float
    bias: float


class KernelFit(Spec):
    """Parameters of one operator in one format, of one kernel."""

    operator: str
    """As the rows call it: `gemm`, `attn_decode`, `all_reduce`."""
    dtype: str
    """As the rows call it: `bfloat16`, `fp8_block`."""
    kernel: str
    """The implementation, or the library that chooses one."""
    library: str
    """Library and version."""
    parameters: Mapping[str, float]
    evidence: KernelEvidence


class KernelFits(Spec):
    """All fitted kernels of one device."""

    gpu: str
    kernels: tuple[KernelFit, ...]
    source: str
    fitted: date
    notes: str = ""


def joined(first: KernelFits, other: KernelFits) -> KernelFits:
    """Return fits of one device from two files: operators and formats of the first replace those of the other."""
    known = {(one.operator, one.dtype) for one in first.kernels}
    more = tuple(one for one in other.kernels if (one.operator, one.dtype) not in known)
    return first.model_copy(update={"kernels": (*first.kernels, *more)})
