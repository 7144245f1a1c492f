"""What a plan does in steady state: the one evaluation that `recommend` reports and `estimate` repeats.

It starts from the plan alone (pools, shares, rentals), never from what a solver said of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmplan.operator_times import Steps, mean_shares, operator_times, steps_of
from llmplan.perf.replica import (
    MEDIAN,
    METRICS,
    Booleans,
    Bounds,
    Operating,
    ReplicaCost,
    Requests,
    at_load,
    bounds_of_buckets,
    keeps,
    largest_load,
    mixed,
    replica_cost,
    requests_of,
)
from llmplan.perf.roofline import Floats
from llmplan.perf.step import unmeasured
from llmplan.plan.candidates import Candidate, Kind, network_of
from llmplan.resolve import as_replicas
from llmplan.spec.catalog import Catalog
from llmplan.spec.engine import Engine
from llmplan.spec.fits import BASES, Basis
from llmplan.spec.model import Model
from llmplan.spec.plan import (
    Cost,
    Finding,
    Memory,
    Method,
    Plan,
    Pool,
    PoolPrediction,
    Predicted,
    predicted_as,
)
from llmplan.spec.workload import DEFAULT_PERCENTILE, Bucket
from llmplan.units import HOURS_PER_MONTH, SECONDS_PER_HOUR, TOKENS_PER_MTOK

FRAGILE_SHARE = 0.1
"""A KV pool below this share of device memory is at the mercy of a gigabyte more or less."""
NO_LATENCIES = "a measured table of throughput holds no latencies"
OVERLOAD = 1e-3
"""A replica that works off this share less than what arrives is overloaded; less is rounding."""
ENDLESS = "more arrives than it can work off: the queue grows without end"
SLACK = 1e-6
"""Relative miss of a bound that is rounding and no finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Predictions of a plan and of its pools, its cost, and the bounds it misses."""

    predicted: Mapping[str, Predicted]
    pools: Mapping[str, PoolPrediction]
    cost: Cost
    findings: tuple[Finding, ...]
    basis: Mapping[str, Basis]
    """By GPU."""


def evaluate_plan(plan: Plan, catalog: Catalog) -> Evaluation:
    """Return what a plan does, pool by pool and as a whole.

    Raises
    ------
    LlmplanError
        The catalog lacks a GPU or an engine of the plan.
    """
    if all(pool.profile is not None for pool in plan.pools):
        return _evaluate_profile(plan)
    study = _studied(plan, catalog)
    values = {metric: _metric(study, metric) for metric in METRICS}
    steps = steps_of(study.state)
    pools = {pool.name: _pool_prediction(study, values, steps, i) for i, pool in enumerate(plan.pools)}
    throughput = _throughput(study)
    return Evaluation(
        predicted=_whole(study, values, pools, throughput),
        pools=pools,
        cost=plan_cost(plan, throughput),
        findings=tuple(_findings(study, values)),
        basis={pool.gpu: study.basis[i] for i, pool in enumerate(plan.pools)},
    )


def within_band(plan: Plan, evaluation: Evaluation) -> list[str]:
    """Return the bounded metrics that keep their bound, but not at the upper end of their band."""
    risky = []
    for bucket in plan.buckets:
        for metric, bound in bucket.slo.bounds().items():
            for owner in ("", f"{bucket.traffic_class}."):
                told = evaluation.predicted.get(f"{owner}{metric}_{bound.label}_s")
                if told is not None and told.high is not None and told.high > bound.bound_s:
                    risky.append(f"{owner}{metric} {bound.label}")
    return list(dict.fromkeys(risky))


def rates(plan: Plan) -> Floats:
    """Return the load of each bucket at each whole pool, (C, B)."""
    rows = {pool.name: i for i, pool in enumerate(plan.pools)}
    columns = {bucket.name: i for i, bucket in enumerate(plan.buckets)}
    shares = np.zeros((len(rows), len(columns)))
    for share in plan.shares:
        shares[rows[share.pool], columns[share.bucket]] = share.share
    return np.asarray(shares * np.array([[b.load for b in plan.buckets]]))


def plan_cost(plan: Plan, requests_per_s: Floats) -> Cost:
    """Return what the rented nodes cost, and per million tokens served.

    Parameters
    ----------
    requests_per_s : (B,) array
        Requests of each bucket that the plan serves. [requests/s]
    """
    offers = {offer.name: offer for offer in plan.offers}
    usd = sum(offers[r.offer].usd_per_hour * r.nodes for r in plan.rentals)
    hourly = requests_per_s * SECONDS_PER_HOUR / TOKENS_PER_MTOK
    mtok_in = float(sum(hourly * [b.input_tokens for b in plan.buckets]))
    mtok_out = float(sum(hourly * [b.output_tokens for b in plan.buckets]))
    dates = {offers[r.offer].provider: offers[r.offer].snapshot for r in plan.rentals}
    return Cost(
        usd_per_hour=usd,
        usd_per_month=usd * HOURS_PER_MONTH,
        usd_per_mtok_input=usd / mtok_in if mtok_in > 0 else None,
        usd_per_mtok_output=usd / mtok_out if mtok_out > 0 else None,
        usd_per_mtok_total=usd / (mtok_in + mtok_out) if mtok_in + mtok_out > 0 else None,
        usd_per_request=usd / (float(sum(requests_per_s)) * SECONDS_PER_HOUR),
        price_dates=dict(sorted(dates.items())),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The pools of one plan at work: C pools, B buckets."""

    plan: Plan
    cost: ReplicaCost
    kinds: Requests
    bounds: Bounds
    """(C, B); infinite for buckets a pool does not serve."""
    served: Floats
    """(C, B) load of one replica."""
    mix: Requests
    state: Operating
    most: Operating
    closed: bool
    basis: tuple[Basis, ...]
    catalog: Catalog


