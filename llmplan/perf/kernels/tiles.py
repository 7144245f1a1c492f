"""How libraries cut a matrix product into tiles: facts about named kernels, taken from their sources.

A tile is rows x columns of the output. A library either tries many and takes the fastest (cuBLAS, TensorRT-LLM and
DeepGEMM come near that), or goes by a table of shapes (vLLM's CUTLASS kernels for fp8).

Sources: vllm-project/vllm, csrc/quantization/w8a8/cutlass: scaled_mm_c2x_sm89_fp8_dispatch.cuh,
c3x/scaled_mm_sm90_fp8_dispatch.cuh, c3x/scaled_mm_sm100_fp8_dispatch.cuh; deepseek-ai/DeepGEMM,
csrc/jit_kernels/heuristics (without its rule of fewest waves, which misses more than the fastest tile does).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from llmplan.perf.kernels.chip import Chip, Value
from llmplan.perf.roofline import Floats

Tile = tuple[int, int]
ANY = float("inf")
WIDE_ROWS = 64
"""Rows of the matrix instruction from which a library has no tile with fewer."""

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


def usual(chip: Chip) -> Cut:
    """Return the tiles of a library of which nothing is known."""
    return WIDE if chip.matrix_rows >= WIDE_ROWS else SMALL
