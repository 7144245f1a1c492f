from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmplan.perf.curves import FARTHEST, curve

KNOTS = st.lists(st.integers(1, 5000), min_size=1, max_size=6, unique=True)


def bent(x):
    """Seconds: flat at 1 us until 100, then 20 ns for each more."""
    return 1e-6 + 2e-8 * np.maximum(x - 100, 0)


def rows(*numbers):
    return np.array([[float(n) for n in numbers]])


def test_a_curve_with_a_knot_at_each_bend_is_exact():
    c = curve(bent, rows(1, 100))
    x = rows(1, 2, 50, 99, 100, 101, 1000, 100_000)
    assert c.seconds(x) == pytest.approx(bent(x), abs=1e-12)


def test_below_one_token_there_is_no_kernel():
    c = curve(bent, rows(1, 100))
    assert c.seconds(rows(0, 0.5, 0.999)).tolist() == [[0, 0, 0]]
    assert c.seconds(rows(1)) == pytest.approx(1e-6)


@given(KNOTS, st.integers(0, 2**32 - 1))
def test_any_rising_cost_is_met_at_the_knots_within_half_a_picosecond(knots, seed):
    steps = np.random.default_rng(seed).uniform(0, 1e-6, 6)

    def cost(x):
        return steps[0] + steps[1] * np.sqrt(x) + steps[2] * x + steps[3] * np.log1p(x)

    c = curve(cost, rows(*knots))
    at = rows(*knots)
    assert np.max(np.abs(c.seconds(at) - cost(at))) <= 0.51e-12


@given(KNOTS, st.integers(0, 2**32 - 1))
def test_a_rising_cost_gives_a_rising_curve(knots, seed):
    slope, bend = np.random.default_rng(seed).uniform(1e-9, 1e-6, 2)

    def cost(x):
        return slope * x + bend * np.log1p(x)

    c = curve(cost, rows(1, *knots))
    x = np.arange(0.0, 6000.0)[None, :]
    width = max(knots)
    assert np.all(np.diff(c.seconds(x)) >= -0.5e-12 * (width + 2))  # a slope is rounded to a whole picosecond


def test_every_number_of_a_curve_is_a_whole_one():
    c = curve(bent, rows(1, 3.2, 100.7))
    assert set(c.start[0].tolist()) == {0, 1, 4, 101}
    for part in (c.start, c.base_ps, c.slope_ps):
        assert part.dtype == np.int64
    assert c.base_ps[0, 1] == 1_000_000


def test_sums_over_whole_features_are_whole_picoseconds():
    c = curve(bent, rows(1, 100))
    x = np.arange(1.0, 500.0)[None, :]
    picoseconds = c.seconds(x) * 1e12
    assert picoseconds == pytest.approx(np.rint(picoseconds), abs=1e-3)


def test_knots_come_in_any_order_and_more_than_once():
    x = rows(1, 7, 50, 100, 150, 1000)
    plain, messy = curve(bent, rows(1, 100)), curve(bent, rows(100, 1, 100, 1, 0.3))
    assert messy.seconds(x).tolist() == plain.seconds(x).tolist()


def test_a_knot_too_far_away_is_brought_to_the_edge():
    c = curve(bent, rows(1, 1e30))
    assert c.start.max() == FARTHEST


def test_each_replica_has_its_own_curve():
    factor = np.array([[1.0], [3.0]])
    c = curve(lambda x: factor * bent(x), np.array([[1.0, 100.0], [1.0, 100.0]]))
    found = c.seconds(np.array([[200.0], [200.0]]))
    assert found == pytest.approx(np.array([[3e-6], [9e-6]]))
