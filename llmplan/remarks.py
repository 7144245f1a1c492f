"""What an answer says beside its figures: defaults that were taken, warnings, missing evidence."""

from __future__ import annotations

from collections.abc import Iterable

from llmplan.evaluation import Evaluation, within_band
from llmplan.freshness import AsOf
from llmplan.perf.step import unmeasured
from llmplan.plan.columns import Mix
from llmplan.plan.runs import newer_version
from llmplan.spec.catalog import Catalog
from llmplan.spec.plan import Excuse, Plan, PoolPrediction
from llmplan.spec.workload import Fleet
from llmplan.support import offer_filter
from llmplan.units import brief


def defaults_of(fleet: Fleet) -> list[str]:
    """Return every default that the question left to llmplan."""
    workload = fleet.workloads[0]
    said = []
    if "markets" not in fleet.offers.model_fields_set:
        said.append(f"offers.markets: {', '.join(fleet.offers.markets)}")
    if not any((fleet.offers.gpus, fleet.offers.providers, fleet.offers.regions, fleet.offers.nodes)):
        said.append("offers: the whole catalog, no cap on availability")
    if not workload.traffic.closed and "arrivals" not in workload.traffic.model_fields_set:
        said.append("arrivals: poisson")
    if workload.traffic.prefix is None:
        said.append("prefix: no cached tokens")
    if workload.deployment.kv_dtype is None:
        said.append("kv_dtype: bf16")
    if workload.deployment.weight_dtype is None:
        said.append("weight_dtype: as published")
    if not any(bucket.slo.bounds() for bucket in workload.buckets()):
        said.append("slo: none; cost alone decides")
    return said


def solver_warnings(mix: Mix) -> list[str]:
    """Return what was wrong with the solver's own answer, when another was kept."""
    return [f"solver: {mix.flag}"] if mix.flag else []


def _idle_gpus(plan: Plan) -> list[str]:
    """Return the rented GPUs that no replica uses, by offer."""
    offers = {o.name: o for o in plan.offers}
    said = []
    for rental in plan.rentals:
        rented = rental.nodes * offers[rental.offer].node.gpus
        idle = rented - sum(p.gpus * p.count for p in plan.pools if p.offer == rental.offer)
        if idle:
            said.append(f"{rental.offer}: {idle} of {rented} rented GPUs are idle")
    return said


def _memory_cliff(name: str, pool: PoolPrediction) -> list[str]:
    """Return that the KV pool of a replica is so small that its throughput hangs on every gigabyte."""
    memory = pool.memory
    if not pool.fragile or memory is None or pool.kv_requests is None:
        return []
    share = memory.kv_pool_bytes / memory.device_bytes
    holds = f"{brief(memory.kv_pool_bytes, 'B')} of KV a GPU, {100 * share:.1f} % of its memory"
    return [
        f"{name}: fragile, at a memory cliff: {holds}, or {pool.kv_requests:.3g} mean requests a replica; "
        "a gigabyte more or less changes everything"
    ]


def _newer_engines(plan: Plan, catalog: Catalog) -> list[str]:
    """Return the engine versions that the plan needs where they are newer than the one its figures rest on."""
    said = []
    for pool in plan.pools:
        if pool.deployment is not None:
            engine = catalog.engine(pool.deployment.engine)
            needs = newer_version(engine, plan.models[pool.deployment.model], catalog.gpu(pool.gpu).architecture)
            if needs:
                said.append(f"{needs}; memory, limits and kernels here are those of {engine.version}")
    return list(dict.fromkeys(said))


def plan_warnings(plan: Plan, evaluation: Evaluation, catalog: Catalog, as_of: AsOf) -> list[str]:
    """Return what a reader of the plan has to know before trusting it."""
    said = as_of.warnings(plan.offers) if all(pool.profile is None for pool in plan.pools) else []
    risky = within_band(plan, evaluation)
    if risky:
        said.append(f"within its error band each of these may miss its bound: {', '.join(risky)}")
    for name, pool in evaluation.pools.items():
        said += _memory_cliff(name, pool)
    said += _newer_engines(plan, catalog)
    for model in plan.models.values():
        said += [
            f"{model.name}: no kernel of {kind} was measured: a roofline, with wide bands" for kind in unmeasured(model)
        ]
    for gpu, basis in sorted(evaluation.basis.items()):
        if basis in ("datasheet", "transferred"):
            said.append(f"{gpu}: no kernel of it was measured ({basis}); its figures have wide bands")
    if len({(o.provider, o.region) for o in plan.offers}) > 1:
        said.append("the plan spans several regions or providers: traffic and latency between them are not counted")
    said += _idle_gpus(plan)
    return said + _spot(plan)


def _spot(plan: Plan) -> list[str]:
    """Return what a price of spot capacity does not say."""
    said = []
    spot = [o for o in plan.offers if o.market == "spot"]
    if spot:
        names = ", ".join(o.name for o in spot)
        said.append(f"{names}: spot capacity can be taken away at any time; interruptions are not modeled")
    for offer in spot:
        if offer.highest_usd_per_hour is not None:
            most = f"{offer.highest_usd_per_hour:g} USD/h"
            said.append(f"{offer.name}: the price is that of the cheapest zone, the dearest takes {most}")
    return said


def preliminary(gpus: Iterable[str], catalog: Catalog) -> list[str]:
    """Return a warning for each GPU that is announced and not measured, or known in part only."""
    return [
        f"{name}: preliminary, its figures are announcements; plans on it are for orientation only"
        for name in sorted(set(gpus))
        if catalog.gpu(name).status == "preliminary"
    ]


def undated_left_out(fleet: Fleet, catalog: Catalog) -> list[str]:
    """Return which providers take no part because nobody knows the day of their prices."""
    out = catalog.undated(offer_filter(fleet))
    return [f"offers: without prices of an unknown day ({', '.join(out)}); offers.providers names them"] if out else []


def no_evidence(gpu: str) -> Excuse:
    """Return why a GPU may not win: nobody measured its kernels."""
    said = "no kernel of it or its family was measured; it may win only when offers.gpus names it"
    return Excuse(candidate=gpu, reason="evidence", message=said)
