"""One replica in steady state: StepCost + memory → batch, TPOT, TTFT, rate.

Under a constant load X [requests/s] a microbatch runs n decodes. Each request brings p uncached prompt tokens in
k = ceil(p / (budget − n)) chunks and needs o₁ = output_tokens − 1 decode steps:

    f  = min(1, n·k/o₁)                      share of steps that hold a chunk
    P  = n·p/o₁                              prefill tokens in the mean step, at most budget − n
    s̄  = (1 − f)·s(n) + f·s(n, P/f)          mean step; TPOT = s̄
         + f·(1 − f)·(s_mix − s_dec)·(pp − 1)/pp     a chunk holds up the other microbatches of a pipeline
    X  = n / (o₁·s̄)                          so n = X·o₁·s̄ (Little)

Waiting uses stated approximations, marked `approximation` wherever they are printed:

    ρ    = X / (pp·X_sat), X_sat = (budget − n) / (s_full·p)    load of the prefill lane, s_full: step at full budget
    W̄    = ρ·D·(c_a² + c_p²) / (2(1 − ρ)), D = 1/X_sat          M/G/1 (Kingman); c_p²: spread of prompt lengths
    W_q  = (W̄/ρ)·ln(ρ/(1 − q))                                  exponential tail, 0 when ρ ≤ 1 − q
    TTFT = W + wait for the running step (s̄/2 in the mean, s̄ in a tail) + own chunks + first_token_steps·s̄
    n_q  = n + z_q·c_a·√n                                       requests in flight, Poisson-like (infinite server)
    TPOT_q = s̄ + s(n_q) − s(n) + z_q·(s_mix − s_dec)·√(f/o₁)    a crowd stays for a whole answer; chunks hit at random
    E2E_q  = TTFT_q + o_tail·TPOT_q                             o_tail: decode steps of a long answer

n_q must fit the KV pool and the engine's sequence limit, so that admission does not block. Limits of the engine are of
each attention data-parallel rank. Closed loop (a fixed number in flight) has no crowd (z = 0) and clockwork arrivals
(c_a = 0); its wait for a place in the batch is added in `evaluation.py`.
Limits: arrivals are split among replicas at random (a good router does better); no preemption; near ρ = 1 the tail is
a range, not a point.

References
----------
.. [1] Kingman, "The single server queue in heavy traffic", 1961.
.. [2] Whitt, "Heavy-traffic approximations for service systems with blocking", 1984.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from llmplan.perf.attention import causal_pairs
from llmplan.perf.fits import Replicas
from llmplan.perf.memory import MemoryBudget, memory_budget
from llmplan.perf.mixer_parts import PAIRS_UNIT, context_feature, pairs_feature
from llmplan.perf.roofline import Floats
from llmplan.perf.step import StepCost, step_cost
from llmplan.spec.caches import reaches
from llmplan.spec.workload import Bucket, Slo

Booleans = NDArray[np.bool_]

FEWEST_DECODES = 1e-6
"""Stands for o₁ = 0: requests of one output token never decode."""
ALMOST_NONE = 1e-6
"""Share of the largest batch that stands for no load."""
BISECTIONS = 24
"""Halvings of the logarithm of a batch: its capacity is then known to one in a million."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCost:
    """All that steady state and simulation need to know of C replicas."""

    step: StepCost
    memory: MemoryBudget
    max_num_seqs: Floats
    """Of all attention data-parallel ranks."""
    max_num_batched_tokens: Floats
    """Of all attention data-parallel ranks."""
    mixes: Floats
    first_token_steps: Floats
    pp: Floats
    reaches: tuple[float, ...]
    """How many cached tokens the model's attention reads at most, one for each kind."""


