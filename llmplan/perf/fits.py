"""Applies measured parameters: the only place where a number is not physics.

A deployment becomes a row of `Replicas`: (C, 1) arrays of its device's peaks, its layout, its formats and the
parameters fitted for each operator and format. Which kernel runs, and whose parameters stand in where nobody measured
the device, is decided by the caller (`Device.kernel`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmplan.perf.formats import ACTIVATION_BYTES, COMPUTE_TYPE, FORMATS, KV_BYTES, bytes_per_weight
from llmplan.perf.kernels.chip import REFERENCE_CLOCK_HZ, Chip
from llmplan.perf.kernels.tiles import (
    CUTS,
    Attention,
    Cut,
    attention_of,
    is_second_generation,
    matrix_rows,
    reads_beyond,
    usual,
    usual_keys,
)
from llmplan.perf.roofline import Floats
from llmplan.spec.deployment import Deployment
from llmplan.spec.engine import Engine
from llmplan.spec.fits import Basis
from llmplan.spec.hardware import Gpu, Link
from llmplan.spec.model import Model, Module, WeightDtype

UNKNOWN_MULTIPROCESSORS = 132
"""Where a device's number is not known or not comparable: that of an H100."""
UNKNOWN_L2_BYTES = 50.0 * 2**20
"""Where a datasheet is silent: that of an H100."""

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel on a device: what it is called, its fitted parameters, and what they rest on."""

    name: str
    dtype: str
    """Format of the rows that were fitted."""
    parameters: Mapping[str, float]
    basis: Basis
    architecture: str = ""
    """Of the device that it was measured on, where that is one."""


KernelOf = Callable[[str, str], Kernel]
"""(operator, format), both as measured rows call them → the kernel that runs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU with the links it uses on a host, and the kernels that an engine runs on it."""

    gpu: Gpu
    link: Link
    """Between devices of one host."""
    network_bytes_per_s: float
    """Of one device between hosts, one direction; 0 when no host fact is known."""
    kernel: KernelOf
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """One kernel of each replica; (C, 1) columns."""

    parameters: Mapping[str, Floats]
    """A parameter that a kernel lacks is 0."""
    older: NDArray[np.bool_]
    """Kernels of the FlashAttention-2 generation."""
    edged: NDArray[np.bool_]
    """Kernels that read beyond a window."""
    block_keys: Floats
    """Keys of a block of decode attention; of older kernels their width decides."""
    attention: tuple[tuple[Attention, Rows], ...]
    """How prefill cuts, and of which replicas."""
    basis: tuple[Basis, ...]

    def of(self, rows: Rows) -> Kernels:
        """Return the kernels of some replicas."""
        return Kernels(
            parameters={name: values[rows] for name, values in self.parameters.items()},
            older=self.older[rows],
            edged=self.edged[rows],
            block_keys=self.block_keys[rows],
            attention=tuple((cut, at) for cut, own in self.attention if (at := _places(own, rows)).size),
            basis=tuple(self.basis[i] for i in rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFormat:
    """How one module's weights are stored and multiplied; (C, 1) columns."""

    weight_bytes: Floats
    """Bytes of one weight, the mean over the formats of the module."""
    activation_bytes: Floats
    flop_per_s: Floats
    """Peak of its compute types, each with its share of the arithmetic."""
    kernels: Kernels
    """Of matrix products, or of experts."""
    cuts: tuple[tuple[Cut, bool, Rows], ...]
    """How products are cut, whether the inner side is split too, and of which replicas."""

    def of(self, rows: Rows) -> ModuleFormat:
        """Return the format of some replicas."""
        return ModuleFormat(
            weight_bytes=self.weight_bytes[rows],
            activation_bytes=self.activation_bytes[rows],
            flop_per_s=self.flop_per_s[rows],
            kernels=self.kernels.of(rows),
            cuts=tuple((cut, splits, at) for cut, splits, own in self.cuts if (at := _places(own, rows)).size),
        )


