"""Measured kernel times, one row each: read, checked, and gathered by operator, format, device and kernel.

A row that cannot be used is counted under a reason; nothing is dropped without a word. The split is fixed by the row
itself: whole shapes with crc32("g" + shape) % 5 == 0 are `group`; of the others, rows with crc32("h" + key) % 5 == 0
are `point`; the rest is `train`. Operators without a shape have points only.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from llmplan.errors import InputError
from llmplan.perf.kernels.forms import COLLECTIVES, MESSAGES, OPERATORS, Operator, Target, roofline_s
from llmplan.perf.roofline import Floats

MICROSECOND = 1e-6
FIFTH = 5
LOWEST_RATIO, HIGHEST_RATIO = 0.05, 1000.0
"""Median of measured over roofline outside of which a whole file is in another unit."""
LARGEST, MOST_EXPERTS, FEWEST_RANKS = 1e13, 65_536, 2
"""Beyond these a row is a slip of the pen: any number, experts of a layer, ranks of a collective."""
OWN_KERNEL_DIM = 512.0
"""Width of attention heads that run another kernel (FlashAttention-4): left out by rule."""
ATTENTION = ("heads", "kv_heads", "head_dim", "window")
ELEMENTWISE = ("tp", "tokens", "hidden", "inter", "heads", "kv_heads")

KEYS: Mapping[str, tuple[str, ...]] = {
    "gemm": ("dtype", "m", "n", "k"),
    "attn_prefill": ("kv_dtype", "batch", "seq_len", "prefix_len", *ATTENTION),
    "attn_decode": ("kv_dtype", "batch", "ctx_len", *ATTENTION),
    "mla_prefill": ("kv_dtype", "batch", "seq_len", "heads"),
    "mla_decode": ("kv_dtype", "batch", "ctx_len", "heads"),
    "moe": ("dtype", "tokens", "hidden", "inter", "topk", "experts", "tp", "ep", "distribution"),
    "comm": ("op", "dtype", "ranks", "link", "bytes"),
    "vidur_elementwise": ("model", "op", *ELEMENTWISE),
    "vidur_comm": ("op", "ranks", "devices_per_node", "link", "bytes"),
}
"""Columns that name a row of each file, in the order of its checksum."""
WORDS = frozenset({"dtype", "kv_dtype", "distribution", "op", "link", "model"})
BETWEEN = "inter_node"
"""A link between hosts: its rows are of operators of their own, such as `all_reduce_between`."""
LINKED = frozenset({*COLLECTIVES, *MESSAGES})
ZERO_ALLOWED = frozenset({"prefix_len", "window", "skew"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Rows of one operator, format, device and kernel."""

    operator: Operator
    dtype: str
    gpu: str
    kernel: str
    library: str
    target: Target
    columns: Mapping[str, Floats]
    measured_s: Floats
    split: np.ndarray
    """`group`, `point` or `train`, for each row."""
    checksum: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Of the key of each row; none for rows that no file held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """One file as it was read."""

    name: str
    sha256: str
    rows: int


@dataclass(slots=True)
class Measured:
    """All rows of a folder."""

    cells: list[Cell] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    files: list[FileFacts] = field(default_factory=list)


ONE_CLUSTER = {"a100": "a100-80-sxm"}
"""Vidur names the GPU of its elementwise rows `a100`; its machines hold the one of 80 GB."""
TargetOf = Callable[[str], Target | None]
"""The device of a name; None where the catalog has none."""


