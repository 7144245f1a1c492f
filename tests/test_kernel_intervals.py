"""Intervals of median errors, and errors by measured time."""

from __future__ import annotations

import numpy as np
import pytest

from llmplan.kernel_bins import BINS, bin_rows
from llmplan.kernel_intervals import fixed_uniform, groups_of, is_scarce, median_interval
from llmplan.kernel_rows import Cell
from llmplan.kernel_scores import Predicted, scores
from llmplan.perf.kernels.forms import OPERATORS, Target
from llmplan.spec.catalog import Catalog

TARGET = Target(gpu=Catalog().gpu("h100"), link_bytes_per_s=450e9)


def one_cell(measured_s, n, off_percent, split="group"):
    """Rows of products of width n, predicted too slow by so much."""
    count = len(measured_s)
    cell = Cell(
        operator=OPERATORS["gemm"], dtype="bfloat16", gpu="h100-sxm", kernel="k", library="k", target=TARGET,
        columns={"m": np.arange(1.0, count + 1), "n": np.asarray(n, dtype=float), "k": np.full(count, 64.0)},
        measured_s=np.asarray(measured_s, dtype=float), split=np.full(count, split, dtype=object),
    )  # fmt: skip
    return Predicted(cell=cell, seconds=cell.measured_s * (1 + np.asarray(off_percent) / 100), basis="calibrated")


def test_draws_are_even_and_depend_on_the_seed_alone():
    first = fixed_uniform(7, 20_000)
    assert (first == fixed_uniform(7, 20_000)).all()
    assert abs(np.corrcoef(first, fixed_uniform(8, 20_000))[0, 1]) < 0.03
    assert np.histogram(first, 10, (0, 1))[0] == pytest.approx(2000, rel=0.1)


@pytest.mark.parametrize(("rows", "groups", "scarce"), [(199, 50, True), (5000, 9, True), (200, 10, False)])
def test_an_interval_is_for_few_rows_or_few_shapes(rows, groups, scarce):
    assert is_scarce(rows, groups) is scarce
    found = median_interval(np.linspace(1, 9, rows), np.arange(rows) % groups, 0)
    assert (found is not None) is scarce


def test_a_single_shape_says_nothing_of_another():
    assert median_interval(np.arange(30.0), np.zeros(30, dtype=int), 0) is None


def test_an_interval_is_the_same_each_time():
    size, groups = fixed_uniform(1, 60), np.arange(60) % 7
    assert median_interval(size, groups, 3) == median_interval(size, groups, 3)
    assert median_interval(size, groups, 3) != median_interval(size, groups, 4)


def test_the_median_of_a_draw_is_that_of_its_rows_written_out():
    """One repeat by hand: shapes drawn with replacement, all rows of each, the plain median."""
    size, groups = fixed_uniform(2, 23), np.arange(23) % 5
    drawn = (fixed_uniform(9, 500 * 5) * 5).astype(int).reshape(500, 5)
    by_hand = [np.median(np.concatenate([size[groups == g] for g in draw])) for draw in drawn]
    assert median_interval(size, groups, 9) == pytest.approx(tuple(np.percentile(by_hand, [5, 95])))


def test_intervals_hold_the_true_median_about_as_often_as_they_say():
    """300 samples of 40 shapes with 3 rows that err alike, whose true median is 10 %."""
    held = 0
    for sample in range(300):
        of_shape = 20 * fixed_uniform(1000 + sample, 40)
        low, high = median_interval(np.repeat(of_shape, 3), np.repeat(np.arange(40), 3), sample)
        held += low <= 10 <= high
    assert 0.84 <= held / 300 <= 0.96


def test_rows_of_one_shape_do_not_make_an_interval_narrow():
    """Ten times the rows of the same shapes tell no more of other shapes."""
    of_shape = 20 * fixed_uniform(5, 8)
    once = median_interval(of_shape, np.arange(8), 1)
    often = median_interval(np.repeat(of_shape, 10), np.repeat(np.arange(8), 10), 1)
    assert often == pytest.approx(once)


def test_shapes_are_told_apart_by_their_columns_and_points_by_themselves():
    cell = one_cell([1e-5] * 4, [64, 128, 64, 64], 0).cell
    numbers = groups_of([(cell, np.array([True, True, True, False])), (cell, np.array([False, True, False, True]))])
    assert numbers.tolist() == [0, 1, 0, 1, 0]


def test_scores_carry_the_interval_where_rows_are_few():
    (few,) = scores([one_cell([1e-5] * 30, np.arange(30), np.linspace(0, 20, 30))])
    assert few.interval is not None
    assert few.interval[0] < few.errors.mdape < few.interval[1]
    (many,) = scores([one_cell([1e-5] * 300, np.arange(300), np.linspace(0, 20, 300))])
    assert many.interval is None


def test_rows_are_in_the_bin_of_their_measured_time():
    times = [5e-6, 20e-6, 20.1e-6, 100e-6, 999e-6, 1e-3, 1.1e-3]
    told = bin_rows([one_cell(times, range(7), [10, 10, 20, 20, 30, 30, 40])])
    assert [(b["bin"], b["n"], b["mdape"]) for b in told] == list(
        zip(BINS, (2, 2, 2, 1), (10, 20, 30, 40), strict=True)
    )
    assert {(b["op"], b["split"]) for b in told} == {("gemm", "group")}
    assert told[0]["mdape_low"] == told[0]["mdape_high"] == 10
    assert told[3]["mdape_low"] is None


def test_sides_and_empty_bins_are_kept_apart():
    told = bin_rows([one_cell([5e-6], [1], 10), one_cell([5e-6, 6e-6], [1, 1], 50, split="train")])
    assert [(b["bin"], b["split"], b["n"], b["mdape"]) for b in told] == [
        (BINS[0], "group", 1, 10),
        (BINS[0], "train", 2, 50),
    ]
