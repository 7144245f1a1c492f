"""Foreign measurements of kernels as files of our own rows, which `calibrate fit` and `validate kernels` read.

Rows that cannot be used are counted by reason. Rows of one key are merged by their median. What is written is read
back before: a file whose times no kernel can have is refused whole, and rows that no form predicts yet are told.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from llmplan import foreign_aiconfigurator, foreign_nccl, foreign_vidur
from llmplan.errors import InputError
from llmplan.foreign_rows import Asked, Found, Row, Source
from llmplan.kernel_rows import KEYS, WORDS, TargetOf, measured_rows, possible

READERS: Mapping[str, Callable[[Source, Asked], Found]] = {
    "nccl-tests": foreign_nccl.read,
    "vidur": foreign_vidur.read,
    "aiconfigurator": foreign_aiconfigurator.read,
}
UNIT_IN_TEXT = frozenset({"nccl-tests"})
"""Formats that state their unit, which their reader checks."""
PROBES = 2000
"""Rows of a file that are read back to see whether its times are in another unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What all files held."""

    texts: Mapping[str, str]
    """Our files by name."""
    rows: Mapping[str, int]
    """Rows of each."""
    refused: Counter[str]
    """Rows that are in no file, by reason."""
    unread: Counter[str]
    """Rows in a file that its readers pass over, by reason."""
    merged: int
    """Rows that went into the median of another."""
    notes: Sequence[str]


def imported(sources: Iterable[Source], form: str, asked: Asked, target_of: TargetOf) -> Imported:
    """Return the rows of foreign files as files of ours.

    Parameters
    ----------
    sources : iterable of Source
    form : str
        One of READERS, or `auto`: each file is looked at.
    asked : Asked
        What the files do not say.
    target_of : callable
        The device of a name.

    Raises
    ------
    InputError
        A file is in no known format, lacks a column, is in another unit, or no row can be used.
    """
    rows: list[Row] = []
    refused: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    for source in sources:
        here = form_of(source) if form == "auto" else form
        found = READERS[here](source, asked)
        kept = _possible(found)
        if here not in UNIT_IN_TEXT:
            probes = kept[:: max(1, len(kept) // PROBES)]
            _check_unit(source.where, _texts(_merged(probes), asked.gpu), target_of)
        rows += kept
        refused.update(found.refused)
        notes.update(found.notes)
    refused = +refused
    if not rows:
        hints = [f"{reason}: {REMEDIES[reason]}" for reason in sorted(refused) if reason in REMEDIES]
        said = f"no row can be used: {counted(refused) or 'the files hold none'}"
        raise InputError("; ".join([said, *hints]))
    merged = _merged(rows)
    texts = _texts(merged, asked.gpu)
    unread = _check_unit("all files", texts, target_of)
    kinds = Counter(row.kind for row in merged)
    return Imported(
        texts=texts,
        rows={name: kinds[name.removesuffix(".csv")] for name in texts},
        refused=refused,
        unread=+unread,
        merged=len(rows) - len(merged),
        notes=[f"{count} rows: {said}" for said, count in sorted(notes.items())],
    )


REMEDIES = {
    "inconsistent": "bandwidth is not size over time, columns are mixed up",
    "no_ranks": "its lines that name the ranks are missing",
    "one_rank": "run it on two GPUs or more",
    "other_gpu": "another GPU, or a part of one; see --system",
    "split_groups": "run one group at a time",
    "unknown_dtype": "run nccl-tests with -d half, bfloat16 or int8",
    "unknown_op": "name the test with --op",
}
"""What would be right, by reason."""


def counted(reasons: Counter[str]) -> str:
    """Return counts by reason as one line."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()) if count)


def form_of(source: Source) -> str:
    """Return the format of a file by its first lines.

    Raises
    ------
    InputError
        It is none that is read.
    """
    if source.table is None and not source.text.strip():
        raise InputError(f"{source.where}: holds nothing; want rows of measured kernels")
    head = source.text.lstrip().partition("\n")[0]
    columns = source.table.columns if source.table else [name.strip() for name in head.split(",")]
    if any(name.startswith(foreign_vidur.PREFIX) for name in columns):
        return "vidur"
    if "latency" in columns and "op_name" in columns:
        return "aiconfigurator"
    if {"system", "time_us"} <= set(columns):
        raise InputError(f"{source.where}: has our own columns already; give its folder to calibrate fit")
    if foreign_nccl.MARK in source.text or head.startswith("#"):
        return "nccl-tests"
    raise InputError(f"{source.where}: is in no format that is read; want {', '.join(READERS)}")


def _possible(found: Found) -> list[Row]:
    """Return the rows whose shapes there can be; the others are counted."""
    kept = []
    for kind in KEYS:
        rows = [row for row in found.rows if row.kind == kind]
        if rows:
            numbers = {
                name: np.array([row.cells[name] for row in rows], dtype=float)
                for name in KEYS[kind]
                if name not in WORDS
            }
            good = possible(numbers)
            found.refused["impossible_shape"] += int((~good).sum())
            kept += [row for row, is_good in zip(rows, good, strict=True) if is_good]
    return kept


def _check_unit(where: str, texts: Mapping[str, str], target_of: TargetOf) -> Counter[str]:
    """Return what readers pass over; refuse rows whose times are far from what their kernels can take."""
    refused: Counter[str] = Counter()
    for name, text in texts.items():
        here = measured_rows([(name, text)], target_of).refused
        if here["wrong_unit"]:
            raise InputError(
                f"{where}: times for {name} are outside of 0.05 to 1000 times the roofline, in the median; want "
                "the unit of the format, and more than the smallest sizes"
            )
        refused.update(here)
    return refused


def _merged(rows: Iterable[Row]) -> list[Row]:
    """Return one row for each key as readers see it, with the median of its times."""
    alike: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        cells = row.cells
        implementation = cells.get("kernel") or cells["backend"]
        key = (row.kind, implementation, cells["version"], *(cells[name] for name in KEYS[row.kind]))
        alike.setdefault(key, []).append(row)
    return [
        Row(kind=group[0].kind, cells=group[0].cells, time_us=median(row.time_us for row in group))
        for group in alike.values()
    ]


def _texts(rows: Iterable[Row], system: str) -> dict[str, str]:
    """Return the files of rows, by name."""
    by_kind: dict[str, list[Row]] = {}
    for row in rows:
        by_kind.setdefault(row.kind, []).append(row)
    return {f"{kind}.csv": _text(kind, by_kind[kind], system) for kind in KEYS if kind in by_kind}


def _text(kind: str, rows: Sequence[Row], system: str) -> str:
    named = ["kernel"] if any(row.cells.get("kernel") for row in rows) else []
    columns = ["backend", "version", *named, *KEYS[kind]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["system", *columns, "time_us"])
    writer.writerows([system, *(row.cells.get(name, "") for name in columns), f"{row.time_us:.9g}"] for row in rows)
    return text.getvalue()
