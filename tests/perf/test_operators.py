"""Operators one by one: roofline, matrix products, attention, experts, elementwise kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmplan.perf.attention import Heads, causal_pairs, decode, prefill
from llmplan.perf.elementwise import ELEMENTWISE, elementwise, fixed_s
from llmplan.perf.formats import ACTIVATION_BYTES, COMPUTE_TYPE, KV_BYTES, WEIGHT_BYTES, computes
from llmplan.perf.gemm import gemm
from llmplan.perf.kernels.routing import Routed
from llmplan.perf.moe import experts
from llmplan.perf.roofline import Constants, Work, serial_s

FLOP_PER_S, BYTES_PER_S = 1000.0, 10.0
IDEAL = Constants(fixed_s=0.0, compute_efficiency=1.0, memory_efficiency=1.0)
SLOW = Constants(fixed_s=0.5, compute_efficiency=0.5, memory_efficiency=0.25)


def test_without_overlap_both_sides_are_paid():
    work = Work(flop=np.array([1000.0, 1000.0]), moved_bytes=np.array([10.0, 50.0]))
    assert serial_s(work, FLOP_PER_S, BYTES_PER_S, IDEAL) == pytest.approx([2.0, 6.0])


def test_constants_slow_each_side_and_add_a_fixed_time():
    work = Work(flop=1000.0, moved_bytes=10.0)
    assert serial_s(work, FLOP_PER_S, BYTES_PER_S, SLOW) == pytest.approx(0.5 + 2.0 + 4.0)


def test_a_matrix_product_reads_its_weights_once():
    work = gemm(10.0, 20.0, 30.0, weight_bytes=1.0, activation_bytes=2.0)
    assert work.flop == 2 * 10 * 20 * 30
    assert work.moved_bytes == 20 * 30 + 2 * 10 * 30 + 2 * 10 * 20


# ---- attention ----


def counted_pairs(chunk: int, prefix: int, window: int | None) -> int:
    """Keys that each new position sees, one by one: itself and what lies before, at most `window` of them."""
    seen = (position + 1 for position in range(prefix, prefix + chunk))
    return sum(min(keys, window) if window else keys for keys in seen)


@given(st.integers(0, 60), st.integers(0, 60), st.none() | st.integers(1, 150))
def test_prefill_pairs_are_counted_right(chunk, prefix, window):
    found = causal_pairs(np.array([float(chunk)]), np.array([float(prefix)]), window)
    assert found == pytest.approx([counted_pairs(chunk, prefix, window)])


def test_prefill_pairs_by_hand():
    assert causal_pairs(np.array([4.0]), np.array([0.0])) == [10]
    assert causal_pairs(np.array([4.0]), np.array([6.0])) == [7 + 8 + 9 + 10]
    assert causal_pairs(np.array([4.0]), np.array([6.0]), 3.0) == [12]


@given(st.integers(1, 500), st.integers(0, 500), st.integers(1, 500), st.none() | st.integers(1, 300))
def test_a_prompt_in_two_chunks_sees_the_same_pairs(first, prefix, second, window):
    def pairs(chunk: int, before: int) -> float:
        return float(causal_pairs(np.array([float(chunk)]), np.array([float(before)]), window)[0])

    assert pairs(first + second, prefix) == pairs(first, prefix) + pairs(second, prefix + first)


HEADS = Heads(query=8.0, kv=2.0, width=20.0, key_width=10.0, kv_width=20.0, kv_bytes=2.0)


def test_prefill_multiplies_pairs_and_moves_tokens():
    work = prefill(3.0, 6.0, HEADS)
    assert work.flop == 2 * 8 * 6 * 20
    assert work.moved_bytes == 3 * (2 * 8 * 20 + 2 * 20 * 2)


def test_decode_reads_the_whole_cache():
    work = decode(3.0, 1000.0, HEADS)
    assert work.flop == 2 * 8 * 1000 * 20
    assert work.moved_bytes == 2 * 1000 * 20 * 2 + 2 * 3 * 8 * 20


# ---- experts ----


def busiest(rows, active):
    return Routed(rows=np.array([rows]), active=np.array([active]), tiles={})


def test_experts_read_the_weights_of_those_with_rows_only():
    work = experts(np.array([1.0]), 100.0, 50.0, busiest(2.0, 2.0), 2.0)
    assert work.flop == pytest.approx([2 * 2 * 3 * 100 * 50])
    assert work.moved_bytes == pytest.approx([2 * 3 * 100 * 50 * 2 + 4 * 100 + 2 * (2 * 100 + 4 * 50)])


def test_experts_without_a_gate_have_two_matrices():
    work = experts(np.array([1.0]), 100.0, 50.0, busiest(2.0, 2.0), 2.0, matrices=2)
    assert work.flop == pytest.approx([2 * 2 * 2 * 100 * 50])


# ---- elementwise kernels and formats ----


def test_elementwise_kernels_move_copies_and_start_faster_at_a_higher_clock():
    work = elementwise(np.array([3.0]), 10.0, 11.0)
    assert work.flop == 0
    assert work.moved_bytes == 2 * 11 * 3 * 10
    seen_at = ELEMENTWISE.clock_hz
    assert fixed_s(np.array([seen_at, 2 * seen_at])) == pytest.approx([ELEMENTWISE.fixed_s, ELEMENTWISE.fixed_s / 2])


def test_a_format_counts_its_scales():
    assert WEIGHT_BYTES == {
        "bf16": 2.0,
        "fp8": 1.0,
        "int8": 1.0,
        "int4": 0.515625,
        "mxfp4": 0.53125,
        "nvfp4": 0.5625,
    }
    assert KV_BYTES == {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.53125}
    assert set(ACTIVATION_BYTES) == set(COMPUTE_TYPE) == set(WEIGHT_BYTES)


def test_a_device_computes_the_formats_it_has_rates_for():
    assert computes({"bf16": 1.0}, "int4")
    assert computes({"bf16": 1.0, "fp8": 2.0}, "fp8")
    assert not computes({"bf16": 1.0}, "fp8")
    assert not computes({"bf16": 1.0, "fp8": 2.0}, "nvfp4")
