from __future__ import annotations

import pytest

from llmplan.perf.fits import (
    ATTENTION,
    LINKS,
    MODULES,
    Device,
    Kernel,
    cache_format,
    expert_format,
    gathered,
    product_format,
)
from llmplan.perf.formats import WEIGHT_BYTES, bytes_per_weight
from llmplan.spec.deployment import Deployment
from llmplan.spec.hardware import Link
from llmplan.spec.model import Model


def deployment(weight_dtype="bf16", kv_dtype="bf16"):
    return Deployment.model_validate(
        {
            "model": "dense",
            "engine": "toy",
            "stages": [{"gpu": "toy", "weight_dtype": weight_dtype}],
            "kv_dtype": kv_dtype,
            "batching": {"max_num_seqs": 1, "max_num_batched_tokens": 1},
        }
    )


def test_each_replica_is_a_row(toy):
    r = toy.replicas("dense", {}, {"tp": 2}, {"tp": 4, "pp": 2})
    assert len(r) == 3
    assert r.tp.tolist() == [[1], [2], [4]]
    assert r.pp.tolist() == [[1], [1], [2]]
    assert r.basis == ("datasheet",) * 3
    assert set(r.kernels) == {*ATTENTION, *LINKS}
    assert set(r.formats) == set(MODULES)
    assert r.memory_bytes.tolist() == [[1e11]] * 3


def test_several_devices_take_more_of_the_framework(toy):
    runs = toy.engine(memory={"framework_bytes": "1 GB", "communication_bytes": "2 GB"})
    r = toy.replicas("dense", {}, {"tp": 2}, {"pp": 2}, runs=runs)
    assert r.framework_bytes.tolist() == [[1e9], [1e9], [1e9]]
    assert r.communication_bytes.tolist() == [[0], [2e9], [2e9]]


@pytest.mark.parametrize(("weight_dtype", "rate"), [("bf16", 1e14), ("fp8", 2e14), ("int4", 1e14), ("nvfp4", 4e14)])
def test_a_weight_format_computes_at_its_own_rate(toy, weight_dtype, rate):
    r = toy.replicas("dense", weight_dtype=weight_dtype)
    assert r.formats["ffn"].flop_per_s == rate
    assert r.formats["router"].flop_per_s == r.bf16_flop_per_s == 1e14
    assert r.formats["ffn"].weight_bytes == WEIGHT_BYTES[weight_dtype]
    assert r.formats["head"].weight_bytes == 2


def test_a_block_of_fp8_weights_brings_its_scale(toy):
    scaled = Model.model_validate(toy.dense | {"weights": {"dtype": "fp8", "scale_block": [128, 128]}})

    def weight_bytes(model, weight_dtype):
        return toy.replicas(model, weight_dtype=weight_dtype).formats["ffn"].weight_bytes

    assert weight_bytes(scaled, "fp8") == 1 + 4 / 128**2
    assert weight_bytes(scaled, "int4") == WEIGHT_BYTES["int4"]
    assert weight_bytes("dense", "fp8") == 1


@pytest.mark.parametrize(
    ("dtype", "block", "size"),
    [
        ("bf16", None, 2),
        ("fp8", (1, 32), 1 + 1 / 32),
        ("int4", (1, 32), 0.5 + 2 / 32),
        ("int4", None, 0.5 + 2 / 128),
        ("int8", (1, 128), 1 + 2 / 128),
        ("mxfp4", (128, 128), 0.5 + 1 / 32),
    ],
)
def test_a_weight_carries_its_part_of_the_scale(dtype, block, size):
    assert bytes_per_weight(dtype, block) == size


def test_a_module_in_two_formats_has_their_mean_weight_and_rate(toy):
    formats = {"dtype": "nvfp4", "mixed": {"attention": {"fp8": 0.75, "bf16": 0.25}}}
    mixed = Model.model_validate(toy.dense | {"weights": formats})
    own = toy.replicas(mixed, weight_dtype="nvfp4").formats
    assert own["attention"].weight_bytes == 0.75 * 1 + 0.25 * 2
    assert own["attention"].flop_per_s == pytest.approx(1 / (0.75 / 2e14 + 0.25 / 1e14))
    assert own["ffn"].flop_per_s == 4e14
    asked = toy.replicas(mixed, weight_dtype="fp8").formats
    assert asked["attention"].weight_bytes == asked["ffn"].weight_bytes == 1