def _places(own: Rows, rows: Rows) -> Rows:
    """Return where, among `rows`, those of `own` stand."""
    return np.flatnonzero(np.isin(rows, own))


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
    l2_bytes: Floats
    link_bytes_per_s: Floats
    network_bytes_per_s: Floats
    spans_hosts: Floats
    """1 where pipeline stages sit on different hosts."""
    formats: Mapping[Module, ModuleFormat]
    """By module: what the checkpoint stores it in, or what an engine quantizes it to."""
    kv_bytes: Floats
    expert_pad: Floats
    """Padded over real width of the expert matrices."""
    kernels: Mapping[str, Kernels]
    """By operator: attention and collectives."""
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
    routing_skew: float
    """Exponent of the popularity of experts; 0: balanced."""
    alike: tuple[Rows, Rows]
    """Replicas that differ in more than stages and limits, and which of them each replica is like."""

    def of(self, rows: Rows) -> Replicas:
        """Return some of the replicas."""
        found: dict[str, Any] = {}
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                found[name] = value[rows]
            elif name in ("formats", "kernels"):
                found[name] = {key: one.of(rows) for key, one in value.items()}
        every = np.arange(len(rows))
        return replace(self, **found, basis=tuple(self.basis[i] for i in rows), alike=(every, every))

    def __len__(self) -> int:
        """Return how many replicas there are."""
        return len(self.basis)

    def chip(self, flop_per_s: Floats | None = None, rows: Rows | slice = slice(None)) -> Chip:
        """Return the devices of some rows as kernels see them, at 16 bit or at another peak."""
        return Chip(
            flop_per_s=(self.bf16_flop_per_s if flop_per_s is None else flop_per_s)[rows],
            bytes_per_s=self.memory_bytes_per_s[rows],
            multiprocessors=self.multiprocessors[rows],
            l2_bytes=self.l2_bytes[rows],
            clock_hz=self.clock_hz[rows],
        )


ATTENTION = ("attn_prefill", "attn_decode", "mla_prefill", "mla_decode")
MODULES: tuple[Module, ...] = ("attention", "state", "ffn", "experts", "shared_experts", "latent", "router", "head")
"""Modules with weight matrices."""
LINKS: Mapping[str, str] = {
    "all_reduce": "float16",
    "all_reduce_vllm_graph": "bfloat16",
    "all_gather": "float16",
    "reduce_scatter": "float16",
    "send_recv": "float16",
    "send_recv_between": "float16",
}
"""Collectives and messages of a step, and the format that their rows are in."""


