"""Matrix products, experts, elementwise operators and collectives of a step as parts of its cost.

Each form is asked cold: in a step of a model no weight is in L2 when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from llmplan.perf.elementwise import ELEMENTWISE, elementwise, fixed_s
from llmplan.perf.fits import Replicas
from llmplan.perf.gemm import gemm
from llmplan.perf.kernels import collectives
from llmplan.perf.kernels import experts as experts_form
from llmplan.perf.kernels import gemm as gemm_form
from llmplan.perf.kernels.chip import Parameters
from llmplan.perf.kernels.routing import Routed, routed
from llmplan.perf.moe import experts
from llmplan.perf.part import Part
from llmplan.perf.roofline import Floats, Work
from llmplan.perf.shapes import Matrix, latent_matrices, shared_matrices
from llmplan.spec.fits import Basis
from llmplan.spec.model import Ffn, Gqa, Mixer, Module, Moe

ACTIVATION_BYTES = 2.0
"""Bytes of one activation between operators."""
ENDLESS_FEED = 1e12
"""Bytes a clock that no multiprocessor takes in."""
ALL_REDUCES = ("all_reduce", "all_reduce_vllm_graph")
"""The library's, and an engine's own for short messages: the faster one runs."""


def host_part(r: Replicas) -> Part:
    """Return the time of the host in each step."""
    seconds = r.host_step_s + r.host_layer_s * r.model.layer_count
    return Part(
        operator="host", feature="steps", seconds=lambda x: seconds * x, work=_nothing, flop_per_s=r.bf16_flop_per_s,
        straight=True, where="last",
    )  # fmt: skip


def _nothing(x: Floats) -> Work:
    return Work(flop=0.0 * x, moved_bytes=0.0 * x)


def gemm_part(r: Replicas, matrix: Matrix, module: Module, count: int) -> Part:
    """Return `count` products with one weight matrix."""
    form = r.formats[module]
    peak, kept, activation = form.flop_per_s, form.weight_bytes, form.activation_bytes

    def timed(x: Floats, more: Parameters) -> Floats:
        m = np.maximum(x / r.dp, 1.0)
        found = np.empty(m.shape)
        for cut, splits, rows in form.cuts:
            p: Parameters = {**{name: v[rows] for name, v in form.kernels.parameters.items()}, **more}
            if not splits:
                p = {name: value for name, value in p.items() if name != "split_s"}
            found[rows] = gemm_form.seconds(
                m[rows], matrix.n[rows], matrix.k[rows], kept[rows], activation[rows], r.chip(peak, rows), p,
                cold=True, cut=cut,
            )  # fmt: skip
        return count * found

    def seconds(x: Floats) -> Floats:
        return timed(x, {})

    def fed(x: Floats) -> Floats:
        return timed(x, {"feed_bytes": ENDLESS_FEED})

    def work(x: Floats) -> Work:
        return _times(gemm(np.maximum(x / r.dp, 1.0), matrix.n, matrix.k, kept, activation), count)

    return Part(
        operator=matrix.name, feature="tokens", seconds=seconds, work=work, flop_per_s=peak, fed=fed, kernel="gemm",
        basis=form.kernels.basis,
    )  # fmt: skip


def _times(work: Work, count: float) -> Work:
    return Work(flop=count * work.flop, moved_bytes=count * work.moved_bytes, sent_bytes=count * work.sent_bytes)


def moe_parts(r: Replicas, moe: Moe, count: int) -> Iterable[Part]:
    """Yield routed experts, their router, and what stands beside them, of `count` layers."""
    hidden = float(r.model.hidden_size)
    width = float(moe.latent_size or hidden)
    inter = moe.intermediate_size * r.ep / (r.tp * r.dp)
    form = r.formats["experts"]
    skew = np.full_like(r.ep, r.routing_skew)

    def busiest(tokens: Floats) -> Routed:
        experts, chosen = (np.full_like(r.ep, x) for x in (moe.experts, moe.experts_per_token))
        return routed(tokens, experts, chosen, r.ep, skew, blend=True)

    def seconds(x: Floats) -> Floats:
        tokens = np.ceil(x)
        one = experts_form.seconds(
            tokens, width, inter, moe.experts_per_token, moe.matrices - 1, busiest(tokens), form.weight_bytes,
            r.chip(form.flop_per_s), form.kernels.parameters, cold=True,
        )  # fmt: skip
        return count * one

    def work(x: Floats) -> Work:
        tokens = np.ceil(x)
        return _times(experts(tokens, width, inter, busiest(tokens), form.weight_bytes, moe.matrices), count)

    yield Part(
        operator="experts", feature="tokens", seconds=seconds, work=work, flop_per_s=form.flop_per_s, kernel="moe",
        basis=form.kernels.basis,
    )  # fmt: skip
    router = Matrix(name="router", n=np.full_like(r.tp, moe.experts), k=np.full_like(r.tp, hidden))
    yield gemm_part(r, router, "router", count)
    for matrix in shared_matrices(moe, hidden, r.tp):
        yield gemm_part(r, matrix, "shared_experts", count)
    for matrix in latent_matrices(moe, hidden, r.tp):
        yield gemm_part(r, matrix, "latent", count)


def elementwise_part(r: Replicas, mixer: Mixer | None, blocks: int, count: int) -> Part:
    """Norms, sums and activations; a layer with one block has half of them, several streams move as many copies."""
    kernels = ELEMENTWISE.kernels_gqa if mixer is None or isinstance(mixer, Gqa) else ELEMENTWISE.kernels_mla
    fixed = kernels * blocks / 2 * fixed_s(r.clock_hz)
    passes = ELEMENTWISE.passes * blocks / 2 * r.model.residual_streams

    other: Basis = "transferred"
    basis = (other,) * len(r)

    def work(x: Floats) -> Work:
        return _times(elementwise(x / r.dp, r.model.hidden_size, passes), count)

    def seconds(x: Floats) -> Floats:
        return count * fixed + work(x).moved_bytes / (r.memory_bytes_per_s * ELEMENTWISE.memory_efficiency)

    return Part(
        operator="elementwise", feature="tokens", seconds=seconds, work=work, flop_per_s=r.bf16_flop_per_s,
        kernel="elementwise", basis=basis,
    )  # fmt: skip


def tensor_parallel_parts(r: Replicas, ffn: Ffn | Moe | None, blocks: int, count: int) -> Iterable[Part]:
    """All-reduces over tp, one a block; with attention data parallelism, experts gather and scatter over all ranks."""
    hidden = float(r.model.hidden_size)
    sparse = isinstance(ffn, Moe)
    reduces = count * np.where((r.dp > 1) & sparse, blocks - 1.0, float(blocks))
    ranks = np.where(r.dp > 1, r.tp * r.dp, 1.0)

    def reduce_s(x: Floats) -> Floats:
        return np.asarray(reduces * all_reduce_s(r, ACTIVATION_BYTES * x / r.dp * hidden))

    def reduce_work(x: Floats) -> Work:
        sent = collectives.sent(True, r.tp) * ACTIVATION_BYTES * x / r.dp * hidden
        return Work(flop=0.0 * x, moved_bytes=0.0 * x, sent_bytes=reduces * sent)

    def exchange_s(x: Floats) -> Floats:
        size = ACTIVATION_BYTES * x * hidden
        return np.asarray(count * sum(_collective_s(r, name, size, ranks) for name in ("all_gather", "reduce_scatter")))

    def exchange_work(x: Floats) -> Work:
        sent = 2 * collectives.sent(False, ranks) * ACTIVATION_BYTES * x * hidden
        return Work(flop=0.0 * x, moved_bytes=0.0 * x, sent_bytes=count * sent)

    peak = r.bf16_flop_per_s
    if np.any(r.tp > 1):
        yield Part(
            operator="all_reduce", feature="tokens", seconds=reduce_s, work=reduce_work, flop_per_s=peak,
            link_bytes_per_s=r.link_bytes_per_s, kernel="all_reduce",
            basis=r.kernels["all_reduce"].basis,
        )  # fmt: skip
    if sparse and np.any(r.dp > 1):
        yield Part(
            operator="expert_exchange", feature="tokens", seconds=exchange_s, work=exchange_work, flop_per_s=peak,
            link_bytes_per_s=r.link_bytes_per_s, kernel="all_gather",
            basis=r.kernels["all_gather"].basis,
        )  # fmt: skip


def all_reduce_s(r: Replicas, buffer_bytes: Floats) -> Floats:
    """Return seconds of one all-reduce over tp: the library's or the engine's own, whichever is faster."""
    return np.minimum(*(_collective_s(r, name, buffer_bytes, r.tp) for name in ALL_REDUCES))


def _collective_s(r: Replicas, name: str, size_bytes: Floats, ranks: Floats) -> Floats:
    """Return seconds of one collective; one rank needs none."""
    several = np.maximum(ranks, 2.0)
    p, reduces = r.kernels[name].parameters, name.startswith("all_reduce")
    found = collectives.seconds(size_bytes, several, reduces, r.link_bytes_per_s, r.chip(), p)
    return np.where(ranks > 1, found, 0.0)


def head_part(r: Replicas) -> Part:
    """Return the output head, and the host's work for each sequence."""
    matrix = Matrix(name="head", n=r.model.vocab_size / r.tp, k=np.full_like(r.tp, r.model.hidden_size))
    inner = gemm_part(r, matrix, "head", 1)

    def seconds(x: Floats) -> Floats:
        return inner.seconds(x) + r.host_sequence_s * x

    def fed(x: Floats) -> Floats:
        return (inner.fed or inner.seconds)(x) + r.host_sequence_s * x

    return Part(
        operator="head", feature="sequences", seconds=seconds, work=inner.work, flop_per_s=inner.flop_per_s,
        where="last", fed=fed, kernel="gemm", basis=inner.basis,
    )  # fmt: skip


def hop_part(r: Replicas) -> Part:
    """Activations passed on between pipeline stages: between hosts at the bandwidth that their node has."""
    wire = np.where(r.spans_hosts > 0, r.network_bytes_per_s, r.link_bytes_per_s)
    near, far = (r.kernels[name].parameters["fixed_s"] for name in ("send_recv", "send_recv_between"))
    share = np.where(r.spans_hosts > 0, 1.0, r.kernels["send_recv"].parameters["link_efficiency"])
    fixed_s = np.where(r.spans_hosts > 0, far, near * r.chip().latency)

    def work(x: Floats) -> Work:
        message = ACTIVATION_BYTES * x / r.dp * r.model.hidden_size / r.tp
        return Work(flop=0.0 * x, moved_bytes=0.0 * x, sent_bytes=(r.pp - 1) * message)

    def seconds(x: Floats) -> Floats:
        return np.asarray((r.pp - 1) * fixed_s + work(x).sent_bytes / (wire * share))

    return Part(
        operator="stage_hop", feature="tokens", seconds=seconds, work=work, flop_per_s=r.bf16_flop_per_s,
        link_bytes_per_s=wire, kernel="send_recv", straight=True, where="between", basis=r.kernels["send_recv"].basis,
    )  # fmt: skip
