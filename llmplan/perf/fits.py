"""Applies measured constants: the only place where a number is not physics.

A deployment becomes a row of `Replicas`: (C, 1) arrays of its device's peaks, its layout, its formats and the
constants fitted for each operator family and format. Where a device has no fit of its own, the caller hands in the
fit of its family (basis `transferred`) or typical constants (basis `datasheet`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmplan.perf.collectives import LinkConstants
from llmplan.perf.elementwise import ELEMENTWISE
from llmplan.perf.formats import ACTIVATION_BYTES, COMPUTE_TYPE, KV_BYTES, bytes_per_weight
from llmplan.perf.roofline import Constants, Floats
from llmplan.spec.deployment import Deployment
from llmplan.spec.engine import Engine
from llmplan.spec.fits import Basis, CollectiveFit, Fits, OperatorFit
from llmplan.spec.hardware import Gpu, Link
from llmplan.spec.model import Model, Module, WeightDtype

UNKNOWN_MULTIPROCESSORS = 132
"""Where a device's number is not known or not comparable: that of an H100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU with the links it uses on a host and the constants that hold for it."""

    gpu: Gpu
    link: Link
    """Between devices of one host."""
    network_bytes_per_s: float
    """Of one device between hosts, one direction; 0 when no host fact is known."""
    network_latency_s: float
    fits: Fits
    generic: Fits
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFormat:
    """How one module's weights are stored and multiplied; (C, 1) columns."""

    weight_bytes: Floats
    """Bytes of one weight, the mean over the formats of the module."""
    activation_bytes: Floats
    flop_per_s: Floats
    """Peak of its compute types, each with its share of the arithmetic."""
    constants: Constants
    """Of matrix products, or of experts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """Replicas of one model under study, as (C, 1) columns."""

    model: Model
    tp: Floats
    pp: Floats
    ep: Floats
    dp: Floats
    cp: Floats
    bf16_flop_per_s: Floats
    memory_bytes: Floats
    memory_bytes_per_s: Floats
    multiprocessors: Floats
    clock_hz: Floats
    link_bytes_per_s: Floats
    link_latency_s: Floats
    network_bytes_per_s: Floats
    network_latency_s: Floats
    spans_hosts: Floats
    """1 where pipeline stages sit on different hosts."""
    formats: Mapping[Module, ModuleFormat]
    """By module: what the checkpoint stores it in, or what an engine quantizes it to."""
    kv_bytes: Floats
    expert_pad: Floats
    """Padded over real width of the expert matrices."""
    constants: Mapping[str, Constants]
    """By family: attention_prefill, attention_decode, mla_prefill, mla_decode."""
    links: Mapping[str, LinkConstants]
    """By collective."""
    host_step_s: Floats
    host_layer_s: Floats
    host_sequence_s: Floats
    first_token_steps: Floats
    utilization: Floats
    reserved_bytes: Floats
    framework_bytes: Floats
    communication_bytes: Floats
    """0 on one device."""
    graph_bytes: Floats
    share_of_free: Floats
    """1 where `utilization` is a share of what weights and activations leave."""
    activation_copies: Floats
    activation_token_bytes: Floats
    sampler_bytes: Floats
    max_num_seqs: Floats
    max_num_batched_tokens: Floats
    mixes: Floats
    """1 where prefill chunks share steps with decodes."""
    basis: tuple[Basis, ...]

    def __len__(self) -> int:
        """Return how many replicas there are."""
        return len(self.basis)


FAMILIES = ("attention_prefill", "attention_decode", "mla_prefill", "mla_decode")
MODULES: tuple[Module, ...] = ("attention", "state", "ffn", "experts", "shared_experts", "latent", "router", "head")
"""Modules with weight matrices."""
COLLECTIVES = ("all_reduce", "all_reduce_one_shot", "all_gather", "reduce_scatter")


def gathered(
    model: Model,
    deployments: Sequence[Deployment],
    devices: Sequence[Device],
    engines: Sequence[Engine],
    spans_hosts: Sequence[bool],
) -> Replicas:
    """Return deployments of one model as columns.

    Parameters
    ----------
    deployments : sequence of C deployments, one stage each
    devices, engines : sequences of C
        The device and the engine of each deployment.
    spans_hosts : sequence of C booleans
        Whether the pipeline stages of the replica sit on different hosts.

    Raises
    ------
    KeyError
        A family has neither a fit nor a generic constant (a broken fits file).
    """
    stages = [d.stage for d in deployments]
    device, engine = devices, engines
    several = [s.layout.gpus > 1 for s in stages]
    return Replicas(
        model=model,
        tp=_column(s.layout.tp for s in stages),
        pp=_column(s.layout.pp for s in stages),
        ep=_column(s.layout.ep for s in stages),
        dp=_column(s.layout.dp for s in stages),
        cp=_column(s.layout.cp for s in stages),
        bf16_flop_per_s=_column(d.gpu.flop_per_s["bf16"] for d in device),
        memory_bytes=_column(d.gpu.memory_bytes for d in device),
        memory_bytes_per_s=_column(d.gpu.memory_bytes_per_s for d in device),
        multiprocessors=_column(d.gpu.multiprocessors or UNKNOWN_MULTIPROCESSORS for d in device),
        clock_hz=_column(d.gpu.clock_hz or ELEMENTWISE.clock_hz for d in device),
        link_bytes_per_s=_column(d.link.bytes_per_s for d in device),
        link_latency_s=_column(d.link.latency_s for d in device),
        network_bytes_per_s=_column(d.network_bytes_per_s or 1.0 for d in device),
        network_latency_s=_column(d.network_latency_s for d in device),
        spans_hosts=_column(spans_hosts),
        formats={module: _format(module, model, deployments, device) for module in MODULES},
        kv_bytes=_column(KV_BYTES[d.kv_dtype] for d in deployments),
        expert_pad=_column(_pad(model, e, s.weight_dtype) for e, s in zip(engine, stages, strict=True)),
        constants={
            family: _constants(
                [_operator(attention_key(family, d), on) for d, on in zip(deployments, device, strict=True)]
            )
            for family in FAMILIES
        },
        links={operation: _link(operation, device) for operation in COLLECTIVES},
        host_step_s=_column(e.overhead.step_s for e in engine),
        host_layer_s=_column(e.overhead.layer_s for e in engine),
        host_sequence_s=_column(e.overhead.sequence_s for e in engine),
        first_token_steps=_column(e.overhead.first_token_steps for e in engine),
        utilization=_column(e.memory.utilization for e in engine),
        reserved_bytes=_column(e.memory.reserved_bytes for e in engine),
        framework_bytes=_column(e.memory.framework_bytes for e in engine),
        communication_bytes=_column(
            e.memory.communication_bytes if many else 0.0 for e, many in zip(engine, several, strict=True)
        ),
        graph_bytes=_column(e.memory.graph_bytes for e in engine),
        share_of_free=_column(e.memory.pool_rule == "share_of_free" for e in engine),
        activation_copies=_column(e.memory.activation_copies for e in engine),
        activation_token_bytes=_column(e.memory.activation_token_bytes for e in engine),
        sampler_bytes=_column(e.memory.sampler_bytes for e in engine),
        max_num_seqs=_column(d.batching.max_num_seqs for d in deployments),
        max_num_batched_tokens=_column(d.batching.max_num_batched_tokens for d in deployments),
        mixes=_column(d.batching.mixes_prefill_and_decode for d in deployments),
        basis=tuple(d.basis for d in device),
    )


def _column(values: Iterable[float]) -> Floats:
    return np.array([float(v) for v in values], dtype=np.float64)[:, None]


def _pad(model: Model, engine: Engine, weight_dtype: str) -> float:
    multiple = engine.memory.weight_pad_elements.get(weight_dtype, 1)  # type: ignore[call-overload]
    return float(np.ceil(model.hidden_size / multiple) * multiple / model.hidden_size)


def module_shares(model: Model, module: Module, deployed: WeightDtype) -> Mapping[WeightDtype, float]:
    """Return the share of a module's weights in each format: of the checkpoint, or of an engine that quantizes it."""
    if deployed == model.weights.dtype:
        return model.weights.shares(module)
    return {"bf16" if module in model.weights.bf16_modules else deployed: 1.0}


