"""Limits on errors of kernels, one a line, and whether they hold.

::

    kernels.OPERATOR[.FORMAT][.GPU][.SPLIT].METRIC  <= | < | >= | >  NUMBER  [over cells | over rows | in every cell]
    kernels[.OPERATOR].coverage                     <= | < | >= | >  NUMBER

A cell is operator x format x GPU, all kernels of it together. `over cells` (unasked) is the median over cells, `over
rows` the error of all rows together, `in every cell` the worst cell. Without a SPLIT the rows are those of left-out
shapes, of left-out points where there are none. A limit without rows does not hold. Bias is signed: bound both sides.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any

import numpy as np

from llmplan.errors import InputError, UnknownNameError, near
from llmplan.kernel_rows import KEYS, Measured
from llmplan.kernel_scores import PERCENT, SIDES, Predicted, errors
from llmplan.perf.kernels.forms import OPERATORS

COVERAGE = "coverage"
METRICS = ("mdape", "mape", "p90", "wape", "bias", COVERAGE)
SIGNS: Mapping[str, Callable[[float, float], bool]] = {"<=": le, ">=": ge, "<": lt, ">": gt}
OVER = ("over cells", "over rows", "in every cell")
LINE = re.compile(r"(?P<path>[^\s<>=]+)\s*(?P<sign><=|>=|<|>)\s*(?P<limit>[^\s%]+)\s*%?\s*(?P<over>[a-z ]*)")
EXAMPLE = "kernels.gemm.bfloat16.mdape <= 10"
GpuOf = Callable[[str], str]
"""The catalog's name of a GPU; UnknownNameError where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One limit."""

    text: str
    operator: str
    """Empty: the whole folder."""
    dtype: str
    gpu: str
    split: str
    metric: str
    sign: str
    limit: float
    over: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a limit was held against."""

    gate: Gate
    value: float | None
    """None: there are no rows."""
    rows: int
    cells: int
    split: str
    worst: tuple[str, float] | None
    """Cell that is farthest on the wrong side."""
    passed: bool

    @property
    def told(self) -> str:
        """Return it as a line for people."""
        head = f"{self.gate.text}: "
        if self.value is None:
            return f"{head}no rows scored"
        if self.gate.metric == COVERAGE:
            return f"{head}{self.value:.2f}"
        how = {OVER[0]: f"median over {_counted(self.cells)}", OVER[1]: f"over {self.rows} rows"}.get(
            self.gate.over, f"worst of {_counted(self.cells)}"
        )
        worst = f"; worst {self.worst[0]}, {self.worst[1]:.2f}" if self.worst is not None else ""
        return f"{head}{self.value:.2f} ({how}, {self.split}{worst})"

    @property
    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        worst = None if self.worst is None else {"cell": self.worst[0], "value": round(self.worst[1], 2)}
        return {
            "gate": self.gate.text, "value": None if self.value is None else round(self.value, 2),
            "over": self.gate.over, "split": self.split, "rows": self.rows, "cells": self.cells, "worst": worst,
            "passed": self.passed,
        }  # fmt: skip


def _counted(cells: int) -> str:
    return f"{cells} cell{'' if cells == 1 else 's'}"


def read_gates(text: str, where: str, gpu_of: GpuOf) -> list[Gate]:
    """Return the limits of a file: one a line, or a YAML list of them; # starts a comment.

    Raises
    ------
    InputError
        A line is no limit, names what nobody knows, or there is none.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.partition("#")[0].strip().removeprefix("---").removeprefix("- ").strip().strip("\"'").strip()
        if bare:
            found.append(_gate(bare, f"{where}:{number}", gpu_of))
    if not found:
        raise InputError(f"{where}: holds no limit; want lines such as {EXAMPLE}")
    return found


def _gate(text: str, where: str, gpu_of: GpuOf) -> Gate:
    match = LINE.fullmatch(text)
    if match is None:
        raise InputError(f"{where}: {text!r} is no limit; want {EXAMPLE}")
    over = " ".join(match["over"].split()) or OVER[0]
    if over not in OVER:
        raise InputError(f"{where}: unknown {over!r}; want {', '.join(OVER)}")
    try:
        limit = float(match["limit"])
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise InputError(f"{where}: {match['limit']!r} is no number; want a limit in percent")
    first, *names, metric = match["path"].split(".") if "." in match["path"] else (match["path"], "")
    if first != "kernels":
        raise InputError(f"{where}: {match['path']!r} does not start with 'kernels.'; want {EXAMPLE}")
    if metric not in METRICS:
        raise InputError(f"{where}: unknown metric {metric!r}; want one of {', '.join(METRICS)}")
    told: dict[str, Any] = {"text": text, "metric": metric, "sign": match["sign"], "limit": limit, "over": over}
    if metric == COVERAGE:
        return _coverage(names, where, told)
    if not names:
        raise InputError(f"{where}: {match['path']!r} names no operator; want {EXAMPLE}")
    operator, *rest = names
    if operator not in OPERATORS:
        wanted = f"want one of {', '.join(OPERATORS)}"
        raise InputError(f"{where}: unknown operator {operator!r}; {near(operator, OPERATORS) or wanted}")
    return Gate(operator=operator, **_narrowed(operator, rest, where, gpu_of), **told)


