"""Laws of the forms of kernels: no faster than the datasheet when nothing is cached, monotone, continuous, finite."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmplan.perf.kernels import collectives, decode, elementwise, experts, gemm, messages, prefill
from llmplan.perf.kernels.chip import REFERENCE_CLOCK_HZ, Chip, Parameter
from llmplan.perf.kernels.routing import ROW_TILES, routed
from llmplan.perf.kernels.tiles import CUTS, attention_of, cache_keys, is_second_generation, usual
from llmplan.spec.catalog import Catalog

CATALOG = Catalog()
FITS = {fits.gpu: fits for fits in CATALOG.kernels()}
H100 = Chip(
    flop_per_s=989e12, bytes_per_s=3.35e12, multiprocessors=132.0, l2_bytes=50e6, clock_hz=1.83e9, matrix_rows=64
)
TOY = Chip(flop_per_s=1e14, bytes_per_s=1e12, multiprocessors=100.0, l2_bytes=1e6, clock_hz=1.83e9)
ALLOWED_FALL = 0.97
"""Times may fall by 3 % where a size grows."""


def parameters_of(operator, dtype="bfloat16", gpu="h100-sxm"):
    """Return the fitted parameters with most rows."""
    alike = [k for k in FITS[gpu].kernels if (k.operator, k.dtype) == (operator, dtype)]
    return max(alike, key=lambda k: k.evidence.rows).parameters


def perfect(parameters: tuple[Parameter, ...], **other: float) -> dict[str, float]:
    """Return parameters of kernels that start at once and reach every peak."""
    plain = {p.name: 1e-15 if p.name.endswith("_s") else 1.0 for p in parameters}
    return plain | other


size = st.integers(1, 40_000)
sizes = st.tuples(size, size, size)


@given(sizes)
def test_a_cold_product_is_no_faster_than_the_datasheet(mnk):
    m, n, k = mnk
    least = max(2.0 * m * n * k / H100.flop_per_s, 2.0 * (m * n + n * k + m * k) / H100.bytes_per_s)
    assert gemm.seconds(m, n, k, 2.0, 2.0, H100, parameters_of("gemm"), cold=True) >= least


@given(st.integers(1, 512), st.integers(1, 100_000), st.sampled_from([(32, 8), (64, 8), (8, 8)]))
def test_cold_decode_attention_is_no_faster_than_the_datasheet(batch, reach, heads):
    h, kv = heads
    moved = 2.0 * batch * kv * reach * 128 * 2 + 4.0 * batch * h * 128
    found = decode.seconds(batch, reach, h, kv, 128, 128, 256, 2.0, H100, parameters_of("attn_decode"), cold=True)
    assert found >= max(4.0 * batch * h * reach * 128 / H100.flop_per_s, moved / H100.bytes_per_s)


@given(st.integers(1, 64), st.integers(1, 30_000), st.integers(0, 60_000), st.sampled_from([0, 128, 4096]))
def test_prefill_attention_is_no_faster_than_the_datasheet(batch, tokens, cached, window):
    found = prefill.seconds(batch, tokens, cached, 32, 8, 128, 128, window, 2.0, H100, parameters_of("attn_prefill"))
    pairs = np.minimum(window or np.inf, cached + np.arange(1.0, tokens + 1)).sum()
    assert found >= 2.0 * batch * 32 * pairs * 256 / H100.flop_per_s


@given(st.integers(1, 20_000), st.sampled_from([(8, 2), (128, 8), (256, 8)]), st.sampled_from([0.0, 1.01, 1.2]))
def test_cold_experts_are_no_faster_than_the_datasheet(tokens, shape, skew):
    count, topk = shape
    work = routed(*(np.array([float(x)]) for x in (tokens, count, topk, 1, skew)))
    found = experts.seconds(tokens, 4096, 1536, topk, 2, work, 2.0, H100, parameters_of("moe"), cold=True)
    weights = work.active * 3 * 4096 * 1536 * 2
    assert found[0] >= max(6 * work.rows * 4096 * 1536 / H100.flop_per_s, weights / H100.bytes_per_s)[0]


GROWING = np.unique(np.round(np.geomspace(1, 30_000, 400)))


def falls(times: np.ndarray) -> float:
    """Return the largest fall from one size to the next, as a factor."""
    return float((times[1:] / times[:-1]).min())


@pytest.mark.parametrize("gpu", sorted(FITS))
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_product_grows_with_every_size(gpu, which):
    for other in (64.0, 1024.0, 8192.0):
        mnk = [np.full_like(GROWING, other)] * 3
        mnk[which] = GROWING
        assert falls(gemm.seconds(*mnk, 2.0, 2.0, H100, parameters_of("gemm", gpu=gpu))) >= ALLOWED_FALL


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize(("dtype", "kernel", "architecture"), sorted(CUTS))
def test_a_product_of_a_named_kernel_grows_with_every_size(dtype, kernel, architecture, which):
    gpu = {"ada": "l40s", "hopper": "h100-sxm", "blackwell": "b200-sxm"}[architecture]
    cut, p = CUTS[dtype, kernel, architecture], parameters_of("gemm", dtype, gpu)
    for other in (16.0, 64.0, 1024.0, 8192.0, 20_000.0):
        mnk = [np.full_like(GROWING, other)] * 3
        mnk[which] = GROWING
        assert falls(gemm.seconds(*mnk, 1.0, 1.0, H100, p, cut=cut)) >= ALLOWED_FALL


def test_every_product_has_a_tile():
    sizes = np.array([1.0, 16.0, 17.0, 300.0, 1e6])
    for cut in (*CUTS.values(), usual(H100.matrix_rows), usual(TOY.matrix_rows)):
        found = list(cut.each(sizes, sizes[::-1]))
        assert found
        assert all(np.min(rows) >= 16 and np.min(columns) >= 32 for rows, columns in found)


def test_a_table_of_tiles_takes_the_first_line_that_fits():
    ((rows, columns),) = CUTS["fp8", "vllm", "hopper"].each(
        np.array([16.0, 17.0, 17.0, 129.0]), np.array([1280.0] * 2 + [1281.0] * 2)
    )
    assert rows.tolist() == [16, 16, 64, 128]
    assert columns.tolist() == [64, 64, 64, 128]


def test_a_lone_tile_reaches_the_peak_and_a_full_chip_its_efficiency():
    ideal = perfect(gemm.WHOLE, overlap=100.0, feed_bytes=1e9, store_bandwidth=1e9, l2_share=1e-9, hot=1e-9, patch=1e9)
    half = ideal | {"compute_efficiency": 0.5}
    lone = [float(gemm.seconds(16, 64, 1e6, 0.0, 0.0, TOY, p)) for p in (ideal, half)]
    full = [float(gemm.seconds(12_800, 12_800, 6400, 2.0, 2.0, TOY, p)) for p in (ideal, half)]
    assert lone[1] / lone[0] == pytest.approx(1.01)  # one of 100 multiprocessors
    assert full[1] / full[0] == pytest.approx(2.0, rel=0.01)


def test_long_arithmetic_is_slowed_and_operands_beyond_l2_are_read_again():
    ideal = perfect(gemm.WHOLE, overlap=100.0, feed_bytes=1e9, store_bandwidth=1e9, l2_share=1e-9, hot=1e-9, patch=1e9)
    short, long = (1280, 1280, 64), (12_800, 12_800, 64_000)
    for mnk, most in ((short, 1.01), (long, 1.5)):
        times = [float(gemm.seconds(*mnk, 0.0, 0.0, TOY, p)) for p in (ideal, ideal | {"hot": 0.5})]
        assert times[1] / times[0] == pytest.approx(most, rel=0.02)
    apart = [float(gemm.seconds(*long, 2.0, 2.0, TOY, ideal | {"patch": side})) for side in (0.05, 0.1)]
    assert apart[0] / apart[1] == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("gpu", sorted(FITS))
def test_decode_attention_grows_with_batch_and_context(gpu):
    p = parameters_of("attn_decode", gpu=gpu)
    for other in (16.0, 512.0, 8192.0):
        assert falls(decode.seconds(GROWING, other, 32, 8, 128, 128, 256, 2.0, H100, p)) >= ALLOWED_FALL
        assert falls(decode.seconds(other, GROWING, 32, 8, 128, 128, 256, 2.0, H100, p)) >= ALLOWED_FALL


@pytest.mark.parametrize("kernel", ["vllm_flash_attn_fa2", "vllm_flash_attn_fa3", "vllm_triton_attn"])
def test_named_decode_kernels_grow_with_context(kernel):
    p = parameters_of("attn_decode", gpu="l40s")
    for width in (64.0, 128.0, 256.0):
        keys = cache_keys(kernel, np.full_like(GROWING, width))
        times = decode.seconds(
            16.0, GROWING, 32, 8, width, width, 2 * width, 2.0, H100, p, keys=keys,
            whole_waves=is_second_generation(kernel),
        )  # fmt: skip
        assert falls(times) >= ALLOWED_FALL


def test_gathering_heads_is_paid_by_groups_of_several_sequences():
    p = perfect(decode.PARAMETERS) | {"pack_s": 1.0}
    paid = [float(decode.seconds(*bhk, 128, 128, 256, 2.0, TOY, p)) for bhk in ((2, 64, 8, 2), (1, 64, 8, 2))]
    assert paid[0] > 1 > paid[1]
    for heads, kv_heads in ((8, 8), (8, 1)):
        assert decode.seconds(2, 64, heads, kv_heads, 128, 128, 256, 2.0, TOY, p) < 1
    assert decode.seconds(2, 64, 8, 2, 128, 128, 256, 2.0, TOY, p, packs=False) < 1


@pytest.mark.parametrize(("kernel", "tile", "shared_by"), [("vllm_flash_attn_fa2", 64, 1), ("x_fiprefill", 128, 4)])
def test_a_named_kernel_cuts_attention_one_way(kernel, tile, shared_by):
    tokens, width = np.array([1.0, 100.0]), np.array([128.0, 128.0])
    ((rows, heads),) = attention_of(kernel).each(tokens, np.array([4.0, 4.0]), np.array([0.0, 0.0]), width)
    assert np.broadcast_to(rows, 2).tolist() == [16 if tile == 128 else 64, tile]
    assert np.broadcast_to(heads, 2).tolist() == [4, shared_by]


@pytest.mark.parametrize("kernel", ["vllm_flash_attn", "vllm_flashinfer_fiprefill"])
def test_named_prefill_kernels_grow_with_batch_and_tokens(kernel):
    p, cut = parameters_of("attn_prefill", gpu="l40s"), attention_of(kernel)
    for other in (1.0, 64.0, 2048.0):
        for args in ((GROWING, other, 0.0), (2.0, GROWING, other), (2.0, other, GROWING)):
            columns = [np.broadcast_to(x, GROWING.shape) for x in args]
            assert falls(prefill.seconds(*columns, 32, 8, 128, 128, 0, 2.0, H100, p, cut)) >= ALLOWED_FALL


@pytest.mark.parametrize("gpu", sorted(FITS))
def test_prefill_attention_grows_with_batch_tokens_and_cached(gpu):
    p = parameters_of("attn_prefill", gpu=gpu)
    for other in (1.0, 64.0, 2048.0):
        for args in ((GROWING, other, 0.0), (2.0, GROWING, other), (2.0, other, GROWING)):
            assert falls(prefill.seconds(*args, 32, 8, 128, 128, 0, 2.0, H100, p)) >= ALLOWED_FALL


@pytest.mark.parametrize("skew", [0.0, 1.2])
@pytest.mark.parametrize("gpu", sorted(FITS))
def test_experts_take_longer_with_every_doubling_of_tokens(gpu, skew):
    tokens = 2.0 ** np.arange(0, 16)
    same = np.ones_like(tokens)
    work = routed(tokens, 128 * same, 8 * same, same, skew * same)
    found = experts.seconds(tokens, 2048, 768, 8, 2, work, 2.0, H100, parameters_of("moe", gpu=gpu))
    assert falls(found) >= ALLOWED_FALL


@pytest.mark.parametrize("gpu", sorted(FITS))
def test_collectives_grow_with_bytes_and_ranks(gpu):
    p = parameters_of("all_reduce", "float16", gpu=gpu)
    size_bytes = np.geomspace(256, 2**30, 300)
    assert falls(collectives.seconds(size_bytes, 8, True, 450e9, H100, p)) >= 1


def test_no_size_makes_a_form_leap():
    """From one row to the next a product grows by no more than one wave of its tiles and a start."""
    p = parameters_of("gemm")
    rows = np.arange(1.0, 4000.0)
    times = gemm.seconds(rows, 4096, 4096, 2.0, 2.0, H100, p)
    assert float((times[1:] / times[:-1]).max()) < 1.5


@pytest.mark.parametrize("huge", [1e-9, 1e9])
def test_forms_stay_finite(huge):
    assert np.isfinite(gemm.seconds(huge, huge, huge, 2.0, 2.0, H100, parameters_of("gemm")))
    assert np.isfinite(prefill.seconds(1, huge, 0, 32, 8, 128, 128, 0, 2.0, H100, parameters_of("attn_prefill")))
    assert np.isfinite(decode.seconds(1, huge, 32, 8, 128, 128, 256, 2.0, H100, parameters_of("attn_decode")))
    assert np.isfinite(elementwise.seconds(huge, H100, perfect(elementwise.PARAMETERS)))


def test_a_perfect_kernel_takes_its_roofline():
    ideal = perfect(
        gemm.PARAMETERS, overlap=100.0, feed_bytes=1e9, store_bandwidth=1e9, l2_share=1e-9, hot=1e-9, patch=1e9
    )
    one_wave = gemm.seconds(1280, 1280, 6400, 2.0, 2.0, TOY, ideal)  # 100 tiles of 128 x 128
    assert one_wave == pytest.approx(2 * 1280 * 1280 * 6400 / 1e14, rel=1e-6)
    streamed = decode.seconds(100, 64_000, 8, 8, 128, 128, 256, 2.0, TOY, perfect(decode.PARAMETERS, overlap=100.0))
    assert streamed == pytest.approx((100 * 8 * 64_000 * 256 * 2 + 2 * 100 * 8 * 256) / 1e12, rel=1e-3)
    half = collectives.seconds(1e9, 2, False, 1e11, TOY, perfect(collectives.PARAMETERS) | {"long_s": 1e6})
    assert half == pytest.approx(0.5 * 1e9 / 1e11)


@given(st.integers(1, 5000), st.sampled_from([(8, 2), (128, 8), (60, 4)]), st.sampled_from([0.0, 1.01, 1.2]))
def test_routing_gives_every_choice_to_an_expert_and_none_twice(tokens, shape, skew):
    count, topk = shape
    whole = routed(*(np.array([float(x)]) for x in (tokens, count, topk, 1, skew)))
    assert whole.rows[0] == pytest.approx(tokens * topk)
    assert topk <= whole.active[0] <= min(count, tokens * topk)
    for height in ROW_TILES:
        assert whole.rows[0] / height <= whole.tiles[height][0] <= whole.rows[0] / height + whole.active[0]
    part = routed(*(np.array([float(x)]) for x in (tokens, count, topk, 4, skew)))
    assert whole.rows[0] / 4 <= part.rows[0] + 1e-9 <= whole.rows[0] + 1e-9


def test_a_trillion_tokens_are_routed_at_once():
    work = routed(*(np.array([x]) for x in (1e12, 128.0, 8.0, 1.0, 1.2)))
    assert work.rows[0] == 8e12


def test_skew_leaves_fewer_experts_more_rows():
    even, skewed = (routed(*(np.array([x]) for x in (4096.0, 128.0, 8.0, 8.0, a))) for a in (0.0, 1.2))
    assert even.rows[0] == 4096
    assert skewed.rows[0] > 1.5 * even.rows[0]


@pytest.mark.parametrize("gpu", sorted(FITS))
def test_fitted_parameters_are_those_of_the_form_within_its_bounds(gpu):
    from llmplan.perf.kernels.forms import OPERATORS

    for fit in FITS[gpu].kernels:
        wanted = OPERATORS[fit.operator].parameters(fit.dtype)
        assert set(fit.parameters) == {p.name for p in wanted}
        for p in wanted:
            assert 0.999 * p.low <= fit.parameters[p.name] <= 1.001 * p.high


# ---- messages ----


def test_a_message_takes_its_start_and_its_wire():
    chip = Chip(flop_per_s=1.0, bytes_per_s=1.0, multiprocessors=1.0, l2_bytes=1.0, clock_hz=REFERENCE_CLOCK_HZ)
    inside = {"fixed_s": 3.0, "link_efficiency": 0.5}
    assert messages.inside_s(100.0, 10.0, chip, inside) == 3 + 20
    assert messages.between_s(100.0, {"fixed_s": 3.0, "network_bytes_per_s": 50.0}) == 3 + 2


def test_more_devices_of_a_host_bring_more_network():
    p = {"fixed_s": 1.0, "network_bytes_per_s": 10.0, "rank_s": 0.5, "sharing": 1.0}
    assert messages.all_reduce_s(100.0, 2.0, 1.0, p) == pytest.approx(1 + 100 / 10)
    assert messages.all_reduce_s(100.0, 4.0, 2.0, p) == pytest.approx(1 + 0.5 * 2 + 1.5 * 100 / 20)


@given(st.floats(0, 1e9), st.integers(2, 64))
def test_an_all_reduce_between_hosts_rises_with_its_size_and_ranks(size, ranks):
    p = {"fixed_s": 1e-5, "network_bytes_per_s": 1e10, "rank_s": 1e-6, "sharing": 0.5}
    one, more, wider = (
        messages.all_reduce_s(*a, p) for a in ((size, ranks, 2), (2 * size, ranks, 2), (size, ranks + 1, 2))
    )
    assert one <= more
    assert one <= wider