def _format(module: Module, model: Model, deployments: Sequence[Deployment], devices: Sequence[Device]) -> ModuleFormat:
    """Return the format of one module in each deployment: means over its formats, constants of the larger part."""
    found = [module_shares(model, module, d.stage.weight_dtype) for d in deployments]
    own = [d.stage.weight_dtype == model.weights.dtype for d in deployments]
    blocks = [model.weights.scale_block if is_own else None for is_own in own]
    main = [max(shares, key=lambda dtype, of=shares: of[dtype]) for shares in found]  # type: ignore[misc]
    family = "moe" if module == "experts" else "gemm"
    rows = [
        _operator(product_key(family, dtype, block), device)
        for dtype, block, device in zip(main, blocks, devices, strict=True)
    ]
    computed = [
        {_computed(dtype, model.weights.weight_only and is_own): share for dtype, share in shares.items()}
        for shares, is_own in zip(found, own, strict=True)
    ]
    return ModuleFormat(
        weight_bytes=_column(
            sum(share * bytes_per_weight(dtype, block) for dtype, share in shares.items())
            for shares, block in zip(found, blocks, strict=True)
        ),
        activation_bytes=_column(
            sum(share * ACTIVATION_BYTES[dtype] for dtype, share in shares.items()) for shares in computed
        ),
        flop_per_s=_column(_mean_rate(d.gpu, shares) for d, shares in zip(devices, computed, strict=True)),
        constants=_constants(rows),
    )


