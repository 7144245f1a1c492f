"""From candidates and offers to columns of the mix, and from a mix back to a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from llmplan.evaluation import Evaluation
from llmplan.plan.candidates import Candidate, Evaluated, network_of
from llmplan.plan.columns import Column, Mix
from llmplan.spec.hardware import Market, Offer
from llmplan.spec.model import Model
from llmplan.spec.plan import AT, Excuse, Plan, Pool, Rental, Share
from llmplan.spec.workload import Bucket, Fleet

TIGHTER = 0.999
"""A pool that missed a bound is given slightly less than it carried."""
SMALLEST_SHARE = 1e-9
"""Shares below this are rounding of the solver."""
ALONE = " for "
"""Between the name of a deployment and that of the one bucket its replicas serve."""


def deployment_name(column: str) -> str:
    """Return the deployment that a column or pool is of: its first word."""
    return column.split(" ")[0]


def is_dedicated(column: str) -> bool:
    """Return whether the replicas of a column or pool serve one bucket only."""
    return ALONE in column.split(AT)[0]


def dedicated(columns: Sequence[Column], buckets: Sequence[Bucket]) -> list[Column]:
    """Return columns whose replicas serve one bucket each: their capacity is exact, no other requests slow them.

    With them there is always a plan when each bucket has one, and it is never dearer than separate plans.
    """
    if len(buckets) < 2:
        return []
    alone = []
    for column in columns:
        deployment, offer = column.name.split(AT)
        for b, bucket in enumerate(buckets):
            if column.requests_per_s[b] > 0:
                rates = tuple(rate if i == b else 0.0 for i, rate in enumerate(column.requests_per_s))
                name = f"{deployment}{ALONE}{bucket.name}{AT}{offer}"
                alone.append(replace(column, name=name, requests_per_s=rates))
    return alone


def cheapest_offers(
    offers: Sequence[Offer], others: Mapping[tuple[str, int, Market], int] = MappingProxyType({})
) -> tuple[list[Offer], list[Excuse]]:
    """Keep the cheapest offer of each kind of node (and the cheapest with the best network); excuse the dearer ones.

    An offer of few nodes puts no dearer one aside: what it lacks must come from somewhere.

    Parameters
    ----------
    others : mapping
        Dearer offers that are not among `offers`, by GPU, GPUs of a node and market; each has a cheaper one there.
    """
    kept: list[Offer] = []
    dearer: Counter[tuple[str, int, str]] = Counter(others)
    excuses = []
    for offer in sorted(offers, key=lambda o: (o.usd_per_hour, o.name)):
        if offer.available == 0:
            excuses.append(Excuse(candidate=offer.name, reason="price", message="none of its nodes can be had"))
        elif any(_replaces(other, offer) for other in kept):
            dearer[offer.node.gpu, offer.node.gpus, offer.market] += 1
        else:
            kept.append(offer)
    for (gpu, gpus, market), count in sorted(dearer.items()):
        best = next(o for o in kept if (o.node.gpu, o.node.gpus, o.market) == (gpu, gpus, market))
        said = f"{count} offers cost more than {best.name} at {best.usd_per_hour:g} USD/h for the same devices"
        excuses.append(Excuse(candidate=f"{gpus}x{gpu} {market}", reason="price", message=said))
    return kept, excuses


def _replaces(cheaper: Offer, offer: Offer) -> bool:
    """Return whether as many nodes as one likes of the cheaper offer do the same as the other's."""
    same = _devices(cheaper) == _devices(offer) and cheaper.market == offer.market
    return same and cheaper.available is None and network_of(cheaper) >= network_of(offer)


def _devices(offer: Offer) -> tuple[str, int, int | None]:
    return offer.node.gpu, offer.node.gpus, offer.node.link_domain


def columns_on(studied: Evaluated, kept: Iterable[int], offers: Sequence[Offer]) -> list[Column]:
    """Return every kept candidate on every offer that can hold it."""
    columns = []
    for row in kept:
        candidate = studied.candidates[row]
        gpus = candidate.deployment.gpus
        for offer in offers:
            if offer.node.gpu != candidate.kind.gpu.name:
                continue
            fits = gpus <= offer.node.gpus
            if candidate.hosts > 1:
                fits = (
                    offer.node.gpus == candidate.kind.gpus and network_of(offer) >= candidate.kind.network_bytes_per_s
                )
            if fits:
                columns.append(
                    Column(
                        name=f"{candidate.name}{AT}{offer.name}",
                        gpu=offer.node.gpu,
                        gpus=gpus,
                        requests_per_s=tuple(float(x) for x in studied.capacity[row]),
                        offer=offer.name,
                        node_gpus=offer.node.gpus,
                        node_usd_per_hour=offer.usd_per_hour,
                        node_limit=offer.available,
                    )
                )
    return columns


def plan_of(
    fleet: Fleet,
    columns: Sequence[Column],
    buckets: Sequence[Bucket],
    mix: Mix,
    offers: Sequence[Offer],
    models: Mapping[str, Model],
    candidates: Mapping[str, Candidate],
) -> Plan:
    """Return the mix as a plan: pools on rented nodes, and who serves what."""
    by_name = {column.name: column for column in columns}
    index = {column.name: i for i, column in enumerate(columns)}
    rented = {o.name: o for o in offers}
    pools, shares = [], []
    for name, count in mix.replicas.items():
        column = by_name[name]
        candidate = candidates.get(deployment_name(name))
        profile = None
        if candidate is None:
            profile = {b.name: x for b, x in zip(buckets, column.requests_per_s, strict=True)}
        pools.append(
            Pool(
                name=name,
                deployment=candidate.deployment if candidate else None,
                gpu=column.gpu,
                gpus=column.gpus,
                count=count,
                offer=column.offer,
                profile=profile,
            )
        )
        for b, bucket in enumerate(buckets):
            share = float(mix.shares[b, index[name]])
            if share > SMALLEST_SHARE:
                shares.append(Share(bucket=bucket.name, pool=name, share=min(share, 1.0)))
    used = {share.pool for share in shares}
    return Plan(
        fleet=fleet,
        models=models,
        buckets=tuple(buckets),
        offers=tuple(rented[name] for name in sorted(mix.nodes)),
        rentals=tuple(Rental(offer=name, nodes=nodes) for name, nodes in sorted(mix.nodes.items())),
        pools=tuple(pool for pool in pools if pool.name in used),
        shares=tuple(shares),
    )


def lowered_by(evaluation: Evaluation) -> dict[str, float]:
    """Return by how much the capacity of each deployment is lowered whose mixed pool carries more than it can."""
    factors: dict[str, float] = {}
    for finding in evaluation.findings:
        if not is_dedicated(finding.pool):
            use = evaluation.pools[finding.pool].utilization
            name = deployment_name(finding.pool)
            factors[name] = min(factors.get(name, 1.0), TIGHTER / use if use else 0.0)
    return factors


def lowered(columns: Sequence[Column], factors: Mapping[str, float]) -> list[Column]:
    """Return columns with the capacity of some deployments for mixed requests lowered, wherever they are placed."""
    return [
        c
        if is_dedicated(c.name)
        else replace(c, requests_per_s=tuple(x * factors.get(deployment_name(c.name), 1.0) for x in c.requests_per_s))
        for c in columns
    ]
