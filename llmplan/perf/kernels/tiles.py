"""How libraries cut products and attention into tiles: facts about named kernels, taken from their sources.

A tile is rows x columns of the output. A library either tries many and takes the fastest (cuBLAS, TensorRT-LLM and
DeepGEMM come near that), or goes by a table of shapes (vLLM's CUTLASS kernels for fp8).

Sources: vllm-project/vllm, csrc/quantization/w8a8/cutlass: scaled_mm_c2x_sm89_fp8_dispatch.cuh,
c3x/scaled_mm_sm90_fp8_dispatch.cuh, c3x/scaled_mm_sm100_fp8_dispatch.cuh; deepseek-ai/DeepGEMM,
csrc/jit_kernels/heuristics (without its rule of fewest waves, which misses more than the fastest tile does);
Dao-AILab/flash-attention, csrc/flash_attn/src/flash_fwd_launch_template.h (run_mha_fwd_splitkv_dispatch, which a paged
cache takes) and flash_api.cpp; flashinfer-ai/flashinfer, include/flashinfer/utils.cuh (FA2DetermineCtaTileQ).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmplan.perf.kernels.chip import Value
from llmplan.perf.roofline import Floats

Tile = tuple[int, int]
ANY = float("inf")
WIDE_ROWS = 64
"""Rows of the matrix instruction from which a library has no tile with fewer."""
MATRIX_ROWS: Mapping[str, int] = {"hopper": 64, "blackwell": 64, "rubin": 64}
"""Rows of the matrix instruction by architecture (wgmma, tcgen05); 16 on any other."""
LEAST_MATRIX_ROWS = 16
DECODE_KEYS, TRITON_KEYS, MLA_KEYS = 128.0, 64.0, 64.0
"""Keys of a block of decode attention: usual ones, of Triton's kernels, over latents."""
WINDOW_EDGE = 64.0
"""Keys that FlashAttention-3 reads beyond a window, on average: half a block, for windows end inside one."""