def _computed(dtype: WeightDtype, weight_only: bool) -> WeightDtype:
    """Return the format that arithmetic is done in: 16 bit where activations are not quantized."""
    return "bf16" if weight_only and dtype == "nvfp4" else dtype


def _mean_rate(gpu: Gpu, shares: Mapping[WeightDtype, float]) -> float:
    """Return the rate of a module in several formats: each takes its share of the arithmetic. [FLOP/s]"""
    peaks = gpu.flop_per_s
    return 1 / sum(share / peaks.get(COMPUTE_TYPE[dtype], peaks["bf16"]) for dtype, share in shares.items())


def product_key(family: str, dtype: WeightDtype, block: tuple[int, int] | None) -> str:
    """Return the entry of a fits file for matrix products of a weight format, such as `gemm.fp8_block`."""
    return f"{family}.{'fp8_block' if dtype == 'fp8' and block else dtype}"


def attention_key(family: str, deployment: Deployment) -> str:
    """Return the entry of a fits file that attention of `deployment` uses, such as `mla_decode.fp8`."""
    return f"{family}.{'bf16' if deployment.kv_dtype == 'bf16' else 'fp8'}"


def _constants(rows: Sequence[OperatorFit]) -> Constants:
    return Constants(
        fixed_s=_column(r.fixed_s for r in rows),
        unit_s=_column(r.unit_s for r in rows),
        compute_efficiency=_column(r.compute_efficiency for r in rows),
        memory_efficiency=_column(r.memory_efficiency for r in rows),
    )


def _operator(key: str, device: Device) -> OperatorFit:
    """Return the fit of an operator; a format nobody measured takes its block-scaled kin, typical constants, bf16."""
    family, _, dtype = key.partition(".")
    for fits in (device.fits.operators, device.generic.operators):
        for name in (key, *((f"{family}.fp8_block",) if dtype == "fp8" else ())):
            if name in fits:
                return fits[name]
    return device.generic.operators[f"{family}.bf16"]


def _link(operation: str, devices: Sequence[Device]) -> LinkConstants:
    rows = [_collective(operation, device) for device in devices]
    return LinkConstants(
        fixed_s=_column(r.fixed_s for r in rows),
        rank_s=_column(r.rank_s for r in rows),
        link_efficiency=_column(r.link_efficiency for r in rows),
    )


def _collective(operation: str, device: Device) -> CollectiveFit:
    found = device.fits.collectives.get(operation) or device.generic.collectives.get(operation)
    return found or device.generic.collectives["all_reduce"]
