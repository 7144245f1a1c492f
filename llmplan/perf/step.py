"""Operators of one engine step → StepCost: what everything above produces and everything below reads.

One step of a replica (of one of its `pp` microbatches) is described by features:

    tokens                   decodes and prefill chunks together: matrix products, experts, collectives, elementwise
    prefill_tokens           chunks: queries, outputs and KV written by prefill attention, and its fixed time
    prefill_pairs            Σ query-key pairs of the chunks in units of 1024, attention that sees every token
    prefill_pairs_R          the same of attention that reads R tokens at most (window, chosen by an indexer)
    sequences                decodes: output head, work units of decode attention, states read and written
    decode_context           Σ cached tokens read, attention that sees every token
    decode_context_R         the same of attention that reads R tokens at most
    steps                    1: host time of a step and of its layers

and costs the sum of one curve a feature. A new technique adds features, never a second cost path.

Assumptions: attention data parallelism splits every feature evenly over its ranks; latent projections of MLA run in
unabsorbed form (same arithmetic); pipeline stages hold equal numbers of layers, the last one the head and the host.
Indexers, compressed entries and states are rooflines with the constants of attention: no kernel of them was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmplan.perf.attention import Heads, decode, prefill
from llmplan.perf.collectives import collective_s, send_s
from llmplan.perf.curves import Curve, curve
from llmplan.perf.elementwise import ELEMENTWISE, elementwise, fixed_s
from llmplan.perf.fits import Replicas
from llmplan.perf.gemm import gemm
from llmplan.perf.moe import experts
from llmplan.perf.roofline import Constants, Floats, Work, overlapped_s, serial_s
from llmplan.perf.shapes import Matrix, ffn_matrices, latent_matrices, mixer_matrices, shared_matrices
from llmplan.perf.states import prefill_work
from llmplan.spec.caches import INDEX_BYTES, reach_of, state_bytes
from llmplan.spec.model import Compressed, Ffn, Gqa, Indexer, Mixer, Mla, Model, Module, Moe, State

TOKEN_GRID = 2.0 ** np.arange(0, 18)
"""Knots for experts, whose cost bends everywhere: how many of them are touched grows with the tokens."""
PAIRS_UNIT = 1024.0
"""Query-key pairs in one unit of their feature: one pair takes too few picoseconds to be rounded to whole ones."""
MLA_TILE_HEADS = 64
"""Query heads in one tile of MLA decode kernels (FlashMLA: tiles of 64 rows)."""
ACTIVATION_BYTES = 2.0
"""Bytes of one activation between operators."""

Cost = Callable[[Floats], Floats]


def context_feature(reach: float) -> str:
    """Return the feature that counts cached tokens read by decodes that read at most `reach` of them."""
    return "decode_context" if math.isinf(reach) else f"decode_context_{reach:.0f}"


def pairs_feature(reach: float) -> str:
    """Return the feature that counts query-key pairs of chunks whose queries read at most `reach` tokens."""
    return "prefill_pairs" if math.isinf(reach) else f"prefill_pairs_{reach:.0f}"


def unmeasured(model: Model) -> list[str]:
    """Return the kinds of kernel in a model that no fitted row times: rooflines with the constants of attention."""
    found = []
    mixers = list(model.attention.values())
    if any(isinstance(mixer, State) for mixer in mixers):
        found.append("linear attention or state space layers")
    if any(getattr(mixer, "sparse_tokens", None) for mixer in mixers):
        found.append("attention over tokens that an indexer chooses")
    if any(isinstance(mixer, Compressed) for mixer in mixers):
        found.append("attention over compressed entries")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One operator of all layers of a replica: its cost over one feature, and where that bends."""

    operator: str
    feature: str
    seconds: Cost  # (C, K) → (C, K)
    knots: Floats  # (C, n), possibly n = 0
    where: Literal["layers", "last", "between"] = "layers"
    """Spread over the stages of a pipeline, on the last one, or between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """Seconds of one engine step of C replicas."""

    latency: Mapping[str, Curve]
    """By feature: all stages and hops of one microbatch."""
    period: Mapping[str, Curve]
    """By feature: the slowest stage, what throughput sees."""
    parts: tuple[Part, ...]
    pp: Floats  # (C, 1)
    tokens_per_sequence: float = 1.0
    """Tokens that one sequence gains in one step; more than 1 with speculation."""

    def latency_s(self, features: Mapping[str, Floats]) -> Floats:
        """Return seconds from the start of a step to its end, (C, N)."""
        return _summed(self.latency, features)

    def cycle_s(self, features: Mapping[str, Floats]) -> Floats:
        """Return seconds between two steps of one microbatch: its latency, or the pipeline's turn if longer."""
        latency = self.latency_s(features)
        if not np.any(self.pp > 1):
            return latency
        return np.maximum(latency, self.pp * _summed(self.period, features))

    def shares(self, features: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return the seconds of each operator in such a step, (C, N) each, largest first."""
        seconds: dict[str, Floats] = {}
        for part in self.parts:
            x = features.get(part.feature)
            if x is None:
                continue
            here = np.where(x >= 1, part.seconds(np.maximum(x, 1.0)), 0.0)
            seconds[part.operator] = seconds.get(part.operator, np.zeros_like(here)) + here
        return dict(sorted(seconds.items(), key=lambda item: -float(np.sum(item[1]))))


def _summed(curves: Mapping[str, Curve], features: Mapping[str, Floats]) -> Floats:
    total: Floats | None = None
    for name, x in features.items():
        if name in curves:
            here = curves[name].seconds(x)
            total = here if total is None else total + here
    if total is None:
        raise ValueError("a step needs at least one feature")
    return total


def step_cost(replicas: Replicas) -> StepCost:
    """Return the cost of one engine step of each replica."""
    parts = tuple(_parts(replicas))
    layers = replicas.model.layer_count
    in_slowest = np.ceil(layers / replicas.pp) / layers
    latency, period = {}, {}
    for feature in dict.fromkeys(p.feature for p in parts):
        own = [p for p in parts if p.feature == feature]
        knots = np.concatenate([p.knots for p in own], axis=1)
        latency[feature] = curve(_total(own), knots)
        spread, last = ([p for p in own if p.where == where] for where in ("layers", "last"))
        if spread or last:
            period[feature] = curve(_slowest(_total(spread), in_slowest, _total(last)), knots)
    return StepCost(latency=latency, period=period, parts=parts, pp=replicas.pp)


def _total(parts: list[Part]) -> Cost:
    return lambda x: sum((p.seconds(x) for p in parts), np.zeros_like(x))


def _slowest(spread: Cost, share: Floats, last: Cost) -> Cost:
    return lambda x: spread(x) * share + last(x)


def _parts(r: Replicas) -> Iterable[Part]:
    model = r.model
    yield _host(r)
    for mixer, ffn, count in model.runs():
        if mixer is not None:
            module: Module = "state" if isinstance(mixer, State) else "attention"
            for matrix in mixer_matrices(mixer, model.hidden_size, r.tp):
                yield _gemm_part(r, matrix, module, count)
            yield from _state_parts(r, mixer, count) if isinstance(mixer, State) else _attention_parts(r, mixer, count)
        if isinstance(ffn, Moe):
            yield from _moe_parts(r, ffn, count)
        elif ffn is not None:
            for matrix in ffn_matrices(ffn, model.hidden_size, r.tp):
                yield _gemm_part(r, matrix, "ffn", count)
        blocks = (mixer is not None) + (ffn is not None)
        yield _elementwise_part(r, mixer, blocks, count)
        yield from _tensor_parallel_parts(r, ffn, blocks, count)
    yield _head_part(r)
    yield _hop_part(r)


def _host(r: Replicas) -> Part:
    seconds = r.host_step_s + r.host_layer_s * r.model.layer_count
    return Part(operator="host", feature="steps", seconds=lambda x: seconds * x, knots=_none(r), where="last")


def _none(r: Replicas) -> Floats:
    return np.zeros((len(r), 0))


def _gemm_part(r: Replicas, matrix: Matrix, module: Module, count: int) -> Part:
    form = r.formats[module]
    fit, peak, kept, activation = form.constants, form.flop_per_s, form.weight_bytes, form.activation_bytes

    def seconds(x: Floats) -> Floats:
        work = gemm(x / r.dp, matrix.n, matrix.k, kept, activation)
        quantize = fit.unit_s * x / r.dp / r.multiprocessors
        return np.asarray(count * (overlapped_s(work, peak, r.memory_bytes_per_s, fit) + quantize))

    compute = 2 * matrix.elements / (peak * fit.compute_efficiency)
    bandwidth = r.memory_bytes_per_s * fit.memory_efficiency
    knee = _knee(compute, kept * matrix.elements / bandwidth, (activation * matrix.k + 2 * matrix.n) / bandwidth)
    return Part(operator=matrix.name, feature="tokens", seconds=seconds, knots=knee * r.dp)


def _knee(compute: Floats, fixed: Floats, moved: Floats) -> Floats:
    """Return x where compute·x = fixed + moved·x, or 1 where memory always binds."""
    slope = compute - moved
    return np.where(slope > 0, fixed / np.where(slope > 0, slope, 1.0), 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What attention reads of the cached tokens of a sequence."""

    operator: str
    first: Heads
    """As prefill sees it."""
    later: Heads
    """As decode sees it."""
    reach: float = math.inf
    """Tokens read at most."""
    share: float = 1.0
    """Entries read for one token."""


def _attention_parts(r: Replicas, attention: Gqa | Mla | Compressed, count: int) -> Iterable[Part]:
    views = _views(r, attention)
    family = "attention" if isinstance(attention, Gqa) else "mla"
    fit_prefill, fit_decode = r.constants[f"{family}_prefill"], r.constants[f"{family}_decode"]
    for view in views:
        yield from _view_parts(r, view, (fit_prefill, fit_decode), count)
    main = views[0]

    def chunk_s(x: Floats) -> Floats:
        return np.asarray(count * _serial(r, prefill(x / r.dp, 0.0, main.first), fit_prefill))

    def sequence_s(x: Floats) -> Floats:
        moved = decode(x / r.dp, 0.0, main.later).moved_bytes / (r.memory_bytes_per_s * fit_decode.memory_efficiency)
        units = fit_decode.unit_s * main.later.units_per_sequence * x / r.dp / r.multiprocessors
        return count * (moved + units)

    none = _none(r)
    yield Part(operator="prefill_attention", feature="prefill_tokens", seconds=chunk_s, knots=none)
    yield Part(operator="decode_attention", feature="sequences", seconds=sequence_s, knots=none)


def _view_parts(r: Replicas, view: View, fits: tuple[Constants, Constants], count: int) -> Iterable[Part]:
    fit_prefill, fit_decode = fits

    def pairs_s(x: Floats) -> Floats:
        compared = prefill(0.0, view.share * PAIRS_UNIT * x / r.dp, view.first)
        return np.asarray(count * (_serial(r, compared, fit_prefill) - fit_prefill.fixed_s))

    def context_s(x: Floats) -> Floats:
        work = decode(0.0, view.share * x / r.dp, view.later)
        return np.asarray(count * overlapped_s(work, r.bf16_flop_per_s, r.memory_bytes_per_s, fit_decode))

    none = _none(r)
    yield Part(operator=f"prefill_{view.operator}", feature=pairs_feature(view.reach), seconds=pairs_s, knots=none)
    yield Part(operator=f"decode_{view.operator}", feature=context_feature(view.reach), seconds=context_s, knots=none)


def _serial(r: Replicas, work: Work, fit: Constants) -> Floats:
    return serial_s(work, r.bf16_flop_per_s, r.memory_bytes_per_s, fit)


def _views(r: Replicas, attention: Gqa | Mla | Compressed) -> list[View]:
    """Return what attention reads on one rank, the attention itself first."""
    if isinstance(attention, Gqa):
        heads = _grouped(r, attention)
        views = [View(operator="attention", first=heads, later=heads, reach=reach_of(attention))]
        return views + _index_views(r, attention.indexer, 1.0)
    if isinstance(attention, Compressed):
        return _compressed_views(r, attention)
    absorbed = _absorbed(r, attention)
    if attention.sparse_tokens is None:
        return [View(operator="attention", first=_expanded(r, attention), later=absorbed)]
    views = [View(operator="attention", first=absorbed, later=absorbed, reach=reach_of(attention))]
    return views + _index_views(r, attention.indexer, 1.0)


def _grouped(r: Replicas, attention: Gqa) -> Heads:
    kv = np.maximum(attention.kv_heads / r.tp, 1.0)
    return Heads(
        query=attention.heads / r.tp,
        kv=kv,
        width=float(attention.head_dim + attention.value_dim),
        kv_width=float(attention.kv_width),
        kv_bytes=r.kv_bytes,
        units_per_sequence=kv,
    )


def _expanded(r: Replicas, attention: Mla) -> Heads:
    """Return latent attention with the keys and values of every head made from the latent: prefill."""
    query = attention.heads / r.tp
    width = float(attention.qk_nope_head_dim + attention.qk_rope_head_dim + attention.v_head_dim)
    return Heads(query=query, kv=query, width=width, kv_width=width, kv_bytes=r.kv_bytes, units_per_sequence=query)


def _absorbed(r: Replicas, attention: Mla) -> Heads:
    """Return latent attention over the latents themselves: decode, and prefill over chosen tokens."""
    latent = float(attention.kv_width)
    return _shared_key(r, attention.heads / r.tp, latent + attention.kv_lora_rank, latent)


def _shared_key(r: Replicas, query: Floats, width: float, kv_width: float) -> Heads:
    """Return heads that all read one key of a token."""
    return Heads(
        query=query,
        kv=np.ones_like(query),
        width=width,
        kv_width=kv_width,
        kv_bytes=r.kv_bytes,
        units_per_sequence=np.ceil(query / MLA_TILE_HEADS),
    )


def _compressed_views(r: Replicas, attention: Compressed) -> list[View]:
    """Return the window, the entries before it, and the indexer that chooses among them."""
    heads = _shared_key(r, attention.heads / r.tp, 2.0 * attention.head_dim, float(attention.head_dim))
    views = [View(operator="attention", first=heads, later=heads, reach=float(attention.window))]
    if attention.compress_ratio is None:
        return views
    share, reach = 1 / attention.compress_ratio, float(attention.sparse_tokens or math.inf)
    views.append(View(operator="entries", first=heads, later=heads, reach=reach, share=share))
    return views + _index_views(r, attention.indexer, share)


def _index_views(r: Replicas, indexer: Indexer | None, share: float) -> list[View]:
    """Return an indexer's look at all tokens; every rank does it whole, and there are no values."""
    if indexer is None:
        return []
    width = float(indexer.head_dim)
    small = np.full_like(r.tp, INDEX_BYTES)
    heads = Heads(
        query=float(indexer.heads), kv=1.0, width=width, kv_width=width, kv_bytes=small, units_per_sequence=1.0
    )
    return [View(operator="indexer", first=heads, later=heads, share=share)]


def _state_parts(r: Replicas, mixer: State, count: int) -> Iterable[Part]:
    """Recurrence of linear attention and SSM layers: chunks by token, decodes read and write their state."""
    fit = r.constants["attention_prefill"]
    fit_decode = r.constants["attention_decode"]
    kept = state_bytes(mixer) / r.tp

    def chunk_s(x: Floats) -> Floats:
        return np.asarray(count * _serial(r, prefill_work(x / r.dp, mixer, r.tp), fit))

    def sequence_s(x: Floats) -> Floats:
        return np.asarray(count * 2.0 * kept * x / r.dp / (r.memory_bytes_per_s * fit_decode.memory_efficiency))

    none = _none(r)
    yield Part(operator="prefill_state", feature="prefill_tokens", seconds=chunk_s, knots=none)
    yield Part(operator="decode_state", feature="sequences", seconds=sequence_s, knots=none)


def _moe_parts(r: Replicas, moe: Moe, count: int) -> Iterable[Part]:
    hidden = float(r.model.hidden_size)
    width = float(moe.latent_size or hidden)
    inter = moe.intermediate_size * r.ep / (r.tp * r.dp)
    form = r.formats["experts"]
    counts = (moe.experts, moe.experts_per_token)

    def routed_s(x: Floats) -> Floats:
        work = experts(x, width, inter, counts, r.ep, form.weight_bytes, matrices=moe.matrices)
        return np.asarray(count * overlapped_s(work, form.flop_per_s, r.memory_bytes_per_s, form.constants))

    grid = np.broadcast_to(TOKEN_GRID, (len(r), TOKEN_GRID.size))
    yield Part(operator="experts", feature="tokens", seconds=routed_s, knots=grid)
    router = Matrix(name="router", n=np.full_like(r.tp, moe.experts), k=np.full_like(r.tp, hidden))
    yield _gemm_part(r, router, "router", count)
    for matrix in shared_matrices(moe, hidden, r.tp):
        yield _gemm_part(r, matrix, "shared_experts", count)
    for matrix in latent_matrices(moe, hidden, r.tp):
        yield _gemm_part(r, matrix, "latent", count)


def _elementwise_part(r: Replicas, mixer: Mixer | None, blocks: int, count: int) -> Part:
    """Norms, sums and activations; a layer with one block has half of them, several streams move as many copies."""
    kernels = ELEMENTWISE.kernels_gqa if mixer is None or isinstance(mixer, Gqa) else ELEMENTWISE.kernels_mla
    fixed = kernels * blocks / 2 * fixed_s(r.clock_hz)
    passes = ELEMENTWISE.passes * blocks / 2 * r.model.residual_streams

    def seconds(x: Floats) -> Floats:
        work = elementwise(x / r.dp, r.model.hidden_size, passes)
        return count * (fixed + work.moved_bytes / (r.memory_bytes_per_s * ELEMENTWISE.memory_efficiency))

    return Part(operator="elementwise", feature="tokens", seconds=seconds, knots=_none(r))


def _tensor_parallel_parts(r: Replicas, ffn: Ffn | Moe | None, blocks: int, count: int) -> Iterable[Part]:
    """All-reduces over tp, one a block; with attention data parallelism, experts gather and scatter over all ranks."""
    hidden = float(r.model.hidden_size)
    sparse = isinstance(ffn, Moe)

    def reduce_s(x: Floats) -> Floats:
        reduces = np.where((r.dp > 1) & sparse, blocks - 1.0, float(blocks))
        return count * reduces * all_reduce_s(r, ACTIVATION_BYTES * x / r.dp * hidden)

    def exchange_s(x: Floats) -> Floats:
        ranks = np.where(r.dp > 1, r.tp * r.dp, 1.0)
        size = ACTIVATION_BYTES * x * hidden
        gather = collective_s(size, ranks, r.link_bytes_per_s, r.links["all_gather"], "all_gather")
        scatter = collective_s(size, ranks, r.link_bytes_per_s, r.links["reduce_scatter"], "reduce_scatter")
        return np.asarray(count * (gather + scatter))

    yield Part(operator="all_reduce", feature="tokens", seconds=reduce_s, knots=_reduce_knot(r, hidden))
    if sparse and np.any(r.dp > 1):
        yield Part(operator="expert_exchange", feature="tokens", seconds=exchange_s, knots=_none(r))


def all_reduce_s(r: Replicas, buffer_bytes: Floats) -> Floats:
    """Return seconds of one all-reduce over tp: the library's ring or the engine's one-shot, whichever is faster."""
    ways = [
        collective_s(buffer_bytes, r.tp, r.link_bytes_per_s, r.links[name], "all_reduce")
        for name in ("all_reduce", "all_reduce_one_shot")
    ]
    return np.minimum(*ways)


def _reduce_knot(r: Replicas, hidden: float) -> Floats:
    """Return the tokens where ring and one-shot all-reduce cost the same."""
    ring, shot = r.links["all_reduce"], r.links["all_reduce_one_shot"]
    extra = np.maximum(r.tp - 2, 0)
    fixed = ring.fixed_s - shot.fixed_s + (ring.rank_s - shot.rank_s) * extra
    per_byte = (1 / shot.link_efficiency - 1 / ring.link_efficiency) * 2 * (r.tp - 1) / r.tp / r.link_bytes_per_s
    per_token = per_byte * ACTIVATION_BYTES * hidden / r.dp
    crossing = np.where(fixed * per_token > 0, fixed / np.where(per_token == 0, 1.0, per_token), 1.0)
    return np.asarray(crossing)


def _head_part(r: Replicas) -> Part:
    matrix = Matrix(name="head", n=r.model.vocab_size / r.tp, k=np.full_like(r.tp, r.model.hidden_size))
    inner = _gemm_part(r, matrix, "head", 1)
    host = r.host_sequence_s

    def seconds(x: Floats) -> Floats:
        return inner.seconds(x) + host * x

    return Part(operator="head", feature="sequences", seconds=seconds, knots=inner.knots, where="last")


def _hop_part(r: Replicas) -> Part:
    """Activations passed on between pipeline stages."""
    wire = np.where(r.spans_hosts > 0, r.network_bytes_per_s, r.link_bytes_per_s)
    latency_s = np.where(r.spans_hosts > 0, r.network_latency_s, r.link_latency_s)

    def seconds(x: Floats) -> Floats:
        message = ACTIVATION_BYTES * x / r.dp * r.model.hidden_size / r.tp
        return (r.pp - 1) * send_s(message, wire, latency_s)

    return Part(operator="stage_hop", feature="tokens", seconds=seconds, knots=_none(r), where="between")
