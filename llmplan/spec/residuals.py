"""Residuals of measured kernels of one device: data that a tool writes, one line of JSON a kernel."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from llmplan.spec.base import Seconds, Spec

RESIDUALS_FORMAT = 1


class ResidualsHead(Spec):
    """First line of a file."""

    residuals: int
    """Version of the format."""
    gpu: str
    source: str
    license: str
    made: date


class ResidualColumn(Spec):
    """One number of every row: its distinct values, and by how far the place among them moves from row to row."""

    values: tuple[float, ...]
    moves: tuple[int, ...]


class KernelResiduals(Spec):
    """ln(measured / physical) of the rows of one kernel."""

    operator: str
    dtype: str
    kernel: str
    parameters: str
    """Hash of the parameters that the physical times were predicted with."""
    probes_s: tuple[Seconds, ...]
    """Physical times of rows at even steps, the first and the last among them. [s]"""
    own_shapes_only: bool
    """Whether the residuals say nothing of shapes that are not among the rows."""
    columns: Mapping[str, ResidualColumn]
    moves_per_mille: tuple[int, ...]
    """By how much 1000·ln(measured / physical) moves from row to row."""
