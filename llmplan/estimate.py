"""What does this configuration do, in steady state?

A plan is evaluated as it stands; a workload needs a fixed deployment (at least its GPU), and gets the fewest replicas
that carry its load on the cheapest offer that holds them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from llmplan.errors import InputError, UnknownNameError
from llmplan.evaluation import Evaluation, evaluate_plan
from llmplan.freshness import AsOf
from llmplan.perf.formats import computes
from llmplan.perf.replica import most_decodes, replica_cost, requests_of
from llmplan.plan.candidates import (
    Candidate,
    Evaluated,
    Kind,
    Question,
    enumerate_candidates,
    kinds_of,
    memory_message,
    why_not_cut,
    why_not_on,
)
from llmplan.plan.runs import why_not_formats, why_not_layout
from llmplan.provenance import provenance_of
from llmplan.remarks import plan_warnings, preliminary, undated_left_out
from llmplan.resolve import as_replicas, check_runs, fitting_buckets, resolved_engine, resolved_model, study
from llmplan.spec.catalog import Catalog
from llmplan.spec.deployment import DeploymentRequest, Layout, gpu_and_count
from llmplan.spec.engine import Engine
from llmplan.spec.hardware import Offer
from llmplan.spec.model import Model
from llmplan.spec.plan import AT, Answer, Infeasible, Nearest, Plan, Pool, Rental, Share
from llmplan.spec.workload import Bucket, Fleet, OfferFilter, Slo
from llmplan.support import check_plan, check_supported, offer_filter
from llmplan.units import brief
from llmplan.unpriced import why_no_offer

MOST_OTHERS = 3
"""Other GPUs that are named when the one asked for cannot hold the model at all."""


def estimate_plan(answer: Answer, catalog: Catalog, where: str = "plan file", as_of: AsOf | None = None) -> Answer:
    """Return what a plan that llmplan wrote does, by today's catalog.

    Parameters
    ----------
    as_of : AsOf, optional
        Day against which the age of prices is counted; today if left out.

    Raises
    ------
    LlmplanError
        The catalog lacks something the plan names, or its parts do not fit together.
    """
    if answer.plan is None:
        raise InputError(f"{where}: holds no plan")
    as_of, plan = as_of or AsOf(), answer.plan
    check_plan(plan, where)
    _check_devices(plan, catalog, where)
    early = preliminary((p.gpu for p in plan.pools if p.deployment), catalog)
    evaluation = evaluate_plan(plan, catalog)
    provenance = provenance_of(
        catalog, plan.models, evaluation.basis, answer.provenance.defaults, offers=plan.offers, as_of=as_of
    )
    said = list(_moved(answer, provenance.catalog_hash, provenance.fits_hash))
    return Answer(
        kind="estimate",
        status="estimate",
        plan=plan,
        cost=evaluation.cost,
        predicted=evaluation.predicted,
        pools=evaluation.pools,
        findings=evaluation.findings,
        warnings=(*said, *early, *_misses(evaluation), *plan_warnings(plan, evaluation, catalog, as_of)),
        provenance=provenance,
    )


def _check_devices(plan: Plan, catalog: Catalog, where: str) -> None:
    """Refuse GPUs and engines that the catalog lacks, and what the engine of a pool does not run."""
    for i, pool in enumerate(plan.pools):
        if pool.deployment is None:
            continue
        try:
            gpu = catalog.gpu(pool.gpu)
            engine = catalog.engine(pool.deployment.engine)
        except UnknownNameError as error:
            raise UnknownNameError(f"{where}: plan.pools[{i}]: {error}") from None
        model = plan.models[pool.deployment.model]
        check_runs(engine, model, catalog, f"{where}: plan.pools[{i}]")
        for stage in pool.deployment.stages:
            weight, kv = stage.weight_dtype, pool.deployment.kv_dtype
            said = why_not_formats(engine, model, gpu.architecture, weight, kv)
            said = said or why_not_layout(engine, model, stage.layout)
            if not said and not computes(gpu.flop_per_s, weight):
                said = f"{pool.gpu} does not compute {weight} weights"
            if said:
                raise InputError(f"{where}: plan.pools[{i}]: {pool.gpu}: {said}")


def _moved(answer: Answer, catalog_hash: str, fits_hash: str) -> list[str]:
    old = answer.provenance
    if (old.catalog_hash, old.fits_hash) == (catalog_hash, fits_hash):
        return []
    return ["the catalog or its fits changed since this plan was made; figures may differ from the plan's own"]


def _misses(evaluation: Evaluation) -> list[str]:
    said = []
    for finding in evaluation.findings:
        unit = "s" if finding.metric.endswith("_s") else ""
        measured, bound = (brief(x, unit) if unit else f"{x:.3g}" for x in (finding.measured, finding.bound))
        said.append(f"{finding.pool}: {finding.metric} {measured} misses its bound {bound} ({finding.cause})")
    return said


def estimate_workload(
    fleet: Fleet,
    catalog: Catalog,
    where: str = "fleet",
    origins: Mapping[str, str] | None = None,
    as_of: AsOf | None = None,
) -> Answer:
    """Return what the fixed deployment of a workload does, or why it does not fit.

    Parameters
    ----------
    as_of : AsOf, optional
        Day against which the age of prices is counted; today if left out.

    Raises
    ------
    LlmplanError
        The deployment is not fixed enough, or names something unknown or unsupported.
    """
    as_of = as_of or AsOf()
    check_supported(fleet, where)
    workload = fleet.workloads[0]
    model, warnings = resolved_model(workload, catalog, where)
    engine, defaults = resolved_engine(workload, catalog)
    defaults = [*defaults, *undated_left_out(fleet, catalog)]
    check_runs(engine, model, catalog, where)
    buckets = fitting_buckets(workload, model, where)
    candidate, offers = _fixed(fleet, model, engine, catalog, where)
    warnings += preliminary([candidate.kind.gpu.name], catalog)
    studied = _studied(candidate, model, engine, buckets, fleet, catalog)
    provenance = provenance_of(catalog, {model.name: model}, {}, defaults, origins, as_of=as_of)
    if not np.all(most_decodes(studied.cost, studied.requests) > 0):
        return Answer(
            kind="estimate",
            status="infeasible",
            infeasible=_does_not_fit(fleet, model, engine, studied, buckets, catalog),
            warnings=tuple(warnings),
            provenance=provenance,
        )
    count = workload.deployment.replicas or _enough(studied, buckets)
    if workload.deployment.replicas is None:
        defaults = [*defaults, f"deployment.replicas: {count}, the fewest that carry the load"]
    enough = [o for o in offers if o.available is None or _nodes(candidate, o, count) <= o.available]
    if not enough:
        return Answer(
            kind="estimate",
            status="infeasible",
            infeasible=_too_few_nodes(candidate, offers, count),
            warnings=tuple(warnings),
            provenance=provenance,
        )
    offer = min(enough, key=lambda o: (_nodes(candidate, o, count) * o.usd_per_hour, o.name))
    plan = _plan(fleet, model, candidate, offer, buckets, count)
    evaluation = evaluate_plan(plan, catalog)
    return Answer(
        kind="estimate",
        status="estimate",
        plan=plan,
        cost=evaluation.cost,
        predicted=evaluation.predicted,
        pools=evaluation.pools,
        findings=evaluation.findings,
        warnings=(*warnings, *_misses(evaluation), *plan_warnings(plan, evaluation, catalog, as_of)),
        provenance=provenance_of(
            catalog, plan.models, evaluation.basis, defaults, origins, offers=plan.offers, as_of=as_of
        ),
    )


def _fixed(fleet: Fleet, model: Model, engine: Engine, catalog: Catalog, where: str) -> tuple[Candidate, list[Offer]]:
    """Return the one deployment that is asked for, and the offers that hold it over the fewest nodes."""
    wanted = fleet.workloads[0].deployment
    if wanted.gpu is None:
        raise InputError(
            f"{where}: deployment.gpu: missing; estimate wants a fixed deployment such as "
            "{gpu: 4xh100-sxm, tp: 4} (recommend searches), or a plan"
        )
    name, count = gpu_and_count(wanted.gpu)
    gpu = catalog.gpu(name)
    request = _completed(wanted, count, where)
    question = Question(model=model, engine=engine, wanted=request)
    refused = why_not_on(question, gpu)
    if refused:
        raise InputError(f"{where}: deployment: {gpu.name}: {refused}")
    offers = _offers(fleet, catalog, where)
    held: dict[int, tuple[Candidate, list[Offer]]] = {}
    for kind in kinds_of(offers, {gpu.name: gpu}):
        found, excuses = enumerate_candidates(question, [kind])
        if excuses:
            raise InputError(f"{where}: deployment: {excuses[0].candidate}: {excuses[0].message}")
        for candidate in found[:1]:
            same = held.setdefault(candidate.hosts, (candidate, []))[1]
            same += [o for o in offers if o.node.gpus == kind.gpus]
    if held:
        return held[min(held)]
    sizes = sorted({o.node.gpus for o in offers})
    widths = {name: getattr(request, name) for name in ("tp", "pp", "dp", "ep")}
    undivided = why_not_cut(model, Layout.model_construct(cp=1, **widths))
    if undivided:
        raise InputError(f"{where}: deployment: {model.name} cannot be cut as {_cut(request)}: {undivided}")
    raise InputError(
        f"{where}: deployment: {model.name} cannot be cut as {_cut(request)} on the offers of {gpu.name}; "
        f"its nodes have {', '.join(str(n) for n in sizes)} GPUs"
    )


def _offers(fleet: Fleet, catalog: Catalog, where: str) -> list[Offer]:
    """Return the offers of a GPU that the question allows, of which there must be one."""
    wanted = offer_filter(fleet)
    offers = catalog.offers(wanted)
    if not offers:
        raise InputError(f"{where}: deployment.gpu: {why_no_offer(wanted, catalog)}")
    return offers


def _completed(wanted: DeploymentRequest, count: int | None, where: str) -> DeploymentRequest:
    """Return the request with every width set: what is not given is 1, and tp takes the GPUs that are left."""
    pp, dp = wanted.pp or 1, wanted.dp or 1
    tp = wanted.tp or max((count or 1) // (pp * dp), 1)
    if count is not None and tp * pp * dp != count:
        raise InputError(
            f"{where}: deployment: tp {tp} x pp {pp} x dp {dp} = {tp * pp * dp} GPUs, but gpu says {count}"
        )
    return wanted.model_copy(update={"tp": tp, "pp": pp, "dp": dp, "ep": wanted.ep or (dp if dp > 1 else 1)})


def _cut(request: DeploymentRequest) -> str:
    return " ".join(f"{n}{getattr(request, n)}" for n in ("tp", "pp", "dp", "ep"))


def _nodes(candidate: Candidate, offer: Offer, count: int) -> int:
    """Return the nodes of an offer that `count` replicas fill."""
    gpus = candidate.deployment.gpus
    if gpus > offer.node.gpus:
        return count * math.ceil(gpus / offer.node.gpus)
    return math.ceil(count / (offer.node.gpus // gpus))


def _too_few_nodes(candidate: Candidate, offers: Sequence[Offer], count: int) -> Infeasible:
    """Say how many nodes are missing where there are most, and how many replicas they hold."""
    most = max(offers, key=lambda o: (o.available or 0, o.name))
    held = max((n for n in range(1, count) if _nodes(candidate, most, n) <= (most.available or 0)), default=0)
    needed = _nodes(candidate, most, count)
    return Infeasible(
        reason=f"{count} x {candidate.name} need {needed} nodes of {most.name}, and {most.available} can be had",
        binding="node_limit",
        nearest=(Nearest(change=f"deployment.replicas: {held}"),) if held else (),
    )


def _studied(
    candidate: Candidate, model: Model, engine: Engine, buckets: Sequence[Bucket], fleet: Fleet, catalog: Catalog
) -> Evaluated:
    """Return the candidate within its bounds, or without any when it misses one."""
    traffic = fleet.workloads[0].traffic
    within = study([candidate], model, engine, buckets, traffic, catalog)
    if np.all(within.capacity > 0):
        return within
    free = [b.model_copy(update={"slo": Slo()}) for b in buckets]
    return study([candidate], model, engine, free, traffic, catalog)


def _enough(studied: Evaluated, buckets: Sequence[Bucket]) -> int:
    """Return the fewest replicas that carry every bucket, priced each alone."""
    busy = sum(b.load / float(studied.capacity[0, i]) for i, b in enumerate(buckets))
    return max(1, math.ceil(busy - 1e-9))


def _plan(
    fleet: Fleet, model: Model, candidate: Candidate, offer: Offer, buckets: Sequence[Bucket], count: int
) -> Plan:
    name = f"{candidate.name}{AT}{offer.name}"
    pool = Pool(
        name=name,
        deployment=candidate.deployment,
        gpu=candidate.kind.gpu.name,
        gpus=candidate.deployment.gpus,
        count=count,
        offer=offer.name,
    )
    return Plan(
        fleet=fleet,
        models={model.name: model},
        buckets=tuple(buckets),
        offers=(offer,),
        rentals=(Rental(offer=offer.name, nodes=_nodes(candidate, offer, count)),),
        pools=(pool,),
        shares=tuple(Share(bucket=b.name, pool=name, share=1.0) for b in buckets),
    )


def _does_not_fit(
    fleet: Fleet,
    model: Model,
    engine: Engine,
    studied: Evaluated,
    buckets: Sequence[Bucket],
    catalog: Catalog,
) -> Infeasible:
    """Say what memory lacks, and the fewest GPUs that hold the model: of the same kind, else of others."""
    wanted = fleet.workloads[0].deployment.model_copy(update={"tp": None, "pp": None, "dp": None, "ep": None})
    question = Question(model=model, engine=engine, wanted=wanted)
    nearest = _smallest(question, buckets, catalog.offers(offer_filter(fleet)), catalog)[:1]
    if not nearest:
        nearest = _smallest(question, buckets, catalog.offers(OfferFilter()), catalog)[:MOST_OTHERS]
    return Infeasible(
        reason=f"{studied.candidates[0].name} does not fit: {memory_message(studied, 0)}",
        binding="memory",
        nearest=tuple(nearest),
    )


def _smallest(
    question: Question, buckets: Sequence[Bucket], offers: Sequence[Offer], catalog: Catalog
) -> list[Nearest]:
    """Return, for each GPU that can, the fewest devices of one node that hold the model; the fewest first."""
    sizes = sorted({(o.node.gpu, o.node.gpus) for o in offers})
    kinds = [Kind(gpu=catalog.gpu(gpu), gpus=n, network_bytes_per_s=0.0, link_domain=n) for gpu, n in sizes]
    found, _ = enumerate_candidates(question, kinds)
    if not found:
        return []
    replicas = as_replicas(found, question.model, question.engine, catalog, routing_skew=0.0)  # of memory only
    cost = replica_cost(replicas)
    fits = np.all(most_decodes(cost, requests_of(buckets, cost.reaches, 0.0)) > 0, axis=1)
    able = sorted(
        (c.deployment.gpus, c.deployment.stage.layout.pp, c.name, c.kind.gpu.name)
        for c, ok in zip(found, fits, strict=True)
        if ok
    )
    first = {gpu: f"{gpus}x{gpu}: {layout}" for gpus, _, layout, gpu in reversed(able)}
    return [Nearest(change=change) for change in sorted(first.values(), key=lambda said: int(said.split("x")[0]))]