def measured_rows(texts: Iterable[tuple[str, str]], target_of: TargetOf) -> Measured:
    """Return the rows of (file name, text), gathered into cells.

    Raises
    ------
    InputError
        A file has none of the columns it needs.
    """
    found = Measured()
    for name, text in texts:
        kind = name.rsplit("/", 1)[-1].split(".")[0]
        if kind in KEYS:
            cells = list(_cells(kind, _Table.read(kind, name, text, found), target_of, found))
            found.cells += _in_unit(cells, found)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A file as columns of text."""

    columns: Mapping[str, Sequence[str]]
    rows: int

    @classmethod
    def read(cls, kind: str, name: str, text: str, found: Measured) -> _Table:
        lines = csv.reader(io.StringIO(text))
        header = next(lines, [])
        missing = [c for c in ("system", *KEYS[kind], "time_us") if c not in header]
        if missing:
            raise InputError(f"{name}: has no column {', '.join(missing)}; want {', '.join(KEYS[kind])}, time_us")
        try:
            rows = [row for row in lines if row]
        except csv.Error as error:
            raise InputError(f"{name}: line {lines.line_num}: is no CSV ({error})") from None
        whole = [row for row in rows if len(row) == len(header)]
        if len(whole) < len(rows):
            found.refused["missing_field"] += len(rows) - len(whole)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        found.files.append(FileFacts(name=name.rsplit("/", 1)[-1], sha256=sha256, rows=len(rows)))
        columns = zip(*whole, strict=True) if whole else [()] * len(header)
        return cls(columns=dict(zip(header, columns, strict=True)), rows=len(whole))

    def words(self, name: str) -> np.ndarray:
        return np.array(self.columns.get(name, [""] * self.rows), dtype=object)

    def numbers(self, name: str) -> Floats:
        """Return a column as numbers; NaN where it holds none."""
        texts = self.columns[name]
        try:
            return np.array(texts, dtype=float)
        except ValueError:
            return np.array([_number(text) for text in texts])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _cells(kind: str, table: _Table, target_of: TargetOf, found: Measured) -> Iterator[Cell]:
    if not table.rows:
        return
    keys = KEYS[kind]
    operator = table.words("op") if "op" in keys else np.full(table.rows, kind, dtype=object)
    dtype = table.words("kv_dtype" if "kv_dtype" in keys else "dtype")
    if kind.startswith("vidur"):
        dtype[:] = "float16"
    backend, version = table.words("backend"), table.words("version")
    backend[backend == ""] = kind.split("_")[0]
    kernel = np.where(table.words("kernel") == "", backend, table.words("kernel"))
    if "link" in keys:
        operator = operator + np.where(table.words("link") == BETWEEN, "_between", "")
    numbers = {name: table.numbers(name) for name in keys if name not in WORDS}
    if kind == "moe":
        numbers["skew"] = _skews(table.words("distribution"))
    system, seconds = table.words("system"), table.numbers("time_us") * MICROSECOND
    usable = _usable(table, keys, numbers, seconds, system, kernel, found)
    split, checksum = _splits(kind, table)
    places: dict[tuple[str, ...], list[int]] = {}
    for i in np.flatnonzero(usable).tolist():
        places.setdefault(
            (system[i], operator[i], dtype[i], kernel[i], f"{backend[i]} {version[i]}".strip()), []
        ).append(i)
    for (on, name, form, implementation, library), rows in sorted(places.items()):
        target = target_of(ONE_CLUSTER.get(on, on) if kind.startswith("vidur") else on)
        here = OPERATORS.get(name)
        if target is None or (name in LINKED and not target.link_bytes_per_s):
            found.refused["no_hardware"] += len(rows)
            continue
        if here is None or form not in here.formats or not set(here.columns) <= numbers.keys():
            found.refused["no_form"] += len(rows)
            continue
        at = np.array(rows)
        columns = here.prepare({column: numbers[column][at] for column in here.columns})
        yield Cell(
            operator=here, dtype=form, gpu=target.gpu.name, kernel=implementation, library=library, target=target,
            columns=columns, measured_s=seconds[at], split=split[at], checksum=checksum[at],
        )  # fmt: skip


def _skews(distributions: np.ndarray) -> Floats:
    """Return the exponent of popularity of each row: 0 is balanced, NaN unknown."""
    known = {
        name: 0.0 if name == "balanced" else _number(name.removeprefix("power_law_")) for name in set(distributions)
    }
    return np.array([known[name] for name in distributions])


def _usable(
    table: _Table,
    keys: Sequence[str],
    numbers: Mapping[str, Floats],
    seconds: Floats,
    system: np.ndarray,
    kernel: np.ndarray,
    found: Measured,
) -> np.ndarray:
    """Return which rows hold numbers that can be true; the others are counted."""
    sound = np.isfinite(seconds) & (seconds > 0)
    for name, column in numbers.items():
        sound &= np.isfinite(column) & ((column >= 0) if name in ZERO_ALLOWED else (column > 0))
    sound &= possible(numbers)
    found.refused["malformed"] += int((~sound).sum())
    if "head_dim" in numbers:
        other = sound & (numbers["head_dim"] == OWN_KERNEL_DIM)
        found.refused["other_kernel"] += int(other.sum())
        sound &= ~other
    if "link" in keys:
        strange = sound & ~np.isin(table.words("link").astype(str), ("intra_node", BETWEEN))
        found.refused["no_form"] += int(strange.sum())
        sound &= ~strange
    seen: set[tuple[str, ...]] = set()
    version = table.words("version")
    for i, row in enumerate(zip(system, kernel, version, *(table.columns[key] for key in keys), strict=True)):
        if not sound[i]:
            continue
        if row in seen:
            sound[i] = False
            found.refused["duplicate"] += 1
        seen.add(row)
    return sound


def possible(numbers: Mapping[str, Floats]) -> NDArray[np.bool_]:
    """Return which rows state a shape that there can be."""
    possible = np.all([column <= LARGEST for column in numbers.values()], axis=0)
    for name, column in numbers.items():
        if name != "skew":
            possible &= column == np.floor(column)
    if "experts" in numbers:
        experts, topk, ep = (np.nan_to_num(numbers[name], nan=1.0, posinf=1.0) for name in ("experts", "topk", "ep"))
        possible &= (experts <= MOST_EXPERTS) & (topk <= experts) & (experts % np.maximum(ep, 1.0) == 0)
        possible &= (topk >= 1) & (ep >= 1) & (numbers["tokens"] >= 1)
    if "ranks" in numbers:
        possible &= numbers["ranks"] >= FEWEST_RANKS
    return np.asarray(possible, dtype=bool)


def is_group(shape: Iterable[str]) -> bool:
    """Return whether every row of a shape is left out of fits."""
    return crc32(("g" + "|".join(shape)).encode()) % FIFTH == 0


def checksum_of(key: Iterable[str]) -> int:
    """Return the checksum of a row's key, which decides its side."""
    return crc32(("h" + "|".join(key)).encode())


