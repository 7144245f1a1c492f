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

and costs the sum of one curve a feature, sampled from the forms of its operators (`perf/kernels`). A new technique adds
features, never a second cost path.

Assumptions: attention data parallelism splits every feature evenly over its ranks; latent projections of MLA run in
unabsorbed form (same arithmetic); pipeline stages hold equal numbers of layers, the last one the head and the host.
Indexers, compressed entries and states take the parameters of attention: no kernel of them was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from llmplan.perf.block_parts import (
    elementwise_part,
    gemm_part,
    head_part,
    hop_part,
    host_part,
    moe_parts,
    tensor_parallel_parts,
)
from llmplan.perf.curves import GRID, ONE, Curve, places, smoothed, through
from llmplan.perf.fits import Replicas
from llmplan.perf.mixer_parts import mixer_parts
from llmplan.perf.part import Part
from llmplan.perf.roofline import Floats
from llmplan.perf.shapes import ffn_matrices, mixer_matrices
from llmplan.perf.told import Told
from llmplan.spec.model import Compressed, Model, Module, Moe, State

BATCHED = ("tokens", "sequences", "prefill_tokens")
"""Features that grow with the batch: a larger one is no less efficient."""


def unmeasured(model: Model) -> list[str]:
    """Return the kinds of kernel in a model that no fitted row times."""
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
class StepCost:
    """Seconds of one engine step of C replicas."""

    latency: Mapping[str, Curve]
    """By feature: all stages and hops of one microbatch."""
    period: Mapping[str, Curve]
    """By feature: the slowest stage, what throughput sees."""
    replicas: Replicas
    tokens_per_sequence: float = 1.0
    """Tokens that one sequence gains in one step; more than 1 with speculation."""

    def parts(self) -> tuple[Part, ...]:
        """Return the operators that the curves are sums of."""
        return (*_parts(self.replicas), hop_part(self.replicas))

    def latency_s(self, features: Mapping[str, Floats]) -> Floats:
        """Return seconds from the start of a step to its end, (C, N)."""
        return _summed(self.latency, features)

    def cycle_s(self, features: Mapping[str, Floats]) -> Floats:
        """Return seconds between two steps of one microbatch: its latency, or the pipeline's turn if longer."""
        latency = self.latency_s(features)
        if not np.any(self.replicas.pp > 1):
            return latency
        return np.maximum(latency, self.replicas.pp * _summed(self.period, features))

    def work(self, features: Mapping[str, Floats]) -> dict[str, Told]:
        """Return what each operator does in such a step and how long its form takes, longest first.

        Their sum is that of the curves but for what lies between their knots.
        """
        found: dict[str, Told] = {}
        for part in self.parts():
            x = features.get(part.feature)
            if x is not None:
                here = _told(part, x, self.replicas.memory_bytes_per_s)
                found[part.operator] = here + found[part.operator] if part.operator in found else here
        return dict(sorted(found.items(), key=lambda item: -float(np.sum(item[1].seconds))))


def _told(part: Part, x: Floats, memory_bytes_per_s: Floats) -> Told:
    """Return what one part does at `x`; below 1 nothing runs."""
    runs = x >= 1
    at = np.maximum(x, 1.0)
    work = part.work(at)
    seconds = part.seconds(at)
    own = {
        "seconds": seconds,
        "unfed_s": seconds if part.fed is None else part.fed(at),
        "flop": work.flop,
        "moved_bytes": work.moved_bytes,
        "sent_bytes": work.sent_bytes,
        "compute_s": work.flop / part.flop_per_s,
        "memory_s": work.moved_bytes / memory_bytes_per_s,
        "link_s": 0.0 if part.link_bytes_per_s is None else work.sent_bytes / part.link_bytes_per_s,
    }
    rows = {name: np.where(runs, value, 0.0) for name, value in own.items()}
    return Told(**rows, kernel=part.kernel, basis=part.basis)


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
    """Return the cost of one engine step of each replica; replicas that differ in stages and limits only cost alike."""
    first, like = replicas.alike
    parts = tuple(_parts(replicas.of(first)))
    hop = hop_part(replicas)
    count = replicas.model.layer_count
    in_slowest = np.ceil(count / replicas.pp) / count
    latency, period = {}, {}
    for feature in dict.fromkeys(p.feature for p in parts):
        own = [p for p in parts if p.feature == feature]
        knots = ONE if all(p.straight for p in own) else GRID
        asked = places(knots)
        at = np.broadcast_to(asked, (len(first), len(asked)))
        layers_s, last_s = (_sampled([p for p in own if p.where == where], at)[like] for where in ("layers", "last"))
        whole, slowest = layers_s + last_s, layers_s * in_slowest + last_s
        if feature == hop.feature:
            whole = whole + hop.seconds(np.broadcast_to(asked, whole.shape))
        if feature in BATCHED:
            whole, slowest = smoothed(whole), smoothed(slowest)
        latency[feature], period[feature] = through(whole, knots), through(slowest, knots)
    return StepCost(latency=latency, period=period, replicas=replicas)


def _sampled(parts: list[Part], at: Floats) -> Floats:
    return sum((np.broadcast_to(p.seconds(at), at.shape) for p in parts), np.zeros_like(at))


def _parts(r: Replicas) -> Iterable[Part]:
    model = r.model
    yield host_part(r)
    for mixer, ffn, count in model.runs():
        if mixer is not None:
            module: Module = "state" if isinstance(mixer, State) else "attention"
            for matrix in mixer_matrices(mixer, model.hidden_size, r.tp):
                yield gemm_part(r, matrix, module, count)
            yield from mixer_parts(r, mixer, count)
        if isinstance(ffn, Moe):
            yield from moe_parts(r, ffn, count)
        elif ffn is not None:
            for matrix in ffn_matrices(ffn, model.hidden_size, r.tp):
                yield gemm_part(r, matrix, "ffn", count)
        blocks = (mixer is not None) + (ffn is not None)
        yield elementwise_part(r, mixer, blocks, count)
        yield from tensor_parallel_parts(r, ffn, blocks, count)
    yield head_part(r)
