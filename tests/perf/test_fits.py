from __future__ import annotations

import numpy as np
import pytest

from llmplan.perf.fits import COLLECTIVES, FAMILIES, Device, fit_key, gathered
from llmplan.perf.formats import WEIGHT_BYTES
from llmplan.spec.deployment import Deployment
from llmplan.spec.fits import Fits
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
    assert set(r.constants) == set(FAMILIES)
    assert set(r.links) == set(COLLECTIVES)
    assert r.memory_bytes.tolist() == [[1e11]] * 3


def test_several_devices_take_more_of_the_framework(toy):
    runs = toy.engine(memory={"framework_bytes": "1 GB", "framework_multi_bytes": "3 GB"})
    r = toy.replicas("dense", {}, {"tp": 2}, {"pp": 2}, runs=runs)
    assert r.framework_bytes.tolist() == [[1e9], [3e9], [3e9]]


@pytest.mark.parametrize(("weight_dtype", "rate"), [("bf16", 1e14), ("fp8", 2e14), ("int4", 1e14), ("nvfp4", 4e14)])
def test_a_weight_format_computes_at_its_own_rate(toy, weight_dtype, rate):
    r = toy.replicas("dense", weight_dtype=weight_dtype)
    assert r.flop_per_s == rate
    assert r.bf16_flop_per_s == 1e14
    assert r.weight_bytes == WEIGHT_BYTES[weight_dtype]


def test_a_block_of_fp8_weights_brings_its_scale(toy):
    scaled = Model.model_validate(toy.dense | {"weights": {"dtype": "fp8", "scale_block": [128, 128]}})
    assert toy.replicas(scaled, weight_dtype="fp8").weight_bytes == 1 + 4 / 128**2
    assert toy.replicas(scaled, weight_dtype="int4").weight_bytes == WEIGHT_BYTES["int4"]
    assert toy.replicas("dense", weight_dtype="fp8").weight_bytes == 1


def test_experts_are_padded_to_what_the_engine_asks_for(toy):
    runs = toy.engine(memory={"weight_pad_elements": {"mxfp4": 256}})
    assert toy.replicas("sparse", weight_dtype="mxfp4", runs=runs).expert_pad == pytest.approx(1024 / 1000)
    assert toy.replicas("sparse", weight_dtype="bf16", runs=runs).expert_pad == 1


@pytest.mark.parametrize(
    ("family", "weight_dtype", "kv_dtype", "key"),
    [
        ("gemm", "bf16", "bf16", "gemm.bf16"),
        ("gemm", "int4", "bf16", "gemm.int4"),
        ("gemm_bf16", "int4", "bf16", "gemm.bf16"),
        ("moe", "fp8", "bf16", "moe.fp8"),
        ("attention_decode", "fp8", "bf16", "attention_decode.bf16"),
        ("attention_decode", "bf16", "fp8", "attention_decode.fp8"),
        ("mla_prefill", "bf16", "int4", "mla_prefill.fp8"),
    ],
)
def test_a_family_takes_the_constants_of_its_format(toy, family, weight_dtype, kv_dtype, key):
    assert fit_key(family, toy.models["dense"], deployment(weight_dtype, kv_dtype)) == key


def test_a_checkpoint_with_scaled_blocks_has_kernels_of_its_own(toy):
    scaled = Model.model_validate(toy.dense | {"weights": {"dtype": "fp8", "scale_block": [128, 128]}})
    assert fit_key("gemm", scaled, deployment("fp8")) == "gemm.fp8_block"
    assert fit_key("moe", scaled, deployment("fp8")) == "moe.fp8_block"
    assert fit_key("gemm", toy.models["dense"], deployment("fp8")) == "gemm.fp8"


def efficiency(toy, own, generic, weight_dtype):
    device = Device(
        gpu=toy.gpu(),
        link=Link.model_validate(
            {"name": "toy", "kind": "device", "bytes_per_s": "1 B/s", "latency_s": "1 s", "sources": {}}
        ),
        network_bytes_per_s=0.0,
        network_latency_s=0.0,
        fits=own,
        generic=generic,
        basis="calibrated",
    )
    r = gathered(toy.models["dense"], [deployment(weight_dtype)], [device], [toy.engine()], [False])
    return float(np.squeeze(r.constants["gemm"].memory_efficiency))


def test_a_format_nobody_measured_takes_typical_constants_then_those_of_bf16(toy):
    def with_gemm(**formats):
        base = toy.ideal.model_dump()
        base["operators"] = base["operators"] | {
            f"gemm.{name}": base["operators"]["gemm.bf16"] | {"memory_efficiency": value}
            for name, value in formats.items()
        }
        return Fits.model_validate(base, context={"base_units": True})

    own, generic = with_gemm(bf16=0.9), with_gemm(bf16=0.5, fp8=0.4)
    assert efficiency(toy, own, generic, "bf16") == 0.9
    assert efficiency(toy, own, generic, "fp8") == 0.4
    assert efficiency(toy, own, generic, "int4") == 0.5
    assert efficiency(toy, with_gemm(bf16=0.9, fp8=0.8), generic, "fp8") == 0.8


def test_a_collective_nobody_measured_takes_those_of_the_all_reduce(toy):
    r = toy.replicas("dense", {"tp": 2}, fits=toy.real)
    assert r.links["reduce_scatter"] == r.links["all_reduce"]


def test_an_unknown_clock_and_number_of_units_are_those_the_constants_were_seen_at(toy):
    unknown = toy.replicas(on=toy.gpu(multiprocessors=None, clock_hz=None))
    assert unknown.multiprocessors.tolist() == [[132.0]]
    assert unknown.clock_hz.tolist() == [[1.83e9]]
