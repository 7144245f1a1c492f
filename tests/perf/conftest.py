"""Toy hardware with round numbers: 100 TFLOP/s, 1 TB/s, 100 GB, links of 100 GB/s, kernels at the roofline."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings

from llmplan.perf.fits import Device, Kernel, KernelOf, Replicas, gathered
from llmplan.spec.deployment import Batching, Deployment
from llmplan.spec.engine import Engine
from llmplan.spec.hardware import Gpu, Link
from llmplan.spec.model import Model

settings.register_profile("calm", deadline=None)  # the first call of a law may import what it needs
settings.load_profile("calm")

GPU: dict[str, Any] = {
    "name": "toy",
    "vendor": "toy",
    "architecture": "toy",
    "memory_bytes": "100 GB",
    "memory_bytes_per_s": "1 TB/s",
    "flop_per_s": {"bf16": "100 TFLOP/s", "fp8": "200 TFLOP/s", "fp4": "400 TFLOP/s"},
    "multiprocessors": 100,
    "clock_hz": "1.83 GHz",  # the clock at which elementwise kernels were seen: they start in 2.2 us
    "tdp_w": "1000 W",
    "link": "toy",
    "host_link": "toy",
    "sources": {},
}
LINK = {"name": "toy", "kind": "device", "bytes_per_s": "100 GB/s", "latency_s": "1 us", "sources": {}}

DENSE: dict[str, Any] = {
    "name": "dense",
    "hf_id": "toy/dense",
    "family": "toy",
    "hidden_size": 1000,
    "vocab_size": 10_000,
    "tie_embeddings": False,
    "max_context_tokens": 100_000,
    "attention": {"full": {"kind": "gqa", "heads": 16, "kv_heads": 4, "head_dim": 50}},
    "ffn": {"ffn": {"kind": "gated", "intermediate_size": 4000}},
    "layers": [{"count": 10, "attention": "full", "ffn": "ffn"}],
    "source": "made up",
}
WINDOWED = DENSE | {
    "name": "windowed",
    "attention": {**DENSE["attention"], "near": {**DENSE["attention"]["full"], "window": 100}},
    "layers": [{"count": 4, "attention": "full", "ffn": "ffn"}, {"count": 6, "attention": "near", "ffn": "ffn"}],
}
SPARSE = DENSE | {
    "name": "sparse",
    "ffn": {"ffn": {"kind": "moe", "experts": 16, "experts_per_token": 2, "intermediate_size": 1000}},
}
SHARED = DENSE | {
    "name": "shared",
    "ffn": {
        "ffn": {"kind": "moe", "experts": 16, "experts_per_token": 2, "intermediate_size": 1000, "shared_experts": 1}
    },
}
LATENT = SPARSE | {
    "name": "latent",
    "attention": {
        "full": {
            "kind": "mla",
            "heads": 16,
            "q_lora_rank": 200,
            "kv_lora_rank": 100,
            "qk_nope_head_dim": 40,
            "qk_rope_head_dim": 20,
            "v_head_dim": 40,
        }
    },
}
INDEXED = LATENT | {
    "name": "indexed",
    "attention": {
        "full": {**LATENT["attention"]["full"], "sparse_tokens": 2000, "indexer": {"heads": 8, "head_dim": 32}}
    },
}
ENTRIES = {
    "kind": "compressed",
    "heads": 16,
    "head_dim": 64,
    "q_lora_rank": 200,
    "output_groups": 4,
    "output_lora_rank": 100,
    "window": 128,
}
CHOSEN = {"compress_ratio": 4, "sparse_tokens": 400, "indexer": {"heads": 4, "head_dim": 16}}
COMPRESSED = SPARSE | {
    "name": "compressed",
    "attention": {"near": ENTRIES, "far": {**ENTRIES, **CHOSEN}},
    "layers": [{"count": 2, "attention": "near", "ffn": "ffn"}, {"count": 8, "attention": "far", "ffn": "ffn"}],
}
DELTA = {
    "kind": "delta",
    "key_heads": 8,
    "value_heads": 16,
    "key_head_dim": 32,
    "value_head_dim": 32,
    "conv_kernel": 4,
}
LINEAR = DENSE | {
    "name": "linear",
    "attention": {**DENSE["attention"], "linear": DELTA},
    "layers": [{"count": 8, "attention": "linear", "ffn": "ffn"}, {"count": 2, "attention": "full", "ffn": "ffn"}],
}
SSM = {"kind": "mamba2", "heads": 16, "head_dim": 32, "state_size": 64, "groups": 2, "conv_kernel": 4}
SINGLE = DENSE | {
    "name": "single",
    "attention": {**DENSE["attention"], "ssm": SSM},
    "ffn": {"ffn": {"kind": "plain", "intermediate_size": 4000}},
    "layers": [{"count": 4, "attention": "ssm"}, {"count": 3, "ffn": "ffn"}, {"count": 1, "attention": "full"}],
}
TOYS = (DENSE, WINDOWED, SPARSE, SHARED, LATENT, INDEXED, COMPRESSED, LINEAR, SINGLE)
MODELS = {fields["name"]: Model.model_validate(fields) for fields in TOYS}

FORMATS = ("bf16", "fp8", "int4", "nvfp4")


IDEAL: dict[str, dict[str, float]] = {
    "gemm": {
        **dict.fromkeys(("fixed_s", "split_s", "hot"), 0.0),
        **dict.fromkeys(("compute_efficiency", "memory_efficiency"), 1.0),
        **dict.fromkeys(("feed_bytes", "store_bandwidth", "patch"), 1e12),
        "overlap": 100.0,
        "l2_share": 0.1,
    },
    "prefill": {
        **dict.fromkeys(("fixed_s", "tile_s", "write_token_s", "tail"), 0.0),
        **dict.fromkeys(("compute_efficiency", "memory_efficiency", "write_efficiency"), 1.0),
        "overlap": 100.0,
        "softmax_per_clock": 1e9,
    },
    "decode": {
        **dict.fromkeys(("fixed_s", "unit_s", "split_s", "pack_s"), 0.0),
        **dict.fromkeys(("compute_efficiency", "memory_efficiency", "l2_bandwidth"), 1.0),
        "overlap": 100.0,
        "l2_share": 0.1,
    },
    "experts": {
        **dict.fromkeys(("fixed_s", "few_s", "row_s", "wave_s"), 0.0),
        **dict.fromkeys(("compute_efficiency", "memory_efficiency", "route_passes"), 1.0),
        "overlap": 100.0,
        "l2_share": 0.1,
    },
    "messages": {"fixed_s": 1e-6, "link_efficiency": 1.0, "network_bytes_per_s": 1e10},
    "collectives": {
        **dict.fromkeys(("short_s", "long_s", "rank_s"), 0.0),
        "short_efficiency": 1.0,
        "long_efficiency": 1e-3,
        "contention": 1.0,
    },
}
"""Kernels at the roofline but for whole tiles: the second protocol of a collective never wins."""
REAL_CHANGES: dict[str, dict[str, float]] = {
    "gemm": {"fixed_s": 5e-6, "compute_efficiency": 0.5, "memory_efficiency": 0.8, "overlap": 3, "store_bandwidth": 2},
    "prefill": {"fixed_s": 5e-6, "compute_efficiency": 0.5, "memory_efficiency": 0.8, "overlap": 2, "tile_s": 1e-6},
    "decode": {"fixed_s": 5e-6, "compute_efficiency": 0.5, "memory_efficiency": 0.8, "overlap": 3, "unit_s": 1e-6},
    "experts": {"fixed_s": 5e-6, "few_s": 5e-6, "compute_efficiency": 0.5, "memory_efficiency": 0.8, "overlap": 3},
    "collectives": {"short_s": 5e-6, "rank_s": 1e-6, "short_efficiency": 0.4, "long_s": 2e-5, "long_efficiency": 0.8},
}


def family(operator: str) -> str:
    """The form of an operator."""
    words = {"send_recv": "messages", "gemm": "gemm", "moe": "experts", "prefill": "prefill", "decode": "decode"}
    return next((form for word, form in words.items() if word in operator), "collectives")


def kernels(**changes: dict[str, float]) -> KernelOf:
    """Kernels that are the same for every operator of a form; by default at the datasheet's roofline."""

    @cache
    def kernel(operator: str, dtype: str) -> Kernel:
        form = family(operator)
        return Kernel(name="toy", dtype=dtype, parameters=IDEAL[form] | changes.get(form, {}), basis="datasheet")

    return kernel