def gathered(
    model: Model,
    deployments: Sequence[Deployment],
    devices: Sequence[Device],
    engines: Sequence[Engine],
    spans_hosts: Sequence[bool],
    routing_skew: float = 0.0,
) -> Replicas:
    """Return deployments of one model as columns.

    Parameters
    ----------
    deployments : sequence of C deployments, one stage each
    devices, engines : sequences of C
        The device and the engine of each deployment.
    spans_hosts : sequence of C booleans
        Whether the pipeline stages of the replica sit on different hosts.
    routing_skew : float
        Exponent of the popularity of experts; 0: balanced.
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
        clock_hz=_column(d.gpu.clock_hz or REFERENCE_CLOCK_HZ for d in device),
        l2_bytes=_column(d.gpu.l2_bytes or UNKNOWN_L2_BYTES for d in device),
        link_bytes_per_s=_column(d.link.bytes_per_s for d in device),
        network_bytes_per_s=_column(d.network_bytes_per_s or 1.0 for d in device),
        spans_hosts=_column(spans_hosts),
        formats={module: _format(module, model, deployments, device) for module in MODULES},
        kv_bytes=_column(KV_BYTES[d.kv_dtype] for d in deployments),
        expert_pad=_column(_pad(model, e, s.weight_dtype) for e, s in zip(engine, stages, strict=True)),
        kernels={
            **{
                name: _kernels(on.kernel(name, cache_format(d)) for d, on in zip(deployments, device, strict=True))
                for name in ATTENTION
            },
            **{name: _kernels(on.kernel(name, dtype) for on in device) for name, dtype in LINKS.items()},
        },
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
        routing_skew=routing_skew,
        alike=_alike(deployments, devices, engines),
    )


def _alike(
    deployments: Sequence[Deployment], devices: Sequence[Device], engines: Sequence[Engine]
) -> tuple[Rows, Rows]:
    """Return the first of each kind of replica, and the kind of each: pipelines are as many of the same layers."""
    place: dict[tuple[Any, ...], int] = {}
    first: list[int] = []
    inverse = []
    for i, (deployment, device, engine) in enumerate(zip(deployments, devices, engines, strict=True)):
        stage, layout = deployment.stage, deployment.stage.layout
        widths = (layout.tp, layout.ep, layout.dp, layout.cp)
        key = (id(device), id(engine), stage.weight_dtype, deployment.kv_dtype, *widths)
        if key not in place:
            place[key] = len(first)
            first.append(i)
        inverse.append(place[key])
    return np.array(first, dtype=np.intp), np.array(inverse, dtype=np.intp)


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
    """Return the format of one module in each deployment: means over its formats, the kernel of the larger part."""
    found = [module_shares(model, module, d.stage.weight_dtype) for d in deployments]
    own = [d.stage.weight_dtype == model.weights.dtype for d in deployments]
    blocks = [model.weights.scale_block if is_own else None for is_own in own]
    main = [max(shares, key=lambda dtype, of=shares: of[dtype]) for shares in found]  # type: ignore[misc]
    kernels = [
        on.kernel("moe", expert_format(dtype, block, model.weights.weight_only and is_own))
        if module == "experts"
        else on.kernel("gemm", product_format(dtype, block, model.weights.weight_only and is_own))
        for dtype, block, is_own, on in zip(main, blocks, own, devices, strict=True)
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
        flop_per_s=_column(
            _mean_rate(on.gpu, shares) if module != "experts" else _peak(on.gpu, FORMATS[kernel.dtype].compute)
            for on, shares, kernel in zip(devices, computed, kernels, strict=True)
        ),
        kernels=_kernels(kernels),
        cuts=_cuts(kernels, [on.gpu for on in devices]),
    )


def _computed(dtype: WeightDtype, weight_only: bool) -> WeightDtype:
    """Return the format that arithmetic is done in: 16 bit where activations are not quantized."""
    return "bf16" if weight_only and dtype == "nvfp4" else dtype


def _mean_rate(gpu: Gpu, shares: Mapping[WeightDtype, float]) -> float:
    """Return the rate of a module in several formats: each takes its share of the arithmetic. [FLOP/s]"""
    return 1 / sum(share / _peak(gpu, COMPUTE_TYPE[dtype]) for dtype, share in shares.items())


def _peak(gpu: Gpu, compute: str) -> float:
    """Return the rate of a compute type; one that a device lacks runs at the rate of 16 bit. [FLOP/s]"""
    return gpu.flop_per_s.get(compute, gpu.flop_per_s["bf16"])


def product_format(dtype: WeightDtype, block: tuple[int, int] | None, weight_only: bool = False) -> str:
    """Return the format that matrix products of a weight format were measured in; weight-only ones share a kernel."""
    if dtype == "fp8" and block:
        return "fp8_block"
    if dtype == "mxfp4" or (dtype == "nvfp4" and weight_only):
        return "int4_wo"
    return {"bf16": "bfloat16", "int8": "int8_wo", "int4": "int4_wo"}.get(dtype, dtype)


def expert_format(dtype: WeightDtype, block: tuple[int, int] | None, weight_only: bool = False) -> str:
    """Return the format that experts of a weight format were measured in, or of the nearest kin that was."""
    if dtype == "fp8" and block:
        return "fp8_block"
    if dtype == "nvfp4" and weight_only:
        return "w4a16_mxfp4"
    return {"bf16": "bfloat16", "int8": "bfloat16", "int4": "w4a16_mxfp4", "mxfp4": "w4a16_mxfp4"}.get(dtype, dtype)


def cache_format(deployment: Deployment) -> str:
    """Return the format of rows of attention over the cache of `deployment`."""
    return "bfloat16" if deployment.kv_dtype == "bf16" else "fp8"


def _kernels(kernels: Iterable[Kernel]) -> Kernels:
    """Return kernels as columns; a few kernels stand for many replicas."""
    place: dict[int, int] = {}
    distinct: list[Kernel] = []
    at = []
    for one in kernels:
        if id(one) not in place:
            place[id(one)] = len(distinct)
            distinct.append(one)
        at.append(place[id(one)])
    names = dict.fromkeys(name for one in distinct for name in one.parameters)
    table = {name: np.array([one.parameters.get(name, 0.0) for one in distinct]) for name in names}
    older = np.array([is_second_generation(one.name) for one in distinct])
    edged = np.array([reads_beyond(one.name) for one in distinct])
    keys = np.array([usual_keys(one.name) for one in distinct])
    return Kernels(
        parameters={name: values[at][:, None] for name, values in table.items()},
        older=older[at][:, None],
        edged=edged[at][:, None],
        block_keys=keys[at][:, None],
        attention=tuple(_grouped([attention_of(distinct[i].name) for i in at])),
        basis=tuple(distinct[i].basis for i in at),
    )


G = TypeVar("G")


def _grouped(values: Sequence[G]) -> Iterator[tuple[G, Rows]]:
    """Yield each different value with the places it stands at."""
    places: dict[int, tuple[G, list[int]]] = {}
    for i, value in enumerate(values):
        places.setdefault(id(value), (value, []))[1].append(i)
    for value, at in places.values():
        yield value, np.array(at, dtype=np.intp)


def _cuts(kernels: Sequence[Kernel], gpus: Sequence[Gpu]) -> tuple[tuple[Cut, bool, Rows], ...]:
    """Return how the products of each replica are cut; formats that quantize do not split the inner side."""
    found = [
        CUTS.get((kernel.dtype, kernel.name, gpu.architecture))
        or CUTS.get((kernel.dtype, kernel.name, kernel.architecture))
        or usual(matrix_rows(gpu.architecture))
        for kernel, gpu in zip(kernels, gpus, strict=True)
    ]
    splits = ["split_s" in kernel.parameters for kernel in kernels]
    return tuple(
        (cut, flag, part)
        for cut, rows in _grouped(found)
        for flag in (True, False)
        if (part := np.array([i for i in rows if splits[i] is flag], dtype=np.intp)).size
    )
