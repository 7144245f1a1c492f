"""Every way to serve a model on what may be rented: enumerate, evaluate as arrays, excuse what is dropped.

A candidate is a deployment (GPU x layout x weight format x KV format) on a kind of node. Layouts are powers of two:
tensor parallel inside a node, pipeline inside a node or over several of one kind when their network is known, and for
mixtures of experts also expert parallel and attention data parallel over all ranks of the replica.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmplan.perf.formats import computes
from llmplan.perf.replica import (
    METRICS,
    Bounds,
    Operating,
    ReplicaCost,
    Requests,
    bounds_of_buckets,
    keeps,
    largest_load,
    most_decodes,
    operating,
)
from llmplan.perf.roofline import Floats
from llmplan.plan.runs import why_not_formats, why_not_layout, why_not_model
from llmplan.spec.deployment import Deployment, DeploymentRequest, KvPolicy, Layout, Stage
from llmplan.spec.engine import Engine
from llmplan.spec.hardware import Gpu, Offer
from llmplan.spec.model import Compressed, Delta, Ffn, Gqa, KvDtype, Mamba1, Mamba2, Mixer, Model, Moe, WeightDtype
from llmplan.spec.plan import Excuse
from llmplan.spec.workload import Bucket
from llmplan.units import brief

WIDTHS = (1, 2, 4, 8)
"""Tensor-parallel and pipeline widths that are tried."""
MOST_HOSTS = 4
"""Hosts of one replica at most."""
SMALLEST_SPANNED = 4
"""Devices of a node that a replica over several nodes may be built from."""
LOSSY_KV: tuple[KvDtype, ...] = ("fp8",)
LOSSY_WEIGHTS: tuple[WeightDtype, ...] = ("fp8", "int4")
"""Formats below the checkpoint's own; searched only when the user allows a loss of quality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of node: equal devices, their number, and what is known of its network."""

    gpu: Gpu
    gpus: int
    network_bytes_per_s: float
    """Of one device; 0: not known, replicas stay on one node."""
    link_domain: int
    """Devices that the device link joins; all of the node where they meet on the host link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A deployment and the kind of node that can hold it."""

    name: str
    deployment: Deployment
    kind: Kind
    hosts: int
    """Nodes of one replica when it fills several; 1 when it fits on one."""


def kinds_of(offers: Sequence[Offer], gpu_of: Mapping[str, Gpu]) -> list[Kind]:
    """Return the distinct kinds of node among some offers, each with the best network any of them has."""
    best: dict[tuple[str, int], tuple[float, int]] = {}
    for offer in offers:
        node, gpu = offer.node, gpu_of[offer.node.gpu]
        network, domain = best.get((node.gpu, node.gpus), (0.0, 1))
        own = (node.link_domain or gpu.link_domain) if gpu.link else node.gpus
        best[node.gpu, node.gpus] = (max(network, network_of(offer)), max(domain, own))
    return [
        Kind(gpu=gpu_of[gpu], gpus=gpus, network_bytes_per_s=network, link_domain=domain)
        for (gpu, gpus), (network, domain) in sorted(best.items())
    ]


