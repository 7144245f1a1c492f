"""Which kernels to measure on a GPU: rows spread evenly over a grid of keys, always the same ones.

The candidates of an operator are a grid: sizes in even steps of their logarithms, shapes of real models cut over 1 to 8
ranks. Of them a plan takes those nearest to the points of an additive sequence (x_d = frac(1/2 + i/φ^d), φ the root of
x^(D+1) = x + 1), which fills a cube evenly at any length: a run that stops early has measured all over the grid. The
place of a number in the cube is its rank, so that shapes are chosen as often as models have ones alike.

`warm` rows repeat a call as the shipped rows do: activations and caches stay, six copies of the weights take turns.
`cold` rows rotate whole sets of buffers, together three times L2, so that no call finds what the one before left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product, zip_longest
from typing import Any

import numpy as np

from llmplan.errors import InputError, near
from llmplan.kernel_groups import GROUPS, ROWS
from llmplan.kernel_rows import KEYS
from llmplan.perf.fits import UNKNOWN_L2_BYTES
from llmplan.perf.formats import FORMATS
from llmplan.perf.kernels.forms import COLLECTIVES, OPERATORS, Target, roofline_s
from llmplan.perf.roofline import Floats
from llmplan.perf.shapes import ffn_matrices, mixer_matrices
from llmplan.spec.catalog import Catalog
from llmplan.spec.hardware import Gpu
from llmplan.spec.model import Ffn, Gqa

COLUMNS: Mapping[str, tuple[str, ...]] = {
    **{file: KEYS[file] for file in ("gemm", "attn_prefill", "attn_decode", "comm")},
    "memory": ("op", "bytes"),
}
"""Columns that name a row of each file."""
MODELS = (
    *("llama-3.2-1b", "llama-3.2-3b", "llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b", "qwen2-0.5b", "qwen2-7b"),
    *("qwen2.5-14b", "qwen3-32b", "gemma-2-2b", "gemma-3-27b", "mistral-large-2407", "phi-4"),
)
"""Models whose shapes are measured."""
RANKS = (1, 2, 4, 8)
GEMM_ROWS = tuple(int(s * 2**e) for e in range(16) for s in (1, 1.5) if s * 2**e == int(s * 2**e) and s * 2**e <= 2**15)
BATCHES = tuple(2**e for e in range(11))
LENGTHS = tuple(int(s * 2**e) for e in range(4, 15) for s in (1, 1.5))
CONTEXTS = tuple(int(s * 2**e) - 1 for e in range(4, 18) for s in (1, 1.5) if s * 2**e <= 2**17)
MEMORY_BYTES = tuple(2**e for e in range(16, 33))
MESSAGE_BYTES = tuple(2**e for e in range(8, 31))
MULTIPLE = 16
"""Widths of an fp8 product are multiples of it, and cached tokens come in blocks of it."""
WEIGHT_COPIES = int(FORMATS["bfloat16"].copies)
WIDEST_HEAD = 256
"""Above it FlashAttention-2 does not run."""
LONGEST_S, MEMORY_SHARE = 0.05, 0.6
"""A row may take so long at the datasheet's rates, and so much of the device's memory."""
L2_TIMES, MOST_COPIES = 3.0, 1024
SEED_STEP = 4096
SIXTEEN_BIT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One row to measure."""

    file: str
    l2: str
    """`warm` or `cold`."""
    key: tuple[str | int, ...]
    """Values of `COLUMNS[file]`."""

    @property
    def values(self) -> dict[str, Any]:
        """The key by column."""
        return dict(zip(COLUMNS[self.file], self.key, strict=True))

    @property
    def cell(self) -> tuple[str, str]:
        """Operator and format: what one fit takes."""
        told = self.values
        return str(told.get("op", self.file)), str(told.get("kv_dtype", told.get("dtype", "")))

    @property
    def shape(self) -> str:
        """The numbers of the key as one text."""
        return " ".join(f"{name}={value}" for name, value in self.values.items() if not isinstance(value, str))


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a plan must know of the machine."""

    target: Target
    devices: int = 1

    @property
    def gpu(self) -> Gpu:
        """The GPU as the catalog describes it."""
        return self.target.gpu

    @property
    def l2_bytes(self) -> float:
        """L2 of one GPU. [B]"""
        return self.gpu.l2_bytes or UNKNOWN_L2_BYTES


def operators_of(text: str) -> tuple[str, ...]:
    """Return the files of rows that a list of operators stands for.

    Raises
    ------
    InputError
        A word is no operator.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in GROUPS:
            raise InputError(f"--operators {text}: no operator {word!r}; {near(word, GROUPS)}")
    if not words:
        raise InputError(f"--operators {text!r}: names none; pick some of {', '.join(GROUPS)}")
    return tuple(file for word, files in GROUPS.items() if word in words for file in files)


