from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmplan.perf.curves import GRID, ONE, STEP_TOKENS, places, smoothed, through


def curve(cost, knots, replicas):
    """The curves of some replicas through a cost."""
    asked = np.broadcast_to(places(knots), (replicas, len(places(knots))))
    return through(np.broadcast_to(cost(asked), asked.shape), knots)


def bent(x):
    """Seconds: flat at 1 us until 96, then 20 ns for each more."""
    return 1e-6 + 2e-8 * np.maximum(x - 96, 0)


def straight(x):
    return 3e-6 + 7e-9 * x


def rows(*numbers):
    return np.array([[float(n) for n in numbers]])


def test_the_grid_has_every_quarter_octave():
    assert GRID[:12].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16]
    assert np.all(np.rint(GRID) == GRID)
    assert GRID[-1] == 2**18


def test_a_curve_with_a_knot_at_each_bend_is_exact():
    c = curve(bent, GRID, 1)
    x = rows(1, 1.5, 2, 50, 95, 96, 97, 1000, 100_000, 2**18, 1e6)
    assert c.seconds(x) == pytest.approx(bent(x), abs=1e-11)


def test_a_straight_line_needs_one_knot():
    c = curve(straight, ONE, 1)
    x = rows(1, 2, 3, 50, 1e6, 1e9)
    assert c.seconds(x) == pytest.approx(straight(x), rel=1e-4)  # slopes of whole picoseconds over two tokens
    assert c.start.tolist() == [0, 1]


@pytest.mark.parametrize("knots", [GRID, ONE])
def test_below_one_token_there_is_no_kernel(knots):
    c = curve(bent, knots, 1)
    assert c.seconds(rows(0, 0.5, 0.999)).tolist() == [[0, 0, 0]]
    assert c.seconds(rows(1)) == pytest.approx(1e-6)


@given(st.integers(0, 2**32 - 1))
def test_any_rising_cost_is_met_at_the_knots_within_half_a_picosecond(seed):
    steps = np.random.default_rng(seed).uniform(0, 1e-6, 6)

    def cost(x):
        return steps[0] + steps[1] * np.sqrt(x) + steps[2] * x + steps[3] * np.log1p(x)

    c = curve(cost, GRID, 1)
    assert np.max(np.abs(c.seconds(GRID[None, :]) - cost(GRID))) <= 0.51e-12 + 1e-13


@given(st.integers(0, 2**32 - 1))
def test_a_curve_rises_even_where_its_cost_falls(seed):
    values = np.random.default_rng(seed).uniform(1e-7, 1e-5, (3, len(GRID)))
    c = through(values, GRID)
    x = np.tile(np.concatenate([np.arange(0.0, 3000.0), np.geomspace(3000, 2**18, 500)]), (3, 1))
    assert np.all(np.diff(c.seconds(x)) >= -1e-15)
    assert np.all(c.seconds(np.tile(GRID, (3, 1))) >= values - 0.51e-12)


@given(st.floats(1.0, 2.0**18))
def test_between_knots_a_curve_is_a_line(x):
    values = np.cumsum(np.linspace(1e-6, 2e-6, len(GRID)))[None, :]
    c = through(values, GRID)
    assert c.seconds(rows(x))[0, 0] == pytest.approx(np.interp(x, GRID, values[0]), abs=2e-12)


def test_every_number_of_a_curve_is_a_whole_one():
    c = curve(bent, GRID, 2)
    assert c.start.tolist() == [0, *GRID.astype(int).tolist()]
    for part in (c.start, c.base_ps, c.slope_ps):
        assert part.dtype == np.int64
    assert c.base_ps[:, 1].tolist() == [1_000_000, 1_000_000]
    assert c.base_ps[:, 0].tolist() == c.slope_ps[:, 0].tolist() == [0, 0]


def test_each_replica_has_its_own_curve():
    factor = np.array([[1.0], [3.0]])
    for knots in (GRID, ONE):
        c = curve(lambda x: factor * straight(x), knots, 2)
        found = c.seconds(np.array([[200.0], [200.0]]))
        assert found == pytest.approx(factor * straight(200.0), rel=1e-4)


def test_one_row_of_values_is_asked_of_every_replica():
    c = curve(lambda x: np.array([[1.0], [3.0]]) * bent(x), GRID, 2)
    assert c.seconds(rows(1, 200)).shape == (2, 2)
    deep = np.full((2, 3, 4), 200.0)
    assert c.seconds(deep)[1, 2, 3] == pytest.approx(3 * bent(200.0))


@given(st.integers(0, 2**32 - 1))
def test_a_smoothed_batch_never_gets_dearer_by_the_token(seed):
    values = np.cumsum(np.random.default_rng(seed).uniform(0, 1e-5, (3, len(GRID))), axis=1)
    found = smoothed(values)
    batches = GRID <= STEP_TOKENS
    each = found[:, batches] / GRID[batches]
    assert np.all(np.diff(each) <= 1e-15)
    assert np.all(np.diff(found[:, batches]) >= -1e-15)
    assert np.all(found[:, ~batches] == values[:, ~batches])


def test_what_is_smooth_stays_as_it_is():
    values = (1e-6 + 1e-9 * GRID)[None, :]
    assert smoothed(values) == pytest.approx(values)