def test_weights_alone_in_4_bit_compute_in_16(toy):
    formats = {"dtype": "nvfp4", "weight_only": True}
    own = toy.replicas(Model.model_validate(toy.dense | {"weights": formats}), weight_dtype="nvfp4").formats["ffn"]
    assert (own.weight_bytes, own.activation_bytes, own.flop_per_s) == (0.5 + 1 / 16, 2, 1e14)


def test_experts_are_padded_to_what_the_engine_asks_for(toy):
    runs = toy.engine(memory={"weight_pad_elements": {"mxfp4": 256}})
    assert toy.replicas("sparse", weight_dtype="mxfp4", runs=runs).expert_pad == pytest.approx(1024 / 1000)
    assert toy.replicas("sparse", weight_dtype="bf16", runs=runs).expert_pad == 1


@pytest.mark.parametrize(("kv_dtype", "rows"), [("bf16", "bfloat16"), ("fp8", "fp8"), ("int4", "fp8")])
def test_attention_takes_the_kernel_of_its_kv_format(kv_dtype, rows):
    assert cache_format(deployment("fp8", kv_dtype)) == rows


@pytest.mark.parametrize(
    ("dtype", "block", "weight_only", "product", "expert"),
    [
        ("bf16", None, False, "bfloat16", "bfloat16"),
        ("fp8", None, False, "fp8", "fp8"),
        ("fp8", (128, 128), False, "fp8_block", "fp8_block"),
        ("int4", (1, 128), False, "int4_wo", "w4a16_mxfp4"),
        ("mxfp4", None, False, "int4_wo", "w4a16_mxfp4"),
        ("nvfp4", None, False, "nvfp4", "nvfp4"),
        ("nvfp4", None, True, "int4_wo", "w4a16_mxfp4"),
        ("int8", None, False, "int8_wo", "bfloat16"),
    ],
)
def test_a_weight_format_runs_the_kernel_that_was_measured(dtype, block, weight_only, product, expert):
    assert product_format(dtype, block, weight_only) == product
    assert expert_format(dtype, block, weight_only) == expert


def on_two_devices(toy, second):
    """Replicas on two devices with kernels of their own."""
    link = {"name": "toy", "kind": "device", "bytes_per_s": "1 B/s", "latency_s": "1 s", "sources": {}}
    devices = [
        Device(
            gpu=toy.gpu(), link=Link.model_validate(link), network_bytes_per_s=0.0, kernel=kernel,
            basis="calibrated",
        )
        for kernel in (toy.ideal, second)
    ]  # fmt: skip
    found = [deployment(), deployment()]
    return gathered(toy.models["dense"], found, devices, [toy.engine()] * 2, [False] * 2)


def test_each_replica_has_the_parameters_of_its_device(toy):
    r = on_two_devices(toy, toy.kernels(gemm={"memory_efficiency": 0.5}))
    assert r.formats["ffn"].kernels.parameters["memory_efficiency"].tolist() == [[1.0], [0.5]]
    assert r.kernels["attn_decode"].parameters["memory_efficiency"].tolist() == [[1.0], [1.0]]


def test_a_parameter_that_a_kernel_lacks_is_nothing(toy):
    r = on_two_devices(toy, toy.kernels(gemm={"quantize_s": 3e-6}))
    assert r.formats["ffn"].kernels.parameters["quantize_s"].tolist() == [[0.0], [3e-6]]


def test_kernels_of_the_second_generation_are_known_by_name(toy):
    def named(operator, dtype):
        one = toy.ideal(operator, dtype)
        return Kernel(name="vllm_flash_attn_fa2", dtype=dtype, parameters=one.parameters, basis="transferred")

    r = on_two_devices(toy, named)
    assert r.kernels["attn_decode"].older.tolist() == [[False], [True]]
    assert r.kernels["attn_decode"].basis == ("datasheet", "transferred")


def test_an_unknown_clock_and_number_of_units_are_those_the_constants_were_seen_at(toy):
    unknown = toy.replicas(on=toy.gpu(multiprocessors=None, clock_hz=None))
    assert unknown.multiprocessors.tolist() == [[132.0]]
    assert unknown.clock_hz.tolist() == [[1.83e9]]