def network_of(offer: Offer) -> float:
    """Return the bandwidth between nodes for one device, one direction; 0 when nobody published it. [B/s]."""
    return (offer.node.nic_bytes_per_s or 0.0) / offer.node.gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of every candidate: model, engine, what is decided, whether lossy formats may be used."""

    model: Model
    engine: Engine
    wanted: DeploymentRequest
    allow_lossy: bool = False


def enumerate_candidates(question: Question, kinds: Sequence[Kind]) -> tuple[list[Candidate], list[Excuse]]:
    """Return all candidates that the engine runs, and an Excuse for each GPU where it runs none that was asked for."""
    found: dict[str, Candidate] = {}
    excuses: dict[str, Excuse] = {}
    for kind in kinds:
        formats, refused = _formats(question, kind.gpu)
        layouts, uncut = _runnable(question, kind) if formats else ([], "")
        for layout, hosts in layouts:
            for weight, kv in formats:
                deployment = _deployment(question, kind.gpu, layout, weight, kv)
                name = deployment.name + (f"-over{hosts}nodes" if hosts > 1 else "")
                found.setdefault(name, Candidate(name=name, deployment=deployment, kind=kind, hosts=hosts))
        said = uncut if formats else refused
        if said and not layouts:
            excuses[kind.gpu.name] = Excuse(candidate=kind.gpu.name, reason="unsupported", message=said)
    served = {c.kind.gpu.name for c in found.values()}
    return list(found.values()), [e for gpu, e in excuses.items() if gpu not in served]


def _formats(question: Question, gpu: Gpu) -> tuple[list[tuple[WeightDtype, KvDtype]], str]:
    """Return the formats to try on a GPU, or why the engine runs none of those asked for."""
    wanted, own = question.wanted, question.model.weights.dtype
    weights = [wanted.weight_dtype] if wanted.weight_dtype else [own]
    kvs: list[KvDtype] = [wanted.kv_dtype] if wanted.kv_dtype else ["bf16"]
    if question.allow_lossy:
        if not wanted.weight_dtype and own == "bf16":
            weights += LOSSY_WEIGHTS
        if not wanted.kv_dtype:
            kvs += LOSSY_KV
    refused = {(weight, kv): _refused(question, gpu, weight, kv) for weight in weights for kv in kvs}
    return [pair for pair, said in refused.items() if not said], next(iter(refused.values()))


def _refused(question: Question, gpu: Gpu, weight: WeightDtype, kv: KvDtype) -> str:
    engine, model = question.engine, question.model
    said = why_not_model(engine, model) or why_not_formats(engine, model, gpu.architecture, weight, kv)
    if not said and not computes(gpu.flop_per_s, weight):
        return f"{gpu.name} does not compute {weight} weights"
    return said


def _runnable(question: Question, kind: Kind) -> tuple[list[tuple[Layout, int]], str]:
    """Return the layouts that the engine can cut the model into, or why it runs none of those that fit the node."""
    refused = [(pair, why_not_layout(question.engine, question.model, pair[0])) for pair in _layouts(question, kind)]
    return [pair for pair, said in refused if not said], next((said for _, said in refused if said), "")


def _layouts(question: Question, kind: Kind) -> Iterator[tuple[Layout, int]]:
    """Yield (layout, hosts) that the model can be cut into on this kind of node."""
    model = question.model
    sparse = any(isinstance(ffn, Moe) for ffn in model.ffn.values())
    for ranks in WIDTHS:
        for pp in WIDTHS:
            if pp > min(model.layer_count, question.engine.max_pp):
                continue
            hosts = _hosts(kind, ranks, pp)
            if hosts == 0 or ranks > kind.link_domain:
                continue
            for tp, dp, ep in _cuts(ranks, sparse):
                layout = Layout.model_construct(tp=tp, pp=pp, ep=ep, dp=dp, cp=1)
                if _as_wanted(question.wanted, layout) and not any(_undivided(model, layout)):
                    yield layout, hosts


def _hosts(kind: Kind, ranks: int, pp: int) -> int:
    """Return the nodes of a replica: 1, several full ones with a known network, or 0 when it cannot be placed."""
    gpus = ranks * pp
    if gpus <= kind.gpus:
        return 1
    hosts = gpus // kind.gpus
    whole = gpus % kind.gpus == 0 and kind.gpus % ranks == 0 and kind.gpus >= SMALLEST_SPANNED
    return hosts if whole and hosts <= MOST_HOSTS and kind.network_bytes_per_s > 0 else 0


def _cuts(ranks: int, sparse: bool) -> Iterator[tuple[int, int, int]]:
    """Yield (tp, dp, ep) over the ranks of one pipeline stage."""
    yield ranks, 1, 1
    if sparse and ranks > 1:
        yield ranks, 1, ranks
        yield 1, ranks, ranks


def why_not_on(question: Question, gpu: Gpu) -> str:
    """Return why the engine runs the model on a GPU in none of the formats asked for, or an empty text."""
    formats, said = _formats(question, gpu)
    return "" if formats else said


def why_not_cut(model: Model, layout: Layout) -> str:
    """Return the number of a model that a layout does not divide, or the width that is not tried; or an empty text."""
    for name, width in (("tp x dp", layout.tp * layout.dp), ("pp", layout.pp)):
        if width not in WIDTHS:
            said = next(_undivided(model, layout), f"{name} is {width}")
            return f"{said}; want {name} of {', '.join(map(str, WIDTHS))}"
    if layout.pp > model.layer_count:
        return f"its {model.layer_count} layers are fewer than pp {layout.pp}"
    return next(_undivided(model, layout), "")


def _undivided(model: Model, layout: Layout) -> Iterator[str]:
    """Yield each number of a model that a layout does not divide."""
    tp, ep, ranks = layout.tp, layout.ep, layout.tp * layout.dp
    for mixer in model.attention.values():
        for name, size in _cut_sizes(mixer):
            if size % tp:
                yield f"its {size} {name} do not divide by tp {tp}"
        for name, size in _shared_sizes(mixer):
            if size % tp and tp % size:
                yield f"its {size} {name} do not divide by tp {tp}, nor tp by them"
    for ffn in model.ffn.values():
        if isinstance(ffn, Ffn) and ffn.intermediate_size % tp:
            yield f"its {ffn.intermediate_size} FFN channels do not divide by tp {tp}"
        if isinstance(ffn, Moe) and ffn.experts % ep:
            yield f"its {ffn.experts} experts do not divide by ep {ep}"
        if isinstance(ffn, Moe) and ffn.intermediate_size * ep % ranks:
            yield f"the {ffn.intermediate_size} channels of its experts do not divide by tp {tp} x dp {layout.dp}"


def _cut_sizes(mixer: Mixer) -> tuple[tuple[str, int], ...]:
    """Return the numbers that tensor parallelism must divide: heads, groups of heads, inner channels."""
    if isinstance(mixer, Compressed):
        return ("heads", mixer.heads), ("output groups", mixer.output_groups)
    if isinstance(mixer, Delta):
        return ("key heads", mixer.key_heads), ("value heads", mixer.value_heads)
    if isinstance(mixer, Mamba1):
        return (("inner channels", mixer.inner_size),)
    return (("heads", mixer.heads),)


def _shared_sizes(mixer: Mixer) -> tuple[tuple[str, int], ...]:
    """Return the numbers that tensor parallelism divides, or is a multiple of: ranks then hold the same one."""
    if isinstance(mixer, Gqa):
        return (("KV heads", mixer.kv_heads),)
    return (("groups", mixer.groups),) if isinstance(mixer, Mamba2) else ()


def _as_wanted(wanted: DeploymentRequest, layout: Layout) -> bool:
    return all(getattr(wanted, name) in (None, getattr(layout, name)) for name in ("tp", "pp", "ep", "dp"))


def _deployment(question: Question, gpu: Gpu, layout: Layout, weight: WeightDtype, kv: KvDtype) -> Deployment:
    scheduler = question.engine.scheduler
    default = scheduler.batching(gpu.memory_bytes, gpu.architecture)
    batching = default.model_copy(
        update={
            "max_num_seqs": question.wanted.max_num_seqs or default.max_num_seqs,
            "max_num_batched_tokens": question.wanted.max_num_batched_tokens or default.max_num_batched_tokens,
        }
    )
    return Deployment.model_construct(
        model=question.model.name,
        engine=question.engine.name,
        stages=(Stage.model_construct(gpu=gpu.name, layers=None, layout=layout, weight_dtype=weight),),
        kv_dtype=kv,
        batching=batching,
        kv=KvPolicy(block_tokens=scheduler.block_tokens),
        offload=(),
        speculation=None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What each candidate can do for each bucket alone."""

    candidates: tuple[Candidate, ...]
    cost: ReplicaCost
    requests: Requests
    bounds: Bounds
    best: Operating
    """At the largest load that keeps every bound."""
    capacity: Floats
    """(C, B) requests/s, or requests in flight in closed loop; 0: cannot."""
    operating_points: int