def planned(device: Device, files: Sequence[str], catalog: Catalog, rows: int = ROWS, seed: int = 0) -> list[Planned]:
    """Return the rows to measure, in the order to measure them: warm ones first, cells in turn, collectives last."""
    warm = [_spread(found, rows, seed) for found in _candidates(device, files, catalog) if found]
    alone = [cell for cell in warm if cell[0].file != "comm"]
    cold = [[c for row in cell if (c := _cold(row, device)) is not None] for cell in alone]
    together = sorted((row for cell in warm if cell[0].file == "comm" for row in cell), key=lambda r: r.values["ranks"])
    return [*_in_turn(alone), *_in_turn(cold), *together]


def _in_turn(cells: Sequence[Sequence[Planned]]) -> Iterator[Planned]:
    for several in zip_longest(*cells):
        yield from (row for row in several if row is not None)


def _cold(row: Planned, device: Device) -> Planned | None:
    """Return the row with a cold L2, where enough copies of it fit."""
    cold = Planned(file=row.file, l2="cold", key=row.key)
    enough = copies(cold, device.l2_bytes) * sum(set_bytes(cold)) >= L2_TIMES * device.l2_bytes
    return cold if enough and _fits(cold, device) else None


def _fits(row: Planned, device: Device) -> bool:
    return need_bytes(row, device.l2_bytes) <= MEMORY_SHARE * device.gpu.memory_bytes


def set_bytes(row: Planned) -> tuple[float, float]:
    """Return the bytes of a row's weights, and of all else that one call touches. [B]"""
    v = row.values
    if row.file == "gemm":
        weight = FORMATS[v["dtype"]].weight_bytes
        quantized = v["m"] * v["k"] if FORMATS[v["dtype"]].quantizes else 0
        return weight * v["n"] * v["k"], SIXTEEN_BIT * v["m"] * (v["k"] + v["n"]) + quantized
    if row.file == "attn_prefill":
        tokens = v["batch"] * v["seq_len"]
        return 0.0, 2 * SIXTEEN_BIT * tokens * v["head_dim"] * (v["heads"] + 2 * v["kv_heads"])
    if row.file == "attn_decode":
        cached = math.ceil((v["ctx_len"] + 1) / MULTIPLE) * MULTIPLE * v["kv_heads"]
        return 0.0, 2 * SIXTEEN_BIT * v["batch"] * v["head_dim"] * (cached + v["heads"])
    return 0.0, (2.0 if row.file == "comm" else 1.0) * v["bytes"]


def copies(row: Planned, l2_bytes: float) -> int:
    """Return how many sets of buffers take turns."""
    weights, rest = set_bytes(row)
    if row.l2 == "cold":
        return min(max(math.ceil(L2_TIMES * l2_bytes / (weights + rest)) + 1, 2), MOST_COPIES)
    return WEIGHT_COPIES if weights else 1


def need_bytes(row: Planned, l2_bytes: float) -> float:
    """Return the device memory that a row takes. [B]"""
    weights, rest = set_bytes(row)
    count = copies(row, l2_bytes)
    return count * (weights + rest) if row.l2 == "cold" else count * weights + rest


def _candidates(device: Device, files: Sequence[str], catalog: Catalog) -> Iterator[list[Planned]]:
    """Yield all rows of each operator and format that the device can run."""
    heads = list(_heads(catalog))
    for file in files:
        if file == "gemm":
            for dtype in ("bfloat16", "fp8") if "fp8" in device.gpu.flop_per_s else ("bfloat16",):
                shapes = product((dtype,), GEMM_ROWS, _widths(catalog))
                yield _able(file, ((d, m, n, k) for d, m, (n, k) in shapes), device)
        elif file == "attn_prefill":
            sizes = product(BATCHES, LENGTHS, heads)
            yield _able(file, (("bfloat16", b, s, 0, *h, 0) for b, s, h in sizes), device)
        elif file == "attn_decode":
            cached = product(BATCHES, CONTEXTS, heads)
            yield _able(file, (("bfloat16", b, c, *h, 0) for b, c, h in cached), device)
        elif file == "memory":
            for op in ("copy", "read"):
                yield _able(file, ((op, size) for size in MEMORY_BYTES), device)
        else:
            ranks = [count for count in RANKS[1:] if count <= device.devices]
            for op in (name for name in COLLECTIVES if "vllm" not in name):
                messages = product(ranks, MESSAGE_BYTES)
                yield _able(file, ((op, "float16", count, "intra_node", size) for count, size in messages), device)