def _coverage(names: Sequence[str], where: str, told: Mapping[str, Any]) -> Gate:
    """Return a limit on the share of rows that are scored: rows are refused before their operator is known."""
    files = [name for name in KEYS if name in OPERATORS]
    if len(names) > 1 or not set(names) <= set(files):
        raise InputError(
            f"{where}: no coverage of {'.'.join(names)!r} is counted; want that of the whole folder, kernels.coverage, "
            f"or of {', '.join(files)}"
        )
    return Gate(operator="".join(names), dtype="", gpu="", split="", **told)


def _narrowed(operator: str, names: Sequence[str], where: str, gpu_of: GpuOf) -> dict[str, Any]:
    """Return the format, GPU and side that names after the operator stand for, in any order."""
    found = {"dtype": "", "gpu": "", "split": ""}
    formats = OPERATORS[operator].formats
    for name in names:
        kind = "split" if name in SIDES else "dtype" if name in formats else "gpu"
        value = name
        if kind == "gpu":
            try:
                value = gpu_of(name)
            except UnknownNameError:
                raise InputError(
                    f"{where}: unknown format, GPU or split {name!r} of {operator}; want one of {', '.join(formats)}, "
                    f"a GPU of `llmplan catalog list gpus`, or {', '.join(SIDES)}"
                ) from None
        if found[kind]:
            raise InputError(f"{where}: names two of a kind, {found[kind]} and {name}; want one")
        found[kind] = value
    return found


def judged(gates: Iterable[Gate], measured: Measured, predicted: Sequence[Predicted]) -> list[Judged]:
    """Return each limit with what it was held against."""
    return [_share(g, measured, predicted) if g.metric == COVERAGE else _error(g, predicted) for g in gates]


def _share(gate: Gate, measured: Measured, predicted: Sequence[Predicted]) -> Judged:
    read = sum(f.rows for f in measured.files if gate.operator in ("", f.name.split(".")[0]))
    ran = sum(len(p.seconds) for p in predicted if gate.operator in ("", p.cell.operator.name))
    value = PERCENT * ran / read if read else None
    passed = value is not None and SIGNS[gate.sign](value, gate.limit)
    return Judged(gate=gate, value=value, rows=read, cells=0, split="", worst=None, passed=passed)


def _error(gate: Gate, predicted: Sequence[Predicted]) -> Judged:
    named = [
        p
        for p in predicted
        if p.cell.operator.name == gate.operator and gate.dtype in ("", p.cell.dtype) and gate.gpu in ("", p.cell.gpu)
    ]
    left_out = "group" if any((p.cell.split == "group").any() for p in named) else "point"
    side = gate.split or left_out
    parts: dict[str, list[Predicted]] = {}
    for one in named:
        if (one.cell.split == side).any():
            parts.setdefault(f"{one.cell.dtype} on {one.cell.gpu}", []).append(one)
    if not parts:
        return Judged(gate=gate, value=None, rows=0, cells=0, split=side, worst=None, passed=False)
    cells = {name: _metric(gate.metric, within, side) for name, within in parts.items()}
    upper = gate.sign in ("<=", "<")
    worst = (max if upper else min)(cells.items(), key=lambda item: item[1])
    everything = [one for within in parts.values() for one in within]
    value = {
        OVER[0]: float(np.median(list(cells.values()))),
        OVER[1]: _metric(gate.metric, everything, side),
        OVER[2]: worst[1],
    }[gate.over]
    return Judged(
        gate=gate, value=value, rows=sum(int((p.cell.split == side).sum()) for p in everything), cells=len(cells),
        split=side, worst=worst, passed=SIGNS[gate.sign](value, gate.limit),
    )  # fmt: skip


def _metric(metric: str, parts: Sequence[Predicted], side: str) -> float:
    rows = [p.cell.split == side for p in parts]
    told = errors(
        np.concatenate([p.seconds[at] for p, at in zip(parts, rows, strict=True)]),
        np.concatenate([p.cell.measured_s[at] for p, at in zip(parts, rows, strict=True)]),
    )
    return float(getattr(told, metric))