SMALL_TILES = ((16, 64), (32, 64), (64, 64), (64, 128), (128, 64), (128, 128), (64, 256), (128, 256), (256, 128))
WIDE_TILES = ((64, 64), (64, 128), (128, 64), (128, 128), (128, 192), (192, 128), (64, 256), (128, 256), (256, 128))
DEEP_COLUMNS = (32, 64, 96, 128, 160, 192, 224, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The tiles of one library on one architecture."""

    tiles: tuple[Tile, ...] = ()
    """Tried one by one."""
    table: tuple[tuple[float, float, Tile], ...] = ()
    """Or (most rows, most columns, tile): the first line that a product fits in."""
    joined: int = 1
    """Multiprocessors that make one tile together."""

    def each(self, m: Floats, n: Floats) -> Iterator[tuple[Value, Value]]:
        """Yield rows and columns of a tile, for every tile that may be taken."""
        if not self.table:
            yield from self.tiles
            return
        fits = [(m <= rows) & (n <= columns) for rows, columns, _ in self.table]
        yield tuple(np.select(fits, [float(tile[side]) for *_, tile in self.table]) for side in (0, 1))  # type: ignore[misc]


SMALL, WIDE = Cut(tiles=SMALL_TILES), Cut(tiles=WIDE_TILES)
CUTS: Mapping[tuple[str, str, str], Cut] = {
    ("fp8", "vllm", "ada"): Cut(
        table=(
            *((16, 8192, (16, 64)), (16, 16384, (16, 128)), (16, ANY, (32, 64))),
            *((32, 8192, (32, 64)), (32, 16384, (32, 128)), (32, ANY, (32, 64))),
            *((64, 8192, (64, 64)), (64, 16384, (64, 128)), (64, ANY, (64, 64))),
            *((128, 8192, (64, 128)), (128, 16384, (128, 128)), (128, ANY, (128, 64))),
            *((256, 4096, (64, 128)), (256, ANY, (128, 128))),
            *((ANY, 4096, (128, 128)), (ANY, 8192, (256, 128)), (ANY, ANY, (128, 128))),
        )
    ),
    ("fp8", "vllm", "hopper"): Cut(
        table=(
            *((16, ANY, (16, 64)), (64, 1280, (16, 64)), (64, ANY, (64, 64))),
            *((128, ANY, (64, 128)), (ANY, ANY, (128, 128))),
        )
    ),
    ("fp8", "vllm", "blackwell"): Cut(
        table=((16, ANY, (32, 128)), (64, ANY, (64, 128)), (256, ANY, (128, 128)), (ANY, ANY, (256, 128))), joined=2
    ),
    ("fp8_block", "sglang", "hopper"): Cut(tiles=tuple((rows, c) for rows in (64, 128) for c in DEEP_COLUMNS)),
    ("fp8_block", "sglang", "blackwell"): Cut(tiles=tuple((128, c) for c in DEEP_COLUMNS)),
    ("fp8_block", "trtllm", "ada"): WIDE,
}
"""By format, kernel and architecture."""


def matrix_rows(architecture: str) -> int:
    """Return the rows that one instruction of the matrix unit takes."""
    return MATRIX_ROWS.get(architecture, LEAST_MATRIX_ROWS)


def usual(rows: int) -> Cut:
    """Return the tiles of a library of which nothing is known, by the rows of the matrix instruction."""
    return WIDE if rows >= WIDE_ROWS else SMALL


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """How a kernel cuts the queries and keys of new tokens."""

    query_rows: tuple[int, ...]
    """Rows of a tile: tried one by one, or, where a group always packs, the least that holds them."""
    keys: tuple[tuple[float, int], ...]
    """(widest head, keys of a block)."""
    packs: Literal["either", "lone", "always"]
    """Whether the heads of a group share a tile: as is faster, for a lone token without a window, or always."""

    def key_rows(self, width: Floats) -> Floats:
        """Return the keys of a block for heads of a width."""
        return np.select([width <= most for most, _ in self.keys], [float(keys) for _, keys in self.keys])

    def each(self, tokens: Floats, group: Floats, window: Floats, width: Floats) -> Iterator[tuple[Value, Value]]:
        """Yield rows of a tile and heads that share it, for every way that may be taken."""
        if self.packs == "either":
            yield from ((float(rows), heads) for rows in self.query_rows for heads in (1.0, group))
        elif self.packs == "lone":
            yield float(self.query_rows[0]), np.where((tokens == 1) & (window == 0), group, 1.0)
        else:
            *smaller, largest = self.query_rows
            most = np.where(width < WIDE_HEAD, largest, smaller[-1])
            yield np.select([tokens * group <= rows for rows in smaller], [float(r) for r in smaller], most), group


WIDE_HEAD = 256
"""Width of a head from which the largest tile of queries does not fit."""
FREE = Attention(query_rows=(64, 128), keys=((ANY, 128),), packs="either")
SECOND = Attention(query_rows=(64,), keys=((64, 256), (128, 128), (ANY, 64)), packs="lone")
FLASHINFER = Attention(query_rows=(16, 64, 128), keys=((ANY, 64),), packs="always")


def is_second_generation(kernel: str) -> bool:
    """Return whether a kernel is of the FlashAttention-2 generation, which splits and packs less."""
    return "flash_attn" in kernel and not kernel.endswith(("fa3", "fa4"))


def attention_of(kernel: str) -> Attention:
    """Return how a named kernel cuts attention of new tokens; the fastest way where it is unknown."""
    if is_second_generation(kernel):
        return SECOND
    return FLASHINFER if kernel.endswith("fiprefill") else FREE


def reads_beyond(kernel: str) -> bool:
    """Return whether a kernel reads keys beyond a window."""
    return kernel.endswith("fa3")


def cache_keys(kernel: str, width: Floats) -> Value:
    """Return the keys of a block in which a named kernel reads a cache for one new token."""
    return SECOND.key_rows(width) if is_second_generation(kernel) else usual_keys(kernel)


def usual_keys(kernel: str) -> float:
    """Return the same of a kernel whose blocks do not depend on the width of a head."""
    return TRITON_KEYS if "triton" in kernel else DECODE_KEYS


Flags = NDArray[np.bool_]


def splits_and_packs(older: Flags | bool, heads: Value, kv_heads: Value, windowed: Flags | bool) -> tuple[Flags, Flags]:
    """Return whether decode attention cuts a cache between multiprocessors, and reads a KV head once for its group.

    Kernels of the FlashAttention-2 generation neither split full multi-head attention nor pack under a window.
    """
    alone = np.asarray(heads) == kv_heads
    return ~(older & (alone | windowed)), ~(older & np.asarray(windowed, dtype=bool))