def is_point(key: Iterable[str]) -> bool:
    """Return whether a row of any other shape is left out of fits."""
    return checksum_of(key) % FIFTH == 0


def _splits(kind: str, table: _Table) -> tuple[np.ndarray, NDArray[np.int64]]:
    """Return the side and the checksum of each row."""
    keys = KEYS[kind]
    shape = OPERATORS[kind].shape if kind in OPERATORS else ()
    rows = zip(*(table.columns[c] for c in keys), strict=True)
    checksum = np.array([checksum_of(row) for row in rows], dtype=np.int64)
    split = np.where(checksum % FIFTH == 0, "point", "train").astype(object)
    if shape:
        shapes = list(zip(*(table.columns[c] for c in shape), strict=True))
        out = {one: is_group(one) for one in set(shapes)}
        split[[out[one] for one in shapes]] = "group"
    return split, checksum


def _in_unit(cells: list[Cell], found: Measured) -> list[Cell]:
    """Return the cells of a file, or none where its times are in another unit than microseconds."""
    if not cells:
        return []
    ratios = [
        c.measured_s / np.maximum(roofline_s(c.operator, c.columns, c.target, c.dtype, c.kernel), 1e-12) for c in cells
    ]
    if LOWEST_RATIO <= float(np.median(np.concatenate(ratios))) <= HIGHEST_RATIO:
        return cells
    found.refused["wrong_unit"] += sum(len(c.measured_s) for c in cells)
    return []
