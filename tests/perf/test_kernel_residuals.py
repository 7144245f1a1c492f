"""Laws of values interpolated between stored rows."""

from __future__ import annotations

import numpy as np
import pytest

from llmplan.perf.kernels.forms import OPERATORS
from llmplan.perf.kernels.residuals import STRETCH, Field, octaves, stretch_of

RNG = np.random.default_rng(7)
POINTS = RNG.integers(0, 12, (300, 3)).astype(float)
VALUES = RNG.normal(0, 0.3, 300)
ONE = np.ones(3)


def field(values=VALUES, points=POINTS, **kwargs):
    return Field.of(points, values, ONE, **kwargs)


def test_nothing_left_is_a_factor_of_one():
    asked = RNG.uniform(-5, 20, (100, 3))
    assert np.array_equal(field(np.zeros(300)).at(asked), np.zeros(100))


def test_a_stored_row_keeps_what_was_stored():
    points, at = np.unique(POINTS, axis=0, return_index=True)
    assert field(VALUES[at], points).at(points) == pytest.approx(VALUES[at], abs=1e-12)


def test_rows_of_the_same_numbers_give_their_mean():
    twice = np.array([[1.0, 1, 1], [1, 1, 1], [2, 1, 1]])
    assert field(np.array([0.1, 0.3, 9.0]), twice).at(twice[:1]) == pytest.approx([0.2])


@pytest.mark.parametrize("number", range(3))
def test_a_row_far_away_in_any_number_says_nothing(number):
    alone = field(np.array([0.4]), np.zeros((1, 3)))
    apart = np.array([0.5, 1.9, 2.5, 3.0, 8.0])
    asked = np.zeros((5, 3))
    asked[:, number] = apart
    assert alone.at(asked) == pytest.approx([0.4, 0.4, 0.2, 0, 0])
    assert Field.of(np.zeros((1, 3)), np.array([0.4]), ONE, fades=False).at(asked) == pytest.approx([0.4] * 5)


def test_what_is_told_is_finite_and_within_what_was_stored():
    told = field().at(RNG.uniform(-20, 40, (1000, 3)))
    assert np.isfinite(told).all()
    assert np.abs(told).max() <= np.abs(VALUES).max()
    assert field().at(np.empty((0, 3))).shape == (0,)


def test_a_near_row_outweighs_a_far_one():
    two = field(np.array([0.0, 1.0]), np.array([[0.0, 0, 0], [1, 0, 0]]))
    told = two.at(np.array([[x, 0, 0] for x in (0.1, 0.3, 0.5, 0.7, 0.9)]))
    assert np.all(np.diff(told) > 0)
    assert told[2] == pytest.approx(0.5)


def test_where_shapes_are_kept_another_shape_says_nothing():
    own = field(np.array([0.2, 0.2]), np.array([[0.0, 5, 0], [1, 5, 0]]), kept=(1,))
    assert own.at(np.array([[0.5, 5, 0], [0.5, 5.01, 0]])) == pytest.approx([0.2, 0])


def test_octaves_are_of_one_more_than_the_number():
    assert octaves({"m": np.array([0, 1, 3]), "n": np.array([7, 0, 0])}, ("m", "n")).tolist() == [
        [0, 3],
        [1, 0],
        [2, 0],
    ]


def test_stretched_numbers_are_numbers_of_their_operators():
    for name, stretched in STRETCH.items():
        assert set(stretched) <= set(OPERATORS[name].columns)
    assert stretch_of("moe", ("tokens", "hidden")).tolist() == [1, 3]
    assert stretch_of("gemm", ("m", "n", "k")).tolist() == [1, 1, 1]