def _studied(plan: Plan, catalog: Catalog) -> Study:
    traffic = plan.fleet.workloads[0].traffic
    engine, model = _engine_and_model(plan, catalog)
    candidates = [_candidate(plan, pool, catalog) for pool in plan.pools]
    replicas = as_replicas(candidates, model, engine, catalog, traffic.routing_skew)
    cost = replica_cost(replicas)
    kinds = requests_of(plan.buckets, cost.reaches, traffic.gap_cv, traffic.closed)
    served = rates(plan) / np.array([[pool.count] for pool in plan.pools])
    mix = mixed(kinds, served)
    bounds = _masked(bounds_of_buckets(plan.buckets), served > 0)
    most, possible = largest_load(cost, mix, keeps(bounds, kinds))
    most = replace(most, requests_per_s=np.where(possible, most.requests_per_s, 0.0))
    return Study(
        plan=plan,
        cost=cost,
        kinds=kinds,
        bounds=bounds,
        served=served,
        mix=mix,
        state=at_load(cost, mix, served.sum(axis=1, keepdims=True), traffic.closed),
        most=most,
        closed=traffic.closed,
        basis=replicas.basis,
        catalog=catalog,
    )


def _engine_and_model(plan: Plan, catalog: Catalog) -> tuple[Engine, Model]:
    deployment = plan.pools[0].deployment
    if deployment is None:
        raise ValueError("a pool without a deployment has a profile")
    return catalog.engine(deployment.engine), plan.models[deployment.model]


