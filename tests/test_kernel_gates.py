"""Limits on errors of kernels: how they are read, what they are held against, and when they do not hold."""

from __future__ import annotations

import numpy as np
import pytest

from llmplan.errors import InputError
from llmplan.kernel_gates import judged, read_gates
from llmplan.kernel_rows import Cell, FileFacts, Measured
from llmplan.kernel_scores import Predicted
from llmplan.perf.kernels.forms import OPERATORS, Target
from llmplan.spec.catalog import Catalog

CATALOG = Catalog()


def gpu_of(name):
    return CATALOG.gpu(name).name


def rows(dtype, gpu, off_percent, count=4, split="group", kernel="k"):
    """Rows of 10 us that are predicted too slow by so much."""
    cell = Cell(
        operator=OPERATORS["gemm"], dtype=dtype, gpu=gpu, kernel=kernel, library=kernel,
        target=Target(gpu=CATALOG.gpu(gpu), link_bytes_per_s=1.0), measured_s=np.full(count, 1e-5),
        columns={name: np.full(count, 64.0) for name in ("m", "n", "k")},
        split=np.full(count, split, dtype=object),
    )  # fmt: skip
    return Predicted(cell=cell, seconds=cell.measured_s * (1 + off_percent / 100), basis="calibrated")


SCORED = [
    rows("bfloat16", "h100-sxm", 6),
    rows("bfloat16", "l40s", -30),
    rows("bfloat16", "h200-sxm", 8),
    rows("fp8", "h100-sxm", 2, count=96),
    rows("fp8", "h100-sxm", 90, split="train"),
]


def verdict(line, predicted=SCORED, read=208):
    measured = Measured(files=[FileFacts(name="gemm.csv.gz", sha256="", rows=read)])
    (one,) = judged(read_gates(line, "g.txt", gpu_of), measured, predicted)
    return one


@pytest.mark.parametrize(
    ("line", "value", "passed"),
    [
        ("kernels.gemm.bfloat16.mdape <= 10", 8, True),
        ("kernels.gemm.bfloat16.mdape <= 10 in every cell", 30, False),
        ("kernels.gemm.mdape < 6.99", 7, False),
        ("kernels.gemm.mdape<=7.01%", 7, True),
        ("kernels.gemm.mdape <= 10 over rows", 2, True),
        ("kernels.gemm.bfloat16.l40s.p90 <= 29", 30, False),
        ("kernels.gemm.L40S.bfloat16.p90 <= 31", 30, True),
        ("kernels.gemm.bfloat16.bias >= 0 in every cell", -30, False),
        ("kernels.gemm.train.mdape <= 80", 90, False),
        ("kernels.gemm.wape > 1", 7, True),
        ("kernels.coverage >= 55", 100 * 112 / 208, False),
        ("kernels.gemm.coverage >= 50", 100 * 112 / 208, True),
    ],
)
def test_a_limit_is_held_against_the_rows_it_names(line, value, passed):
    told = verdict(line)
    assert told.value == pytest.approx(value)
    assert told.passed is passed


def test_a_verdict_states_what_it_is_over_and_the_worst_cell():
    assert verdict("kernels.gemm.bfloat16.mdape <= 10").told == (
        "kernels.gemm.bfloat16.mdape <= 10: 8.00 (median over 3 cells, group; worst bfloat16 on l40s, 30.00)"
    )
    assert verdict("kernels.gemm.mape <= 10 over rows").told.endswith(
        "over 108 rows, group; worst bfloat16 on l40s, 30.00)"
    )
    assert verdict("kernels.gemm.bfloat16.mdape <= 10").plain["worst"] == {"cell": "bfloat16 on l40s", "value": 30.0}


def test_kernels_of_one_cell_count_as_one():
    two = [rows("fp8", "l40s", 10, kernel="a"), rows("fp8", "l40s", 20, kernel="b", count=12)]
    told = verdict("kernels.gemm.mdape <= 15", two)
    assert (told.value, told.cells, told.rows) == (pytest.approx(20), 1, 16)


def test_a_limit_without_rows_does_not_hold():
    told = verdict("kernels.moe.mdape <= 1000")
    assert (told.value, told.passed, told.told) == (None, False, "kernels.moe.mdape <= 1000: no rows scored")
    assert not verdict("kernels.coverage >= 0", [], read=0).passed


def test_points_stand_in_where_no_shape_is_left_out():
    told = verdict(
        "kernels.gemm.mdape <= 5", [rows("fp8", "l40s", 4, split="point"), rows("fp8", "l40s", 90, split="train")]
    )
    assert (told.value, told.split) == (pytest.approx(4), "point")


def test_a_list_of_yaml_and_lines_are_read_alike():
    lines = "# mine\nkernels.gemm.mdape <= 10\n\nkernels.moe.bias >= -5  # too fast\n"
    listed = '---\n- kernels.gemm.mdape <= 10\n- "kernels.moe.bias >= -5"\n'
    assert read_gates(lines, "a", gpu_of) == read_gates(listed, "b", gpu_of)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("kernels.gem.mdape <= 10", "g.txt:2: unknown operator 'gem'; did you mean gemm or emb?"),
        ("kernels.gemm.bf16.mdape <= 10", "g.txt:2: unknown format, GPU or split 'bf16' of gemm; want one of bfloat16"),
        ("kernels.gemm.median <= 10", "g.txt:2: unknown metric 'median'; want one of mdape, mape, p90, wape, bias"),
        ("kernels.gemm.fp8.bfloat16.mdape <= 1", "g.txt:2: names two of a kind, fp8 and bfloat16; want one"),
        ("kernels.gemm.mdape <= ten", "g.txt:2: 'ten' is no number; want a limit in percent"),
        ("kernels.gemm.mdape <= nan", "g.txt:2: 'nan' is no number; want a limit in percent"),
        ("kernels.gemm.mdape = 10", "g.txt:2: 'kernels.gemm.mdape = 10' is no limit; want kernels.gemm"),
        ("kernels.gemm.mdape <= 10 over all", "g.txt:2: unknown 'over all'; want over cells, over rows, in every cell"),
        ("kernels.mdape <= 10", "g.txt:2: 'kernels.mdape' names no operator; want kernels.gemm"),
        ("serving.tpot.mdape <= 10", "g.txt:2: 'serving.tpot.mdape' does not start with 'kernels.'; want"),
        ("kernels.all_reduce.coverage > 9", "g.txt:2: no coverage of 'all_reduce' is counted; want that of the whole"),
        ("mdape <= 10", "g.txt:2: 'mdape' does not start with 'kernels.'"),
        ("[]", "g.txt:2: '[]' is no limit"),
    ],
)  # fmt: skip
def test_what_is_no_limit_is_refused_in_one_line(line, said):
    with pytest.raises(InputError) as raised:
        read_gates(f"\n{line}\n", "g.txt", gpu_of)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)


def test_a_file_without_limits_is_refused():
    with pytest.raises(InputError, match=r"^g\.txt: holds no limit; want lines such as kernels\.gemm"):
        read_gates("# none\n", "g.txt", gpu_of)