def replica_cost(replicas: Replicas) -> ReplicaCost:
    """Return step cost, memory and scheduler limits of each replica."""
    memory = memory_budget(replicas)
    return ReplicaCost(
        step=step_cost(replicas),
        memory=memory,
        max_num_seqs=replicas.max_num_seqs * replicas.dp,
        max_num_batched_tokens=replicas.max_num_batched_tokens * replicas.dp,
        mixes=replicas.mixes,
        first_token_steps=replicas.first_token_steps,
        pp=replicas.pp,
        reaches=reaches(replicas.model),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Mean requests of N kinds; (1, N) or (C, N) arrays. `perf/` reads traffic through this and nothing else."""

    prompt: Floats
    """Uncached prompt tokens."""
    prompt_square: Floats
    cached: Floats
    """Cached prompt tokens before them."""
    decodes: Floats
    """o₁: decode steps of one request."""
    decodes_tail: Floats
    """The same of a long answer: at the percentile of its E2E bound, or the 95th."""
    contexts: Mapping[float, Floats]
    """Mean cached tokens that one decode reads, by the reach of the attention."""
    reserved: Floats
    """Tokens whose KV a request holds at its end, for the memory limit."""
    largest: Floats
    """Tokens of the largest request: it must fit alone."""
    pairs: Mapping[float, Floats]
    """Query-key pairs of one prompt, by the reach of the attention."""
    gap_cv: float = 1.0
    """Coefficient of variation of the gaps between arrivals; 0: closed loop or clockwork."""
    closed: bool = False
    """A fixed number in flight: nothing can pile up without end."""

    @property
    def context(self) -> Floats:
        """Mean tokens of a request while it decodes."""
        return self.contexts[math.inf]


def requests_of(buckets: Sequence[Bucket], reaches: Sequence[float], gap_cv: float, closed: bool = False) -> Requests:
    """Return buckets as (1, B) arrays, for attention of these reaches.

    The mean context of a decode weighs long answers by their length: input + E[o²] / (2·E[o]).
    """
    row = {name: np.array([[getattr(b, name) for b in buckets]], dtype=float) for name in _BUCKET_FIELDS}
    cached = np.floor(row["input_tokens"] * row["cached_share"])
    prompt = np.maximum(row["input_tokens"] - cached, 1.0)
    context = row["input_tokens"] + row["output_tokens_square"] / (2 * row["output_tokens"])
    return Requests(
        prompt=prompt,
        prompt_square=prompt**2,
        cached=cached,
        decodes=np.maximum(row["output_tokens"] - 1, FEWEST_DECODES),
        decodes_tail=np.maximum(row["output_tokens_tail"] - 1, FEWEST_DECODES),
        contexts={reach: np.minimum(context, reach) for reach in reaches},
        reserved=row["input_tokens"] + row["output_tokens"],
        largest=row["input_tokens_max"] + row["output_tokens_max"],
        pairs={reach: causal_pairs(prompt, cached, reach) for reach in reaches},
        gap_cv=gap_cv,
        closed=closed,
    )


_BUCKET_FIELDS = (
    "input_tokens",
    "input_tokens_max",
    "cached_share",
    "output_tokens",
    "output_tokens_square",
    "output_tokens_max",
    "output_tokens_tail",
)


def mixed(kinds: Requests, rates: Floats) -> Requests:
    """Return the average request of a mix, (C, 1): prompts weigh by rate, decode contexts by rate and length.

    Parameters
    ----------
    kinds : Requests
        (1, B) arrays.
    rates : (C, B) array
        Arrivals of each kind at each replica; any scale.
    """
    weight = rates / rates.sum(axis=1, keepdims=True)

    def mean(values: Floats, w: Floats = weight) -> Floats:
        return np.asarray((values * w).sum(axis=1, keepdims=True))

    steps = weight * kinds.decodes
    by_steps = steps / steps.sum(axis=1, keepdims=True)
    used = np.where(weight > 0, kinds.largest, 0.0)
    return Requests(
        prompt=mean(kinds.prompt),
        prompt_square=mean(kinds.prompt_square),
        cached=mean(kinds.cached),
        decodes=mean(kinds.decodes),
        decodes_tail=mean(kinds.decodes_tail),
        contexts={reach: mean(context, by_steps) for reach, context in kinds.contexts.items()},
        reserved=mean(kinds.reserved, by_steps),
        largest=np.max(used, axis=1, keepdims=True),
        pairs={reach: mean(pairs) for reach, pairs in kinds.pairs.items()},
        gap_cv=kinds.gap_cv,
        closed=kinds.closed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Operating:
    """A replica at work with n decodes in each microbatch; (C, N) arrays."""

    cost: ReplicaCost
    requests: Requests
    decodes_in_step: Floats
    """n of one microbatch."""
    step_s: Floats
    """s̄, the mean step: mean TPOT."""
    decode_step_s: Floats
    mixed_step_s: Floats
    full_step_s: Floats
    """s_full: a step that uses the whole token budget."""
    chunk_share: Floats
    """f."""
    prefill_tokens: Floats
    """P."""
    requests_per_s: Floats
    """X of the replica, all microbatches."""
    lane_load: Floats
    """ρ of the prefill lane; 1 or more cannot be sustained."""
    lane_service_s: Floats
    """D."""

    @property
    def in_decode(self) -> Floats:
        """Requests decoding in the replica."""
        return self.decodes_in_step * self.cost.pp

    def ttft_mean_s(self, request: Requests) -> Floats:
        """Return the mean of arrival → first token of one kind of request."""
        return self.wait_s(None) + self.step_s / 2 + self.own_prefill_s(request) + self.first_token_s

    @property
    def first_token_s(self) -> Floats:
        """Time from the end of prefill to the first token at the client."""
        return self.cost.first_token_steps * self.step_s

    @property
    def concurrency(self) -> Floats:
        """Requests in the replica, waiting ones included (Little)."""
        return self.requests_per_s * (self.ttft_mean_s(self.requests) + self.requests.decodes * self.step_s)

    def wait_s(self, quantile: Floats | None) -> Floats:
        """Return the wait for the prefill lane: its mean, or a quantile of it."""
        spread = self.requests.prompt_square / self.requests.prompt**2 - 1
        load = np.minimum(self.lane_load, LOAD_CEILING if self.requests.closed else 1 - 1e-9)
        mean = load * self.lane_service_s * (self.requests.gap_cv**2 + spread) / (2 * (1 - load))
        if not self.requests.closed:
            mean = np.where(self.lane_load < 1, mean, np.inf)
        if quantile is None:
            return np.asarray(mean)
        tail = np.log(np.maximum(load / (1 - quantile), 1.0))
        return np.where(mean > 0, mean / np.maximum(load, 1e-12) * tail, 0.0)

    def own_prefill_s(self, request: Requests) -> Floats:
        """Return the time of a request's own chunks: full ones, then the rest of the prompt."""
        room = np.maximum(self.cost.max_num_batched_tokens - self.decodes_in_step, 1.0)
        full = np.ceil(request.prompt / room) - 1
        rest = request.prompt - full * room
        last = _mixed_step_s(self.cost, request, self.decodes_in_step, rest, np.ones_like(rest))
        return full * self.full_step_s + last

    def ttft_s(self, request: Requests, quantile: Floats) -> Floats:
        """Return a quantile of TTFT of one kind of request."""
        return self.wait_s(quantile) + self.step_s + self.own_prefill_s(request) + self.first_token_s

    def tpot_s(self, request: Requests, quantile: Floats) -> Floats:
        """Return a quantile of the per-request TPOT."""
        z = upper_normal(quantile) * (1.0 if self.requests.gap_cv else 0.0)
        crowd = self.crowd(quantile) / self.cost.pp
        more = _decode_step_s(self.cost, self.requests, crowd) - self.decode_step_s
        chunks = (self.mixed_step_s - self.decode_step_s) * np.sqrt(self.chunk_share / np.maximum(request.decodes, 1))
        return self.step_s + np.maximum(more, 0.0) + z * chunks

    def e2e_s(self, request: Requests, quantile: Floats) -> Floats:
        """Return a bound on a quantile of E2E: the TTFT quantile, and a long answer at the TPOT quantile."""
        return self.ttft_s(request, quantile) + request.decodes_tail * self.tpot_s(request, quantile)

    def crowd(self, quantile: Floats) -> Floats:
        """Return a quantile of the decodes in the replica."""
        return self.in_decode + upper_normal(quantile) * self.requests.gap_cv * np.sqrt(self.in_decode)


def upper_normal(quantiles: Floats) -> Floats:
    """Return z with P(Z ≤ z) = quantile for a standard normal Z, at least 0."""
    normal = NormalDist()
    return np.array([[max(normal.inv_cdf(float(q)), 0.0) for q in row] for row in np.atleast_2d(quantiles)])


def operating(cost: ReplicaCost, requests: Requests, in_decode: Floats) -> Operating:
    """Return the steady state with `in_decode` decodes in the replica.

    Parameters
    ----------
    in_decode : (C, N) array
        Mean requests decoding; need not be whole.
    """
    n = in_decode / cost.pp
    room = np.maximum(cost.max_num_batched_tokens - n, 1.0)
    chunks = np.ceil(requests.prompt / room)
    share = np.minimum(n * chunks / requests.decodes, 1.0)
    tokens = n * requests.prompt / requests.decodes
    finished = np.where(share > 0, n / requests.decodes / np.maximum(share, 1e-30), 0.0)
    in_chunk = np.where(share > 0, tokens / np.maximum(share, 1e-30), 0.0)
    decode = _decode_step_s(cost, requests, n)
    mix = _mixed_step_s(cost, requests, n, in_chunk, finished)
    jam = share * (1 - share) * (mix - decode) * (cost.pp - 1) / cost.pp
    step = (1 - share) * decode + share * mix + jam
    full = _mixed_step_s(cost, requests, n, room, room / requests.prompt)
    saturated = room / (full * requests.prompt)
    rate = n / (requests.decodes * step)
    return Operating(
        cost=cost,
        requests=requests,
        decodes_in_step=n,
        step_s=step,
        decode_step_s=decode,
        mixed_step_s=mix,
        full_step_s=full,
        chunk_share=share,
        prefill_tokens=tokens,
        requests_per_s=rate * cost.pp,
        lane_load=np.where(tokens <= room, rate / saturated, np.inf),
        lane_service_s=1 / saturated,
    )


def _decode_step_s(cost: ReplicaCost, requests: Requests, in_step: Floats) -> Floats:
    n = np.maximum(in_step, 1.0)  # a replica that decodes less than one request on average runs no empty steps
    return cost.step.cycle_s(
        {
            "steps": np.ones_like(n),
            "tokens": n,
            "sequences": n,
            **_contexts(requests, n),
        }
    )


def _mixed_step_s(cost: ReplicaCost, requests: Requests, n: Floats, chunk: Floats, finished: Floats) -> Floats:
    """Return a step of n decodes and `chunk` prefill tokens, in which `finished` prompts end."""
    features = step_features(requests, n, chunk, finished)
    together = cost.step.cycle_s(features)
    if np.all(cost.mixes > 0):
        return together
    decode = _contexts(requests, n)
    apart = {k: v for k, v in features.items() if k not in decode}
    alone = cost.step.cycle_s({**apart, "tokens": chunk, "sequences": finished})
    return np.where(cost.mixes > 0, together, _decode_step_s(cost, requests, n) + alone)


def step_features(requests: Requests, n: Floats, chunk: Floats, finished: Floats) -> dict[str, Floats]:
    """Return the features of a step with n decodes and `chunk` prefill tokens, `finished` of whose prompts end."""
    part = chunk / requests.prompt
    return {
        "steps": np.ones_like(n + chunk),
        "tokens": n + chunk,
        "prefill_tokens": np.zeros_like(n) + chunk,
        **{pairs_feature(reach): part * pairs / PAIRS_UNIT for reach, pairs in requests.pairs.items()},
        "sequences": n + finished,
        **_contexts(requests, n),
    }


def _contexts(requests: Requests, n: Floats) -> dict[str, Floats]:
    """Return the cached tokens that n decodes read, by feature."""
    return {context_feature(reach): n * context for reach, context in requests.contexts.items()}


Feasible = Callable[[Operating], Booleans]


def most_decodes(cost: ReplicaCost, requests: Requests) -> Floats:
    """Return the most decodes that memory, the sequence limit and the token budget allow, (C, N); 0 when none fits."""
    budget = cost.max_num_batched_tokens * requests.decodes / (requests.decodes + requests.prompt) * cost.pp
    return np.minimum(most_sequences(cost, requests), budget)


def most_sequences(cost: ReplicaCost, requests: Requests) -> Floats:
    """Return the most sequences that memory and the sequence limit allow at once, (C, N); 0 when none fits."""
    held = cost.memory.sequences(requests.reserved)
    fits = cost.memory.sequences(requests.largest) >= 1.0
    return np.where(fits, np.minimum(held, cost.max_num_seqs), 0.0)


def largest_load(cost: ReplicaCost, requests: Requests, feasible: Feasible) -> tuple[Operating, Booleans]:
    """Return the steady state at the largest batch that `feasible` accepts, and where there is one.

    Bisects between (almost) no load and `most_decodes`: every bounded quantity rises with the batch,
    but for dips of a percent.
    """
    high = most_decodes(cost, requests)
    possible = high > 0
    low = np.where(possible, np.minimum(high * ALMOST_NONE, FEWEST_DECODES), FEWEST_DECODES)
    high = np.maximum(high, low)
    possible &= feasible(operating(cost, requests, low))
    low = np.where(feasible(operating(cost, requests, high)), high, low)
    for _ in range(BISECTIONS):
        middle = np.sqrt(low * high)
        good = feasible(operating(cost, requests, middle))
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    return operating(cost, requests, low), possible


def at_load(cost: ReplicaCost, requests: Requests, load: Floats, closed: bool) -> Operating:
    """Return the steady state under a given load; where the replica cannot carry it, at its largest batch.

    Parameters
    ----------
    load : (C, N) array
        Arrivals [requests/s], or requests in flight in closed loop.
    """
    high = np.maximum(most_decodes(cost, requests), FEWEST_DECODES)
    low = np.full_like(high, FEWEST_DECODES * 1e-6)
    for _ in range(2 * BISECTIONS):
        middle = np.sqrt(low * high)
        state = operating(cost, requests, middle)
        enough = (state.concurrency if closed else state.requests_per_s) >= load
        high = np.where(enough, middle, high)
        low = np.where(enough, low, middle)
    return operating(cost, requests, high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bounds of N kinds of requests as (1, N) arrays: seconds (inf: none) and quantiles."""

    ttft_s: Floats
    ttft_quantile: Floats
    tpot_s: Floats
    tpot_quantile: Floats
    e2e_s: Floats
    e2e_quantile: Floats


METRICS = ("ttft", "tpot", "e2e")
MEDIAN = 0.5
LOAD_CEILING = 0.95
"""Largest load of the prefill lane that is planned for: nearer to 1 a small error of capacity is an endless queue."""


def bounds_of(slos: Sequence[Slo]) -> Bounds:
    """Return the bounds of several kinds of requests as arrays."""
    rows: dict[str, Floats] = {}
    for metric in METRICS:
        found = [getattr(slo, metric) for slo in slos]
        rows[f"{metric}_s"] = np.array([[b.bound_s if b else np.inf for b in found]])
        rows[f"{metric}_quantile"] = np.array([[b.percentile / 100 if b else MEDIAN for b in found]])
    return Bounds(**rows)


def bounds_of_buckets(buckets: Sequence[Bucket]) -> Bounds:
    """Return the bounds of buckets; answers of one token have no TPOT, so no bound on it."""
    bounds = bounds_of([b.slo for b in buckets])
    several = np.array([[b.output_tokens_max > 1 for b in buckets]])
    return replace(bounds, tpot_s=np.where(several, bounds.tpot_s, np.inf))


def keeps(bounds: Bounds, requests: Requests | None = None) -> Feasible:
    """Return the test whether a steady state keeps every bound.

    Parameters
    ----------
    requests : Requests, optional
        The kinds the bounds are of, when they are not what the replica runs on average (a mix).
    """

    def feasible(state: Operating) -> Booleans:
        own = requests or state.requests
        admitted = np.maximum(bounds.ttft_quantile, bounds.e2e_quantile)
        room = state.crowd(admitted) <= most_sequences(state.cost, state.requests) * (1 + 1e-9)
        kept = room & (state.lane_load <= LOAD_CEILING)
        for metric in METRICS:
            bound = getattr(bounds, f"{metric}_s")
            if np.any(np.isfinite(bound)):
                value = getattr(state, f"{metric}_s")(own, getattr(bounds, f"{metric}_quantile"))
                kept = kept & (value <= bound * (1 + 1e-12))
        return np.asarray(kept if requests is None else kept.all(axis=1, keepdims=True))

    return feasible