def _candidate(plan: Plan, pool: Pool, catalog: Catalog) -> Candidate:
    offer = next(o for o in plan.offers if o.name == pool.offer)
    kind = Kind(gpu=catalog.gpu(pool.gpu), gpus=offer.node.gpus, network_bytes_per_s=network_of(offer), link_domain=1)
    if pool.deployment is None:
        raise ValueError("a pool without a deployment has a profile")
    hosts = max(1, pool.gpus // offer.node.gpus)
    return Candidate(name=pool.name, deployment=pool.deployment, kind=kind, hosts=hosts)


def _masked(bounds: Bounds, used: Booleans) -> Bounds:
    """Return the bounds of the buckets that each pool serves: the others ask neither time nor room of it."""
    rows = {f"{metric}_s": np.where(used, getattr(bounds, f"{metric}_s"), np.inf) for metric in METRICS}
    quantiles = {
        f"{metric}_quantile": np.where(used, getattr(bounds, f"{metric}_quantile"), MEDIAN) for metric in METRICS
    }
    return Bounds(**rows, **quantiles)


def _throughput(study: Study) -> Floats:
    """Return the requests/s of each bucket over all pools, (B,)."""
    counts = np.array([[pool.count] for pool in study.plan.pools])
    share = study.served / study.served.sum(axis=1, keepdims=True)
    offered = study.served.sum(axis=1, keepdims=True)
    rate = study.state.requests_per_s if study.closed else np.minimum(offered, study.state.requests_per_s)
    return np.asarray((share * np.where(_overloaded(study) | study.closed, rate, offered) * counts).sum(axis=0))


def _overloaded(study: Study) -> Booleans:
    """Return the pools whose queue grows without end: more arrives than their largest batch works off, (C, 1)."""
    offered = study.served.sum(axis=1, keepdims=True)
    return np.asarray((study.state.requests_per_s < offered * (1 - OVERLOAD)) & (not study.closed))


def _admission_s(study: Study) -> Floats:
    """Return the wait for a place in the batch, (C, 1): closed loops with more in flight than the batch holds.

    By Little's law the requests in flight spend load / rate each; what prefill and decode leave of it is waiting.
    """
    if not study.closed:
        return np.zeros_like(study.state.step_s)
    load = study.served.sum(axis=1, keepdims=True)
    return np.asarray(np.maximum((load - study.state.concurrency) / study.state.requests_per_s, 0.0))


def _percentiles(study: Study, metric: str) -> Floats:
    """Return the quantiles to report of each bucket: the bounded one, or p95; (1, B)."""
    bounded = [getattr(b.slo, metric) for b in study.plan.buckets]
    return np.array([[(b.percentile if b else DEFAULT_PERCENTILE) / 100 for b in bounded]])


def _metric(study: Study, metric: str) -> Floats:
    """Return a metric's percentile of each bucket at each pool, (C, B)."""
    values = getattr(study.state, f"{metric}_s")(study.kinds, _percentiles(study, metric))
    told = study.served > 0
    if metric == "tpot":
        told &= np.array([[b.output_tokens_max > 1 for b in study.plan.buckets]])
    else:
        values = values + _admission_s(study)
    return np.where(told, values, np.nan)


def _pool_prediction(study: Study, values: Mapping[str, Floats], steps: Steps, i: int) -> PoolPrediction:
    state = study.state
    load, capacity = float(study.served[i].sum()), float(_capacity(study)[i, 0])
    most = float(study.most.requests_per_s[i, 0])
    memory = _memory(study, i)
    per_sequence = study.cost.memory.sequence_bytes(study.mix.context)
    pool_bytes = study.cost.memory.pool_bytes * study.cost.memory.dp
    return PoolPrediction(
        memory=memory,
        capacity_requests_per_s=_banded(study, most, "throughput", [i], "approximation"),
        capacity_concurrency=_banded(study, capacity, "throughput", [i], "approximation") if study.closed else None,
        load_requests_per_s=load if not study.closed else float(state.requests_per_s[i, 0]),
        utilization=load / capacity if capacity > 0 else None,
        concurrency=load if study.closed else float(state.concurrency[i, 0]),
        metrics=_pool_metrics(study, values, i),
        kv_use=float((state.in_decode * per_sequence / pool_bytes)[i, 0]),
        kv_requests=float(study.cost.memory.sequences(study.mix.reserved[i : i + 1])[i, 0]),
        operators=mean_shares(state, steps, i),
        steps={kind: operator_times(told, i, study.catalog.kernel_bands.p90) for kind, told in steps.items()},
        step_mean_s=float(state.step_s[i, 0]),
        fragile=memory.kv_pool_bytes < FRAGILE_SHARE * memory.device_bytes,
    )


def _capacity(study: Study) -> Floats:
    """Return the largest load of one replica at the pool's mix, in the units of the load, (C, 1)."""
    most = study.most
    return np.where(most.requests_per_s > 0, most.concurrency, 0.0) if study.closed else most.requests_per_s


def _pool_metrics(study: Study, values: Mapping[str, Floats], i: int) -> dict[str, Predicted]:
    weight = study.served[i] / study.served[i].sum()
    ttft = float(np.sum((study.state.ttft_mean_s(study.kinds) + _admission_s(study))[i] * weight))
    found = {
        "ttft_mean_s": _banded(study, ttft, "ttft_s", [i], "approximation"),
        "tpot_mean_s": _banded(study, float(study.state.step_s[i, 0]), "tpot_s", [i], "steady_state"),
    }
    for metric in METRICS:
        for label, value in _by_percentile(study, metric, values[metric][i : i + 1]).items():
            band = "tpot_s" if metric == "tpot" else "ttft_s"
            found[f"{metric}_{label}_s"] = _banded(study, value, band, [i], "approximation")
    return found


def _by_percentile(study: Study, metric: str, values: Floats) -> dict[str, float]:
    """Return the worst value among buckets that report the same percentile, by its label."""
    found: dict[str, float] = {}
    for b, quantile in enumerate(_percentiles(study, metric)[0]):
        column = values[:, b][~np.isnan(values[:, b])]
        if column.size:
            label = f"p{quantile * 100:g}"
            found[label] = max(found.get(label, 0.0), float(column.max()))
    return found


def _banded(study: Study, value: float, metric: str, pools: Sequence[int], method: Method) -> Predicted:
    """Return a value with the widest band and the least sure basis of its pools; none for an endless queue."""
    if metric == "ttft_s" and np.any(_overloaded(study)[list(pools)]):
        return Predicted(value=None, reason=ENDLESS)
    bands = study.catalog.bands
    rows = [
        bands.row(basis, study.catalog.gpu(study.plan.pools[i].gpu).architecture, metric)
        for i in pools
        for basis in _bases(study, i)
    ]
    basis = max((study.basis[i] for i in pools), key=BASES.index)
    return predicted_as(value, (min(r.low for r in rows), max(r.high for r in rows)), basis, method)


def _bases(study: Study, i: int) -> set[Basis]:
    """Return the bases whose bands hold for a pool: its GPU's, and the widest where no kernel was timed."""
    deployment = study.plan.pools[i].deployment
    blind = deployment is not None and unmeasured(study.plan.models[deployment.model])
    return {study.basis[i], "datasheet"} if blind else {study.basis[i]}


def _memory(study: Study, i: int) -> Memory:
    budget = study.cost.memory
    state = float(budget.state_bytes[i, 0])
    per_token = float(budget.sequence_bytes(np.ones((1, 1)))[i, 0]) - state
    average = study.mix.reserved[i : i + 1]
    return Memory(
        device_bytes=float(budget.device_bytes[i, 0]),
        reserved_bytes=float(budget.reserved_bytes[i, 0]),
        framework_bytes=float(budget.framework_bytes[i, 0]),
        communication_bytes=float(budget.communication_bytes[i, 0]),
        graph_bytes=float(budget.graph_bytes[i, 0]),
        activation_bytes=float(budget.activation_bytes[i, 0]),
        weights_bytes=float(budget.weights_bytes[i, 0]),
        kv_pool_bytes=max(0.0, float(budget.pool_bytes[i, 0])),
        kv_bytes_per_token=per_token,
        state_bytes=state,
        kv_tokens=float((budget.sequences(average) * average)[i, 0]),
    )


def _whole(
    study: Study, values: Mapping[str, Floats], pools: Mapping[str, PoolPrediction], throughput: Floats
) -> dict[str, Predicted]:
    """Return the plan's predictions: means over all requests, percentiles of the worst pool."""
    plan = study.plan
    every = range(len(plan.pools))
    weights = {p.name: float(study.served[i].sum()) * p.count for i, p in enumerate(plan.pools)}
    found = {}
    for name in ("ttft_mean_s", "tpot_mean_s"):
        one = next(iter(pools.values())).metrics[name]
        means = {p: float(pools[p].metrics[name].value or 0) for p in pools}
        mean = sum(means[p] * weights[p] for p in pools) / sum(weights.values())
        found[name] = _banded(study, mean, name.replace("_mean", ""), every, one.method or "approximation")
    for owner, buckets in _classes_apart(plan).items():
        for metric in METRICS:
            own = np.where(buckets, values[metric], np.nan)
            for label, value in _by_percentile(study, metric, own).items():
                band = "tpot_s" if metric == "tpot" else "ttft_s"
                found[f"{owner}{metric}_{label}_s"] = _banded(study, value, band, every, "approximation")
    output = float(np.sum(throughput * [b.output_tokens for b in plan.buckets]))
    found["requests_per_s"] = _served(study, float(throughput.sum()))
    found["tokens_per_s"] = _served(study, output)
    return found


def _classes_apart(plan: Plan) -> dict[str, Booleans]:
    """Return which buckets belong together: all, or by class (`chat.`) where classes have bounds of their own."""
    if len({b.slo for b in plan.buckets}) < 2:
        return {"": np.ones((1, len(plan.buckets)), dtype=bool)}
    names = dict.fromkeys(b.traffic_class for b in plan.buckets)
    return {f"{name}.": np.array([[b.traffic_class == name for b in plan.buckets]]) for name in names}


def _served(study: Study, value: float) -> Predicted:
    """Return a throughput: given by the arrivals in open loop, predicted in closed loop."""
    if study.closed:
        return _banded(study, value, "throughput", range(len(study.plan.pools)), "steady_state")
    basis = max(study.basis, key=BASES.index)
    return Predicted(value=value, low=value, high=value, basis=basis, method="steady_state")


def _findings(study: Study, values: Mapping[str, Floats]) -> list[Finding]:
    """Return every bound that a pool misses, and pools that cannot carry their load at all."""
    found = []
    capacity = _capacity(study)
    for i, pool in enumerate(study.plan.pools):
        load = float(study.served[i].sum())
        if load > float(capacity[i, 0]) * (1 + SLACK):
            metric, value, bound = _worst(study, values, i)
            cause = "mixing" if np.count_nonzero(study.served[i]) > 1 else "queueing"
            found.append(Finding(pool=pool.name, metric=metric, measured=value, bound=bound, cause=cause))
    return found


def _worst(study: Study, values: Mapping[str, Floats], i: int) -> tuple[str, float, float]:
    """Return the bound that pool `i` misses most: its name, its value and the bound."""
    worst = ("load", float(study.served[i].sum()), float(_capacity(study)[i, 0]))
    most = 1.0 + SLACK
    for metric in METRICS:
        own, bounds = values[metric][i], getattr(study.bounds, f"{metric}_s")[i]
        over = np.where(np.isnan(own), 0.0, own / bounds)
        b = int(np.argmax(over))
        if over[b] > most:
            most, label = float(over[b]), getattr(study.plan.buckets[b].slo, metric).label
            worst = (f"{metric}_{label}_s", float(own[b]), float(bounds[b]))
    return worst


def _evaluate_profile(plan: Plan) -> Evaluation:
    """Return what a plan on the user's own table does: utilization and cost, no latency."""
    load = rates(plan)
    pools, findings = {}, []
    for i, pool in enumerate(plan.pools):
        own = _profile_pool(pool, load[i], plan.buckets)
        pools[pool.name] = own
        if own.utilization is not None and own.utilization > 1 + SLACK:
            findings.append(
                Finding(pool=pool.name, metric="load", measured=own.utilization, bound=1.0, cause="queueing")
            )
    throughput = np.array([b.load for b in plan.buckets])
    none = Predicted(value=None, reason=NO_LATENCIES)
    total = float(throughput.sum())
    return Evaluation(
        predicted={
            "ttft_mean_s": none,
            "tpot_mean_s": none,
            "requests_per_s": Predicted(value=total, low=total, high=total, basis="profile", method="profile"),
        },
        pools=pools,
        cost=plan_cost(plan, throughput),
        findings=tuple(findings),
        basis={pool.gpu: "profile" for pool in plan.pools},
    )


def _profile_pool(pool: Pool, load: Floats, buckets: Sequence[Bucket]) -> PoolPrediction:
    profile = pool.profile or {}
    busy = sum(x / profile[b.name] for x, b in zip(load, buckets, strict=True) if x > 0)
    total = float(load.sum())
    utilization = busy / pool.count
    capacity = total / busy if busy > 0 else 0.0
    return PoolPrediction(
        capacity_requests_per_s=predicted_as(capacity, (1.0, 1.0), "profile", "profile"),
        load_requests_per_s=total / pool.count,
        utilization=utilization,
        metrics={"ttft_mean_s": Predicted(value=None, reason=NO_LATENCIES)},
    )