def evaluate(
    candidates: Sequence[Candidate], cost: ReplicaCost, requests: Requests, buckets: Sequence[Bucket], closed: bool
) -> Evaluated:
    """Return the capacity of each candidate for each bucket, within the bucket's bounds.

    Parameters
    ----------
    cost : ReplicaCost
        Of the same candidates, in the same order.
    requests : Requests
        The buckets, as (1, B) arrays.
    closed : bool
        Capacity counts requests in flight instead of arrivals.
    """
    counted = 0
    bounds = bounds_of_buckets(buckets)
    test = keeps(bounds)

    def counting(state: Operating) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        nonlocal counted
        counted += state.step_s.size
        return test(state)

    best, possible = largest_load(cost, requests, counting)
    served = best.concurrency if closed else best.requests_per_s
    return Evaluated(
        candidates=tuple(candidates),
        cost=cost,
        requests=requests,
        bounds=bounds,
        best=best,
        capacity=np.where(possible & np.isfinite(served), served, 0.0),
        operating_points=counted,
    )


def excuses_of(evaluated: Evaluated, buckets: Sequence[Bucket]) -> list[Excuse]:
    """Return why each candidate that serves no bucket was dropped: memory, or a bound and by how much."""
    hopeless = np.flatnonzero(~np.any(evaluated.capacity > 0, axis=1))
    if hopeless.size == 0:
        return []
    fits = most_decodes(evaluated.cost, evaluated.requests) > 0
    idle = idle_metrics(evaluated)
    return [_excuse(evaluated, buckets, int(c), bool(fits[c].any()), idle) for c in hopeless]