def _able(file: str, keys: Iterable[tuple[str | int, ...]], device: Device) -> list[Planned]:
    """Return the rows that fit into memory and do not take too long."""
    rows = [Planned(file=file, l2="warm", key=key) for key in keys]
    rows = [row for row in rows if _fits(row, device)]
    if file not in OPERATORS or not rows:
        return rows
    operator = OPERATORS[file]
    columns = {name: np.array([row.values[name] for row in rows], dtype=float) for name in operator.columns}
    seconds = roofline_s(operator, columns, device.target, rows[0].cell[1], "")
    return [row for row, s in zip(rows, seconds, strict=True) if s <= LONGEST_S]


def _widths(catalog: Catalog) -> list[tuple[int, int]]:
    """Return (n, k) of the weights of real models on one rank."""
    tp = np.array(RANKS, dtype=float)
    found: set[tuple[int, int]] = set()
    for name in MODELS:
        model = catalog.model(name)
        matrices = [m for one in model.attention.values() for m in mixer_matrices(one, model.hidden_size, tp)]
        blocks = [one for one in model.ffn.values() if isinstance(one, Ffn)]
        matrices += [m for one in blocks for m in ffn_matrices(one, model.hidden_size, tp)]
        pairs = [pair for m in matrices for pair in zip(m.n.tolist(), m.k.tolist(), strict=True)]
        pairs += [(model.vocab_size / ranks, float(model.hidden_size)) for ranks in RANKS]
        found |= {(int(n), int(k)) for n, k in pairs if n % MULTIPLE == 0 and k % MULTIPLE == 0}
    return sorted(found)


def _heads(catalog: Catalog) -> list[tuple[int, int, int]]:
    """Return (heads, KV heads, width of a head) of real models on one rank."""
    found = set()
    for name in MODELS:
        for one in catalog.model(name).attention.values():
            if isinstance(one, Gqa) and one.head_dim <= WIDEST_HEAD:
                cuts = [tp for tp in RANKS if one.heads % (tp * max(one.kv_heads // tp, 1)) == 0]
                found |= {(one.heads // tp, max(one.kv_heads // tp, 1), one.head_dim) for tp in cuts}
    return sorted(found)


def _spread(candidates: Sequence[Planned], rows: int, seed: int) -> list[Planned]:
    """Return at most `rows` candidates, spread evenly over the ranks of their numbers."""
    places = _places(candidates)
    free = np.ones(len(candidates), dtype=bool)
    chosen: list[Planned] = []
    for point in _points(min(rows, len(candidates)), places.shape[1], seed):
        far = np.where(free, ((places - point) ** 2).sum(axis=1), np.inf)
        nearest = int(far.argmin())
        free[nearest] = False
        chosen.append(candidates[nearest])
    return chosen


def _places(candidates: Sequence[Planned]) -> Floats:
    """Return each candidate as a point in a cube: for each number that varies, the share of candidates below it."""
    rows = np.array([[value for value in row.key if not isinstance(value, str)] for row in candidates], dtype=float)
    varied = [column for column in rows.T if np.ptp(column) > 0] or [rows[:, 0]]
    places = []
    for column in varied:
        order = np.sort(column)
        places.append((np.searchsorted(order, column, "left") + np.searchsorted(order, column, "right")) / 2)
    return np.asarray(np.stack(places, axis=1) / len(candidates))


def _points(count: int, dimensions: int, seed: int) -> Floats:
    """Return `count` points of the additive sequence of generalized golden ratios; each seed begins elsewhere."""
    ratio = 2.0
    for _ in range(64):
        ratio = (1 + ratio) ** (1 / (dimensions + 1))
    steps = ratio ** -np.arange(1, dimensions + 1)
    return np.asarray((0.5 + np.outer(seed * SEED_STEP + np.arange(1, count + 1), steps)) % 1.0)