FREE = kernels()
REAL = kernels(**REAL_CHANGES)


def engine(*, memory: dict[str, Any] | None = None, overhead: dict[str, Any] | None = None) -> Engine:
    """An engine that takes nothing for itself."""
    return Engine.model_validate(
        {
            "name": "toy",
            "title": "Toy",
            "version": "1",
            "scheduler": {"max_num_seqs": 256, "max_num_batched_tokens": 8192},
            "memory": {
                "utilization": 1.0,
                "reserved_bytes": "0 B",
                "framework_bytes": "0 B",
                "communication_bytes": "0 B",
                "activation_copies": 0,
                "sampler_bytes": "0 B",
            }
            | (memory or {}),
            "overhead": {"step_s": "0 s", "layer_s": "0 s", "sequence_s": "0 s", "first_token_steps": 0}
            | (overhead or {}),
            "support": {},
            "models": {},
            "features": [],
            "sources": {},
        }
    )


def gpu(**changes: Any) -> Gpu:
    return Gpu.model_validate(GPU | changes)


def replicas(
    model: str | Model = "dense",
    *layouts: dict[str, int],
    weight_dtype: str = "bf16",
    kv_dtype: str = "bf16",
    on: Gpu | None = None,
    on_kernels: KernelOf = FREE,
    runs: Engine | None = None,
    link: dict[str, Any] | None = None,
    spans_hosts: bool = False,
    **batching: Any,
) -> Replicas:
    """Return one replica a layout; by default one device."""
    found = MODELS[model] if isinstance(model, str) else model
    cuts = layouts or ({},)
    rules = {"max_num_seqs": 256, "max_num_batched_tokens": 8192} | batching
    deployments = [
        Deployment.model_validate(
            {
                "model": found.name,
                "engine": "toy",
                "stages": [{"gpu": "toy", "layout": layout, "weight_dtype": weight_dtype}],
                "kv_dtype": kv_dtype,
                "batching": Batching.model_validate(rules),
            }
        )
        for layout in cuts
    ]
    device = Device(
        gpu=on or gpu(),
        link=Link.model_validate(LINK | (link or {})),
        network_bytes_per_s=1e10,
        kernel=on_kernels,
        basis="datasheet",
    )
    count = len(cuts)
    return gathered(found, deployments, [device] * count, [runs or engine()] * count, [spans_hosts] * count)


@pytest.fixture(scope="session")
def toy() -> SimpleNamespace:
    """Makers of toy devices, models and replicas."""
    return SimpleNamespace(
        gpu=gpu, models=MODELS, kernels=kernels, ideal=FREE, real=REAL, engine=engine, replicas=replicas, dense=DENSE
    )