def idle_metrics(evaluated: Evaluated) -> dict[str, Floats]:
    """Return each metric's bounded percentile with almost no load, (C, B): the best a candidate can do."""
    nearly_none = np.full_like(evaluated.capacity, 1e-6)
    state = operating(evaluated.cost, evaluated.requests, nearly_none)
    found = {}
    for metric in METRICS:
        quantile = getattr(evaluated.bounds, f"{metric}_quantile")
        found[metric] = np.asarray(getattr(state, f"{metric}_s")(evaluated.requests, quantile))
    return found


def _excuse(
    evaluated: Evaluated, buckets: Sequence[Bucket], row: int, fits: bool, idle: Mapping[str, Floats]
) -> Excuse:
    candidate = evaluated.candidates[row]
    if not fits:
        return Excuse(candidate=candidate.name, reason="memory", message=memory_message(evaluated, row))
    for metric in METRICS:
        bound = getattr(evaluated.bounds, f"{metric}_s")[0]
        over = idle[metric][row] > bound
        if over.any():
            b = int(np.argmax(np.where(over, idle[metric][row] / bound, 0.0)))
            label = getattr(buckets[b].slo, metric).label
            said = (
                f"{metric} {label} {brief(idle[metric][row][b], 's')} without load; the bound is {brief(bound[b], 's')}"
            )
            return Excuse(candidate=candidate.name, reason="slo", message=said)
    return Excuse(
        candidate=candidate.name, reason="slo", message="no batch leaves room for the spread of requests in flight"
    )


def memory_message(evaluated: Evaluated, row: int) -> str:
    """Return what a replica's memory lacks, in words."""
    memory = evaluated.cost.memory
    pool, weights, device = (float(a[row, 0]) for a in (memory.pool_bytes, memory.weights_bytes, memory.device_bytes))
    if pool <= 0:
        fills = device - float(memory.reserved_bytes[row, 0])
        if weights > fills:
            return f"weights {brief(weights, 'B')} a GPU of {brief(device, 'B')}: {brief(-pool, 'B')} too much"
        parts = (memory.activation_bytes, memory.framework_bytes, memory.communication_bytes, memory.graph_bytes)
        rest = float(sum(part[row, 0] for part in parts))
        return (
            f"no room for KV: weights {brief(weights, 'B')} and activations {brief(rest, 'B')} a GPU, "
            f"of which the engine fills {brief(fills, 'B')}: {brief(-pool, 'B')} too much"
        )
    largest = float(np.max(evaluated.requests.largest))
    need = float(memory.sequence_bytes(np.array([[largest]]))[row, 0])
    return f"KV pool {brief(pool, 'B')} a GPU holds no request of {largest:.0f} tokens ({brief(need, 'B')})"
